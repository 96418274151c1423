// Package vitals tells operators which workers there are and how they fare: each worker
// writes a few figures into one hash of Redis every few seconds. They may be lost at any
// moment, and nothing is decided by them.
package vitals
