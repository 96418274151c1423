// Package demo shows the whole program at work in one process, and checks its promises
// against what the vendor sold and what is in the streams.
//
// Read it in this order: plan.go (what is ordered, and how it must end), demo.go with
// console.go (what runs), report.go (what is printed).
package demo
