package worker

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestImportsPointOneWay keeps the house plan: cmd -> worker -> upstream,
// dedupe; NATS is known to the package worker/natsio and to the journal, never to
// package worker; Redis to one door of dedupe and to upstream/quota. cmd wires, and may know everything. Leaves
// do not log.
func TestImportsPointOneWay(t *testing.T) {
	const (
		nats  = "github.com/nats-io/nats.go"
		redis = "github.com/redis/go-redis/v9"
		log   = "github.com/rs/zerolog"
		every = "*" // file of the package
	)
	// What each package may import of the project, and which of its files may
	// import the library named.
	rules := map[string]struct {
		project []string
		files   map[string][]string
	}{
		"upstream":         {nil, nil},
		"upstream/quota":   {nil, map[string][]string{redis: {every}}},
		"upstream/sandbox": {nil, nil},
		"dedupe":           {nil, map[string][]string{redis: {"redis.go", "redisjournal.go", "redisserver.go"}, nats: {"jetstream.go"}}},
		"upstream/pause":   {[]string{"orderworker/upstream"}, nil},
		"worker":           {[]string{"orderworker/upstream", "orderworker/upstream/pause", "orderworker/dedupe"}, map[string][]string{log: {every}}},
		"worker/natsio":    {[]string{"orderworker/worker", "orderworker/dedupe"}, map[string][]string{nats: {every}, log: {every}}},
	}
	seen := 0
	for pkg, rule := range rules {
		files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(pkg), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			seen++
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range f.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				if strings.HasPrefix(imported, "orderworker/") && !slices.Contains(rule.project, imported) {
					t.Errorf("%s imports %s: %s may import only %v", path, imported, pkg, rule.project)
				}
				for _, library := range []string{nats, redis, log} {
					if (imported == library || strings.HasPrefix(imported, library+"/")) &&
						!slices.Contains(rule.files[library], every) && !slices.Contains(rule.files[library], filepath.Base(path)) {
						t.Errorf("%s imports %s: in %s only %v may", path, imported, pkg, rule.files[library])
					}
				}
			}
		}
	}
	if seen < 10 {
		t.Fatalf("looked at %d files only: the test looks in the wrong place", seen)
	}
	// Nothing below the top level that is not listed above, but for test helpers.
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		pkg, _ := filepath.Rel("..", filepath.Dir(path))
		pkg = filepath.ToSlash(pkg)
		if _, ok := rules[pkg]; !ok && !strings.HasPrefix(pkg, "cmd/") && !slices.Contains([]string{"dedupe/storetest", "deploy"}, pkg) {
			t.Errorf("%s lies in a package that the house plan does not know", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
