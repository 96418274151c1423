// Package operator is the operator's desk: it tells what is known of one order and of all
// of them, and takes an operator's word: pause, resume, settle, replay. The commands and
// the console are faces of it; [Desk] has a method for each thing that an operator does,
// and each returns what the commands print with --json.
//
// It knows only what the stores know, never what a worker has in its memory; and it works
// as far as it can while one of them is away.
//
// Read it in this order: desk.go and read.go (the servers, and how streams are read),
// row.go, list.go and overview.go (lists), detail.go with status.go and stored.go (one
// order), pausing.go, dead.go with correct.go, settle.go; then how it looks on a
// terminal: status_table.go, text.go.
package operator
