package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// runElsewhere are the variables of the Makefile whose tests the race detector's run leaves
// out in every package, and the packages in which make test runs them without it.
var runElsewhere = map[string][]string{
	"REPEATED": {"worker", "upstream/quota"},
	"PUNCTUAL": {"worker"},
	"BLACKBOX": {"cmd/orderworker"},
	"COMMANDS": {"cmd/orderworker"},
}

// withoutRace are the packages that the race detector's run leaves out.
var withoutRace = []string{"deploy", "cmd/bench"}

// TestMakeTestLeavesNoTestOut: make test runs each test that the race detector's run leaves
// out in another step, and the simulation. A test of another package with such a name would
// be left out, and run nowhere.
func TestMakeTestLeavesNoTestOut(t *testing.T) {
	text, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	makefile := string(text)
	recipes := recipe(t, makefile, "test") + recipe(t, makefile, "plain")
	patterns := map[string]*regexp.Regexp{}
	for name, packages := range runElsewhere {
		value := regexp.MustCompile(`(?m)^` + name + ` = (.*)$`).FindStringSubmatch(makefile)
		if value == nil {
			t.Fatalf("the Makefile has no %s", name)
		}
		patterns[name] = regexp.MustCompile(`^(` + value[1] + `)$`)
		if !strings.Contains(recipe(t, makefile, "race"), "$("+name+")") {
			t.Errorf("race does not leave out $(%s)", name)
		}
		for _, pkg := range packages {
			run := "go test .*-run '\\^\\(\\$\\(" + name + "\\)\\)\\$\\$' .*\\./" + pkg + "\n"
			if pkg == "worker" {
				run = "worker\\.test .*-test\\.run '\\^\\(\\$\\(" + name + "\\)\\)\\$\\$'"
			}
			if !regexp.MustCompile(run).MatchString(recipes) {
				t.Errorf("make test does not run $(%s) of %s", name, pkg)
			}
		}
	}
	if !strings.Contains(recipe(t, makefile, "race"), "grep -vE '/("+strings.Join(withoutRace, "|")+")$$'") ||
		!strings.Contains(recipes, "./"+strings.Join(withoutRace, " ./")+"\n") {
		t.Errorf("make test does not run %v, or race does not leave them out", withoutRace)
	}
	if !strings.Contains(recipes, "($(SAMPLE)) && ($(RANDOM)); computed=$$?; wait $$repeated && exit $$computed\n") {
		t.Error("make test does not run the simulation, or does not look at how it ends")
	}
	found := map[string]int{}
	for _, test := range tests(t) {
		for name, pattern := range patterns {
			switch {
			case !pattern.MatchString(test.name) || slices.Contains(withoutRace, test.pkg):
			case slices.Contains(runElsewhere[name], test.pkg):
				found[name]++
			default:
				t.Errorf("%s of %s is left out by $(%s), and run nowhere", test.name, test.pkg, name)
			}
		}
	}
	for name := range runElsewhere {
		if found[name] == 0 {
			t.Errorf("$(%s) matches no test", name)
		}
	}
}

// recipe returns the lines of a target's recipe.
func recipe(t *testing.T, makefile, target string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + target + `: ?[a-z ]*\n((?:\t.*\n)+)`).FindStringSubmatch(makefile)
	if found == nil {
		t.Fatalf("the Makefile has no recipe of %s", target)
	}
	return found[1]
}

type testFunc struct{ pkg, name string }

// tests returns every test of the project.
func tests(t *testing.T) (all []testFunc) {
	t.Helper()
	for _, pattern := range []string{"../*/*_test.go", "../*/*/*_test.go", "../*/*/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pkg, _ := filepath.Rel("..", filepath.Dir(file))
			for _, found := range regexp.MustCompile(`(?m)^func (Test\w+)\(t `).FindAllStringSubmatch(string(text), -1) {
				all = append(all, testFunc{pkg, found[1]})
			}
		}
	}
	return all
}
