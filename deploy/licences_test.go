package deploy

import (
	"debug/buildinfo"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	classifier "github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

var writeLicences = flag.Bool("licences", false, "write licences.txt anew")

// allowedLicences are those that ask for no more than to pass on their text.
// Any other is for a person to decide.
var allowedLicences = []string{
	"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT",
	"BSL-1.0", "Unlicense", // Boost's, and the public domain: two files that miniredis took over
}

// allLicences takes seconds to load under the race detector: once for all tests.
var allLicences = sync.OnceValues(assets.DefaultClassifier)

// TestLicences holds every module in the binary to the allowed licences, by
// the texts in the module cache, and licences.txt to what is in the binary.
func TestLicences(t *testing.T) {
	c, err := allLicences()
	if err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	list.WriteString("# What is linked into the binary beside Go's standard library (BSD-3-Clause). Written by make licences.\n")
	modules := linked(t)
	for _, m := range slices.Sorted(maps.Keys(modules)) {
		names := licences(t, c, modules[m])
		for _, name := range names {
			if !slices.Contains(allowedLicences, name) {
				t.Errorf("%s has the licence %s; allowed are %v", m, name, allowedLicences)
			}
		}
		if len(names) == 0 {
			t.Errorf("%s has no licence", m)
		}
		fmt.Fprintf(&list, "%s %s\n", m, strings.Join(names, " AND "))
	}
	if *writeLicences {
		if err := os.WriteFile("licences.txt", []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, "licences.txt"); got != list.String() {
		t.Errorf("licences.txt is not what is in the binary, run make licences; want\n%s", list.String())
	}
}

// linked is the modules of the binary, as "path version", and the directories
// of their packages that are in it.
func linked(t *testing.T) map[string][]string {
	t.Helper()
	info, err := buildinfo.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string][]string{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules[m.Path+" "+m.Version] = nil
	}
	c := exec.Command("go", "list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{$.Dir}}\t{{.Dir}}{{end}}{{end}}", "./cmd/orderworker")
	c.Dir, c.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		field := strings.Split(strings.TrimSpace(line), "\t")
		if len(field) != 3 {
			continue
		}
		if _, ok := modules[field[0]]; !ok {
			t.Errorf("%s is needed, and not in the binary", field[0])
		}
		// A package may have a licence of its own: look from it up to the module's root.
		for dir := field[1]; ; dir = filepath.Dir(dir) {
			if !slices.Contains(modules[field[0]], dir) {
				modules[field[0]] = append(modules[field[0]], dir)
			}
			if dir == field[2] || len(dir) < len(field[2]) {
				break
			}
		}
	}
	return modules
}

var licenceFile = regexp.MustCompile(`(?i)^(un)?licen[cs]e|^copying`)

// licences names the licences whose texts lie in dirs, by SPDX; a text that is
// none the classifier knows is "unknown".
func licences(t *testing.T, c *classifier.Classifier, dirs []string) []string {
	t.Helper()
	found := map[string]bool{}
	for _, dir := range dirs {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.IsDir() || !licenceFile.MatchString(f.Name()) || strings.HasSuffix(f.Name(), ".go") {
				continue
			}
			known := false
			for _, m := range c.Match([]byte(read(t, filepath.Join(dir, f.Name())))).Matches {
				if m.MatchType == "License" {
					known, found[m.Name] = true, true
				}
			}
			if !known {
				found["unknown"] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// TestLicencesOfATextThatIsNotAllowed: a check that finds nothing proves nothing.
func TestLicencesOfATextThatIsNotAllowed(t *testing.T) {
	c, err := allLicences()
	if err != nil {
		t.Fatal(err)
	}
	text, err := assets.ReadLicenseFile("License/AGPL-3.0/license.txt")
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]string{"AGPL-3.0": string(text), "unknown": "All rights reserved. Do not copy."} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "LICENSE.md"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := licences(t, c, []string{dir}); !slices.Equal(got, []string{want}) {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}
