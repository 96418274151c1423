// Package app makes a worker of the settings; nothing else in the program puts one
// together.
//
// Read it in this order: run.go (a worker's process, from its first connection to its
// last), app.go (what the worker is made of).
package app
