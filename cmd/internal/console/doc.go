// Package console is the operator's desk in a browser: pages and their data as JSON, and
// the changes that the commands make too, each of which asks first.
//
// Reading needs no token. A change is a POST that comes from the console's own pages (or
// from no browser), with the token; it shows what it is about to do, and is done when it is
// sent again with the digest of exactly that. So an operator whom another was faster than
// is shown what has changed.
//
// Lists and searches are answered from an index in memory, which follows the streams; one
// order, one dead letter and the operator's word are read from the stores themselves.
//
// Read it in this order: console.go (what runs), index.go, search.go and watch.go (the
// index), pages.go with views.go and chart.go (what is shown), render.go, live.go, then
// guard.go and change.go with plans.go (who may change what, and how).
package console
