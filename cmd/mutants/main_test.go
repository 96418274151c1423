package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A mutant is caught by a test that fails only with the change; the change is taken back.
func TestTry(t *testing.T) {
	dir := t.TempDir()
	const sum = "package sum\n\nfunc Sum(a, b int) int { return a + b }\n"
	for name, text := range map[string]string{
		"go.mod": "module sum\n\ngo 1.25\n",
		"sum.go": sum,
		"sum_test.go": `package sum

import "testing"

func TestSum(t *testing.T) {
	if Sum(1, 2) != 3 {
		t.Fatal()
	}
}

func TestBroken(t *testing.T) { t.Fatal() }
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		changed, run string
		by, err      string
	}{
		"caught":                         {"a - b", "TestSum", "TestSum", ""},
		"survives":                       {"b + a", "TestSum", "", "every test passes"},
		"fails without the change":       {"b + a", "TestBroken", "", "without the change TestBroken fails as well"},
		"does not compile":               {"a + ", "TestSum", "", "the tests do not run"},
		"there is nothing to be changed": {"", "TestSum", "", "sum.go"},
	} {
		m := mutant{rule: name, file: "sum.go", old: "a + b", new: c.changed, tests: []string{"-run", c.run, "."}}
		if c.changed == "" {
			m.old = "a * b"
		}
		by, err := m.try(dir)
		if by != c.by || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v", name, by, err)
		}
		if text, _ := os.ReadFile(filepath.Join(dir, "sum.go")); string(text) != sum {
			t.Errorf("%s: the change was not taken back:\n%s", name, text)
		}
	}
}
