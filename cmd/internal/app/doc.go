// Package app builds a worker from the settings. It is the only package that puts one
// together.
//
// Read it in this order: run.go (a worker's process, from its first connection to its
// last), app.go (what the worker is made of).
package app
