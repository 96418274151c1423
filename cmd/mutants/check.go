package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// checker finds out whether a mutant applies and compiles, without a compiler
// for each: it type-checks the mutant's package, with the tests that are part of
// the package, against what go list compiled of the packages it imports. The
// tests of package p_test are left out: they see exported declarations only.
type checker struct {
	files    *token.FileSet
	importer types.Importer
	packages map[string]*parsed // by directory below root
	root     string
}

// parsed is a package as it is, without a mutant.
type parsed struct {
	ImportPath           string
	Dir                  string
	GoFiles, TestGoFiles []string
	Imports, TestImports []string
	trees                map[string]*ast.File // by the file's base name
}

// newChecker reads the packages of all mutants, in the module whose directory is root.
func newChecker(root string, all []mutant) (*checker, error) {
	c := &checker{files: token.NewFileSet(), packages: map[string]*parsed{}, root: root}
	var dirs []string
	for _, m := range all {
		dirs = append(dirs, "./"+path.Dir(m.file))
	}
	slices.Sort(dirs)
	list, err := goList(root, append([]string{"-json=ImportPath,Dir,GoFiles,TestGoFiles,Imports,TestImports"}, slices.Compact(dirs)...))
	if err != nil {
		return nil, err
	}
	var imports []string
	for d := json.NewDecoder(bytes.NewReader(list)); ; {
		p := &parsed{trees: map[string]*ast.File{}}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		imports = append(append(imports, p.Imports...), p.TestImports...)
		for _, name := range append(p.GoFiles, p.TestGoFiles...) {
			if p.trees[name], err = parser.ParseFile(c.files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution); err != nil {
				return nil, err
			}
		}
		dir, err := filepath.Rel(root, p.Dir)
		if err != nil {
			return nil, err
		}
		c.packages[filepath.ToSlash(dir)] = p
	}
	slices.Sort(imports)
	list, err = goList(root, append([]string{"-deps", "-export", "-f", "{{.ImportPath}} {{.Export}}"}, slices.Compact(imports)...))
	if err != nil {
		return nil, err
	}
	exports := map[string]string{} // by import path, the file of what is exported
	for line := range strings.Lines(string(list)) {
		pkg, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[pkg] = file
	}
	c.importer = importer.ForCompiler(c.files, "gc", func(pkg string) (io.ReadCloser, error) { return os.Open(exports[pkg]) })
	return c, nil
}

// apply returns the text of the mutant's file with its change.
func (m mutant) apply(root string) ([]byte, error) {
	was, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(was, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("its text stands %d times in %s, not once", n, m.file)
	}
	return bytes.Replace(was, []byte(m.old), []byte(m.new), 1), nil
}

// check returns an error if m does not apply or does not compile.
func (c *checker) check(m mutant) error {
	text, err := m.apply(c.root)
	if err != nil {
		return err
	}
	p := c.packages[path.Dir(m.file)]
	changed, err := parser.ParseFile(c.files, m.file, text, parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("it does not compile: %w", err)
	}
	var trees []*ast.File
	for name, tree := range p.trees {
		if name == path.Base(m.file) {
			tree = changed
		}
		trees = append(trees, tree)
	}
	config := types.Config{Importer: c.importer, Sizes: types.SizesFor("gc", runtime.GOARCH)}
	if _, err := config.Check(p.ImportPath, c.files, trees, nil); err != nil {
		return fmt.Errorf("it does not compile: %w", err)
	}
	return nil
}

func goList(dir string, args []string) ([]byte, error) {
	list := exec.Command("go", append([]string{"list"}, args...)...)
	list.Dir, list.Stderr = dir, os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	return out, nil
}
