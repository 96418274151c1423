// Package operator tells an operator what is known of an order, and takes an operator's
// verdict on an order in doubt.
//
// Read it in this order: servers.go and stored.go (what is asked, and where), status.go
// with status_table.go, settle.go.
package operator
