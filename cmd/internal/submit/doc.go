// Package submit publishes files of orders and collects their results: the commands
// submit and results.
//
// A file may have a million rows, so no row is kept in memory. The check reads the whole
// file. Each later step, such as publishing, reads it again chunk by chunk, and compares
// each chunk with what was checked.
//
// Read it in this order: submit.go, file.go (the check), rows.go with lines.go and
// header.go (how a file is read), duplicates.go, summary.go, completed.go, nats.go, follow.go,
// output.go, progress.go.
package submit
