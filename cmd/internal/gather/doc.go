// Package gather makes connections that under load write many small messages together,
// to save the cost of a system call for each.
package gather
