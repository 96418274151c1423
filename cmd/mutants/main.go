// Command mutants removes one safety rule at a time from a copy of the tree and
// shows that some test fails for each. A rule whose removal fails no test is a
// missing test. It takes a while; run it by hand:
//
//	go run ./cmd/mutants            # all of them
//	go run ./cmd/mutants -run ack   # those whose name has "ack" in it
//	go run ./cmd/mutants -check     # only whether each still applies and compiles
//
// It ends with exit status 1 where a mutant survives or no longer applies.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// mutant is one rule removed: in file, the one place that reads old becomes new.
type mutant struct {
	rule  string
	file  string
	old   string
	new   string
	tests []string // arguments of go test
}

func main() {
	only := flag.String("run", "", "only mutants whose rule has this text in it")
	jobs := flag.Int("jobs", 4, "how many at once; the tests mostly wait")
	check := flag.Bool("check", false, "only see whether each mutant still applies and compiles")
	flag.Parse()
	if err := run(*only, *check, *jobs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run tries the mutants whose rule contains only, after it has checked that each applies.
func run(only string, check bool, jobs int) error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	root := strings.TrimSpace(string(out))
	chosen := slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !strings.Contains(m.rule, only) })
	if err := checkAll(root, chosen); err != nil || check {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var (
		next    = make(chan mutant)
		mu      sync.Mutex // of what is counted and printed
		caught  int
		workers sync.WaitGroup
	)
	for i := range jobs {
		tree := filepath.Join(dir, strconv.Itoa(i))
		if err := copyTree(tree, root); err != nil {
			return err
		}
		workers.Go(func() {
			for m := range next {
				began := time.Now()
				by, err := m.try(tree)
				mu.Lock()
				if err != nil {
					fmt.Printf("SURVIVES  %s: %v\n", m.rule, err)
				} else {
					caught++
					fmt.Printf("caught    %s: %s (%.0f s)\n", m.rule, by, time.Since(began).Seconds())
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range chosen {
		next <- m
	}
	close(next)
	workers.Wait()
	fmt.Printf("%d of %d mutants caught\n", caught, len(chosen))
	if caught < len(chosen) {
		return errors.New("a rule is not guarded by any test")
	}
	return nil
}

// checkAll sees whether each mutant applies and compiles.
func checkAll(root string, chosen []mutant) error {
	c, err := newChecker(root, chosen)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range chosen {
		if err := c.check(m); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.rule, err))
		}
	}
	fmt.Printf("%d of %d mutants apply\n", len(chosen)-len(errs), len(chosen))
	return errors.Join(errs...)
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// try makes the change, runs the tests, and takes the change back. It returns the first
// test that failed. A test that fails without the change too has caught nothing.
func (m mutant) try(dir string) (by string, err error) {
	by, err = m.tryChanged(dir)
	if err != nil {
		return "", err
	}
	again := m.tests
	if test, ok := strings.CutPrefix(by, "Test"); ok {
		test, _, _ = strings.Cut(test, "/")
		again = append(slices.Clone(m.tests), "-run", "^Test"+test+"$") // of two, the last counts
	}
	if out, err := goTest(dir, again); err != nil {
		return "", fmt.Errorf("without the change %s fails as well: %s", by, out)
	}
	return by, nil
}

// tryChanged is try without the second look at the test that failed.
func (m mutant) tryChanged(dir string) (by string, err error) {
	path := filepath.Join(dir, m.file)
	was, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	changed, err := m.apply(dir)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, changed, 0o644); err != nil {
		return "", err
	}
	defer func() { _ = os.WriteFile(path, was, 0o644) }()
	out, err := goTest(dir, m.tests)
	if err == nil {
		return "", errors.New("every test passes")
	}
	if by := failed.FindSubmatch(out); by != nil {
		return string(by[1]), nil
	}
	// [build failed], [setup failed]; without any result of a package, go itself has failed
	if bytes.Contains(out, []byte(" failed]\n")) || !bytes.Contains(out, []byte("\nFAIL\t")) {
		return "", fmt.Errorf("the tests do not run: %s", out)
	}
	return "the tests end: " + lastLine(out), nil
}

// goTest runs go test in dir, without vet, which would end the tests of a mutant that only
// looks odd.
func goTest(dir string, args []string) ([]byte, error) {
	test := exec.Command("go", append([]string{"test", "-vet=off", "-failfast", "-timeout", "5m"}, args...)...)
	test.Dir = dir
	return test.CombinedOutput()
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o644)
	})
}
