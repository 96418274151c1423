// Package submit publishes files of orders and collects how they ended: the commands
// submit and results.
//
// A file may have a million rows, so no row is kept. It is read once to check it, and
// read again, in chunks that are verified against what was checked, for each thing that
// is done with it.
//
// Read it in this order: submit.go, file.go (the check), rows.go with lines.go and
// header.go (how a file is read), twice.go, summary.go, completed.go, nats.go, follow.go,
// output.go, progress.go.
package submit
