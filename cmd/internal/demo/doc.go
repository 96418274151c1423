// Package demo shows the whole program at work, without a server, and checks its promises
// against what the vendor sold and what is in the streams.
//
// Read it in this order: plan.go (what is ordered, and how it must end), demo.go with
// console.go (what runs), process.go (the worker that can be killed), crash.go (what goes
// wrong in the middle), report.go (what is printed).
package demo
