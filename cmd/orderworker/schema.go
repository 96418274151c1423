package main

import (
	"orderworker/cmd/internal/config"
	"orderworker/deploy/schemas"
)

type schemaCmd struct {
	What string `arg:"" optional:"" name:"WHAT" default:"asyncapi" help:"request, result, dead (JSON Schema 2020-12), or asyncapi (AsyncAPI 3, all of them)."`
}

// Check reports a word that names no schema.
func (c *schemaCmd) Check(f *config.Faults) {
	config.OneOf(f, "WHAT", c.What, "request", "result", "dead", "asyncapi")
}

// Run prints it.
func (c *schemaCmd) Run(std *std) error {
	text, err := schemas.Read(c.What)
	if err != nil {
		return err
	}
	_, err = std.out.Write(text)
	return err
}
