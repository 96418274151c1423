// Package gather makes connections that write many small messages together, to save
// the cost of a system call for each.
package gather
