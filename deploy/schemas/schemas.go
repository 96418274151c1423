// Package schemas has the JSON Schemas of the messages and the AsyncAPI document, as the
// files beside it have them. `orderworker schema` prints them.
package schemas

import "embed"

//go:embed *.json
var files embed.FS

// names are the files of what can be printed.
var names = map[string]string{
	"request":  "request.schema.json",
	"result":   "result.schema.json",
	"dead":     "dead.schema.json",
	"asyncapi": "asyncapi.json",
}

// Read returns the schema of request, result or dead, or the AsyncAPI document.
func Read(what string) ([]byte, error) { return files.ReadFile(names[what]) }
