package worker

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// libraries are those that only some packages may import.
var libraries = map[string]string{
	"nats":       "github.com/nats-io/nats.go",
	"redis":      "github.com/redis/go-redis/v9",
	"log":        "github.com/rs/zerolog",
	"prometheus": "github.com/prometheus/client_golang",
	"otel":       "go.opentelemetry.io/otel",
	"exporter":   "go.opentelemetry.io/otel/exporters",
	"sdk":        "go.opentelemetry.io/otel/sdk",
	"kong":       "github.com/alecthomas/kong",
}

// packages are the packages of the program: what each may import of the others, and
// which of the libraries. The arrows are cmd -> worker -> upstream, dedupe. Below cmd,
// only app puts a worker together, so operator and doctor do not import it.
var packages = map[string]struct{ project, libraries string }{
	"upstream":          {},
	"upstream/sandbox":  {},
	"upstream/pause":    {project: "upstream"},
	"upstream/quota":    {libraries: "redis"},
	"dedupe":            {},
	"dedupe/redisstore": {project: "dedupe", libraries: "redis"},
	"worker/halt":       {},
	"worker":            {project: "upstream upstream/pause dedupe worker/halt", libraries: "log prometheus otel"},
	"worker/natsio":     {project: "worker worker/halt dedupe", libraries: "nats log"},
	"worker/client":     {project: "worker upstream dedupe", libraries: "nats"},
	"deploy/schemas":    {},

	"cmd/internal/gather":    {},
	"cmd/internal/text":      {},
	"cmd/internal/config":    {project: "upstream", libraries: "kong redis log"},
	"cmd/internal/telemetry": {project: "cmd/internal/config", libraries: "log prometheus otel exporter sdk"},
	"cmd/internal/connect":   {project: "cmd/internal/config cmd/internal/gather worker worker/natsio upstream dedupe dedupe/redisstore upstream/quota", libraries: "nats redis log"},
	"cmd/internal/app": {
		project:   "cmd/internal/config cmd/internal/connect cmd/internal/telemetry cmd/internal/vitals worker worker/halt worker/natsio upstream dedupe dedupe/redisstore",
		libraries: "nats redis log prometheus otel",
	},
	"cmd/internal/vitals":   {project: "dedupe upstream", libraries: "redis"},
	"cmd/internal/operator": {project: "cmd/internal/config cmd/internal/connect cmd/internal/gather cmd/internal/text cmd/internal/vitals worker worker/halt worker/natsio upstream dedupe dedupe/redisstore upstream/quota", libraries: "nats redis"},
	"cmd/internal/console":  {project: "cmd/internal/config cmd/internal/operator cmd/internal/text worker worker/halt worker/natsio", libraries: "log"},
	"cmd/internal/doctor":   {project: "cmd/internal/config cmd/internal/connect worker worker/natsio upstream upstream/quota", libraries: "nats redis"},
	"cmd/internal/submit":   {project: "cmd/internal/config cmd/internal/connect cmd/internal/text worker worker/client dedupe", libraries: "nats"},
	"cmd/internal/demo": {
		project:   "cmd/internal/app cmd/internal/config cmd/internal/connect cmd/internal/console cmd/internal/operator worker worker/client dedupe/redisstore upstream/sandbox",
		libraries: "nats redis log prometheus",
	},
	"cmd/orderworker": {
		project: "cmd/internal/app cmd/internal/config cmd/internal/connect cmd/internal/console cmd/internal/demo cmd/internal/doctor cmd/internal/operator cmd/internal/submit cmd/internal/telemetry " +
			"worker upstream upstream/sandbox deploy/schemas",
		libraries: "kong redis", // redis: to switch off its log
	},
	"cmd/bench":   {project: "worker worker/natsio upstream", libraries: "nats redis log"},
	"cmd/mutants": {},
}

// helpers are the packages that only tests import.
var helpers = []string{"dedupe/dedupetest", "dedupe/storetest", "upstream/sandbox/sandboxtest", "cmd/internal/apptest", "cmd/internal/certtest", "worker/logtest", "deploy"}

// libraryOf is the name of the library that has the imported package; empty if every
// package may import it.
func libraryOf(imported string) string {
	found, longest := "", 0
	for name, library := range libraries {
		if (imported == library || strings.HasPrefix(imported, library+"/")) && len(library) > longest {
			found, longest = name, len(library)
		}
	}
	return found
}

// TestImportsPointOneWay finds imports that packages does not allow, packages that it
// does not know, and a second place that puts a worker together.
func TestImportsPointOneWay(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".go" {
			return err
		}
		rel, _ := filepath.Rel("..", name)
		rel = filepath.ToSlash(rel)
		pkg := path.Dir(rel)
		rule, known := packages[pkg]
		switch {
		case slices.Contains(helpers, pkg):
			return nil
		case !known:
			t.Errorf("%s is in a package that this test does not know", rel)
			return nil
		case strings.HasSuffix(rel, "_test.go"):
			return nil
		}
		seen[pkg] = true
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if own, ok := strings.CutPrefix(imported, "orderworker/"); ok && !slices.Contains(strings.Fields(rule.project), own) {
				t.Errorf("%s imports %s: %s may import only %q", rel, own, pkg, rule.project)
			}
			library := libraryOf(imported)
			if library != "" && !slices.Contains(strings.Fields(rule.libraries), library) {
				t.Errorf("%s imports %s: of the libraries, %s may import only %q", rel, imported, pkg, rule.libraries)
			}
		}
		if strings.Contains(string(text), "worker.New(") && pkg != "cmd/internal/app" {
			t.Errorf("%s puts a worker together: that is for cmd/internal/app", rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range packages {
		if !seen[pkg] {
			t.Errorf("there is no package %s", pkg)
		}
	}
}
