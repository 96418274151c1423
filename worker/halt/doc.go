// Package halt stops the sending of orders in the whole fleet at an operator's word.
//
// The word is stored in a key-value bucket, which every worker reads again and again.
// Read state.go (the word), then watch.go (how a worker keeps to it).
package halt
