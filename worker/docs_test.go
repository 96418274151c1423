package worker

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// documents are those that comments cite by a word.
var documents = map[string]string{"contract": "worker/CONTRACT.md", "design": "worker/DESIGN.md"}

// The forms in which a comment cites a document of the project.
var (
	citedSection = regexp.MustCompile(`(?:(\S+?), )?\b[Ss]ection (\d+)(?:(?:\.\d+)* of the (\w+))?(?:, ("[^"]+"(?: and "[^"]+")*))?`)
	citedFile    = regexp.MustCompile(`((?:[\w-]+/)*[A-Z]{3,}\.md)(?:, ("[^"]+"(?: and "[^"]+")*))?`)
	quoted       = regexp.MustCompile(`"([^"]+)"`)
	assumption   = regexp.MustCompile(`\bA[1-9]\b`)
	absent       = regexp.MustCompile(`\bFACTS\b|\bvendor/|openapi\.md`)
)

// faultsOf lists what in a comment cites something that is not there. Headings
// returns those of a document, nil where there is no such document.
func faultsOf(comment string, headings func(path string) []string) (faults []string) {
	comment = strings.Join(strings.Fields(comment), " ")
	has := func(path, number, names string) {
		all := headings(path)
		if all == nil {
			faults = append(faults, path+" is not in the repository")
			return
		}
		if number != "" && !slices.ContainsFunc(all, func(h string) bool { return strings.HasPrefix(h, number+". ") }) {
			faults = append(faults, path+" has no section "+number)
		}
		for _, name := range quoted.FindAllStringSubmatch(names, -1) {
			if !slices.ContainsFunc(all, func(h string) bool { return h == name[1] }) {
				faults = append(faults, path+" has no heading "+strconv.Quote(name[1]))
			}
		}
	}
	for _, m := range citedSection.FindAllStringSubmatchIndex(comment, -1) {
		group := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return comment[m[2*i]:m[2*i+1]]
		}
		before, number, document, names := group(1), group(2), group(3), group(4)
		before = strings.TrimLeft(before, "(")
		switch {
		case documents[document] != "":
			has(documents[document], number, names)
		case documents[before] != "":
			has(documents[before], number, names)
		case strings.HasSuffix(before, ".md"):
			has(before, number, names)
		case strings.HasSuffix(before, "CloudEvents"), regexp.MustCompile(`RFC \d+$`).MatchString(comment[:m[0]] + before):
		default:
			faults = append(faults, "section "+number+" of which document?")
		}
	}
	for _, m := range citedFile.FindAllStringSubmatch(comment, -1) {
		has(m[1], "", m[2])
	}
	if strings.Contains(comment, "design") {
		for _, name := range assumption.FindAllString(comment, -1) {
			if !slices.Contains(headings(documents["design"]), name) {
				faults = append(faults, "the design has no assumption "+name)
			}
		}
	}
	for _, m := range absent.FindAllString(comment, -1) {
		faults = append(faults, strconv.Quote(m)+" is not in the repository")
	}
	return faults
}

// headingsOf are the headings of a document of the project; the assumptions of its
// table count as such.
func headingsOf(path string) (all []string) {
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
	if err != nil {
		return nil
	}
	for _, m := range regexp.MustCompile(`(?m)^(?:#+ (.+)|\| (A\d) \|.*)$`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1]+m[2])
	}
	return all
}

// goFiles parses every Go file of the project.
func goFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go"):
			return nil
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestCommentsCiteWhatIsThere finds comments that cite a document, a section, a
// heading or an assumption that is not in the repository, and package comments
// that name a file which their package does not have.
func TestCommentsCiteWhatIsThere(t *testing.T) {
	cited := map[string][]string{}
	headings := func(path string) []string {
		if _, ok := cited[path]; !ok {
			cited[path] = headingsOf(path)
		}
		return cited[path]
	}
	for path, file := range goFiles(t) {
		for _, group := range file.Comments {
			for _, fault := range faultsOf(group.Text(), headings) {
				t.Errorf("%s: %s in the comment\n%s", path, fault, group.Text())
			}
		}
		if file.Doc == nil {
			continue
		}
		for _, m := range regexp.MustCompile(`(?:^|[\s(])([a-z_*]+\.go)\b`).FindAllStringSubmatch(file.Doc.Text(), -1) {
			if m[1] == "nats.go" { // the library
				continue
			}
			if found, err := filepath.Glob(filepath.Join(filepath.Dir(path), m[1])); err != nil || len(found) == 0 {
				t.Errorf("%s: the package has no %s", path, m[1])
			}
		}
	}
	if len(cited) < 3 {
		t.Errorf("only %d documents are cited: the test looks at the wrong thing", len(cited))
	}
}

func TestFaultsOfComments(t *testing.T) {
	headings := func(path string) []string {
		return map[string][]string{
			"worker/CONTRACT.md": {"7. Answers", "Lookup"}, "worker/DESIGN.md": {"6. Crash table", "A4"}, "upstream/VENDOR.md": {"Signing"},
		}[path]
	}
	for comment, want := range map[string]string{
		"Source: contract, section 7.":                        "",
		"Source: contract,\nsection 7, \"Lookup\".":           "",
		"Rules of section 7 of the contract.":                 "",
		"Source: RFC 9110, section 10.2.3.":                   "",
		"Source: upstream/VENDOR.md, \"Signing\".":            "",
		"Source: assumption A4 of the design.":                "",
		"Source: design, section 6, A4.":                      "",
		"Source: design, section 6, A5.":                      "the design has no assumption A5",
		"RECONCILE_DELAY in section 7 of the contract":        "",
		"Source: contract, section 8.":                        "worker/CONTRACT.md has no section 8",
		"Source: contract, section 7, \"Lookup\" and \"Up\".": `worker/CONTRACT.md has no heading "Up"`,
		"Source: design, section 7.":                          "worker/DESIGN.md has no section 7",
		"section 8 of the contract":                           "worker/CONTRACT.md has no section 8",
		"Source: upstream/VENDOR.md, \"Codes\".":              `upstream/VENDOR.md has no heading "Codes"`,
		"Source: upstream/FACT.md":                            "upstream/FACT.md is not in the repository",
		"the rules of section 7":                              "section 7 of which document?",
		"Source: vendor/FACTS.md":                             "vendor/FACTS.md is not in the repository",
		"A3 of the design":                                    "the design has no assumption A3",
	} {
		got := ""
		if faults := faultsOf(comment, headings); len(faults) > 0 {
			got = faults[0]
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", comment, got, want)
		}
	}
}

// TestCrashTableOfTheDesign compares the crash table of the design with the tests:
// each row names one that is there, and each row of TestCrashTable is in it.
func TestCrashTableOfTheDesign(t *testing.T) {
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## 6. Crash table\n")
	section, after, _ := strings.Cut(section, "\n## ")
	if after == "" {
		t.Fatal("DESIGN.md has no section \"6. Crash table\" with another behind it")
	}
	tests := map[string]bool{}
	for path, file := range goFiles(t) {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasSuffix(path, "_test.go") {
				tests[f.Name.Name] = true
			}
		}
	}
	name := regexp.MustCompile("`(Test\\w+)(?:/([^`]+))?`")
	shown := map[string]bool{}
	rows := strings.Split(section, "\n|")
	for _, row := range rows[min(3, len(rows)):] { // without what comes before, the names of the columns and the line below them
		if !name.MatchString(row) {
			t.Errorf("the row names no test:%s", row)
		}
	}
	for _, m := range name.FindAllStringSubmatch(section, -1) {
		if !tests[m[1]] {
			t.Errorf("there is no test %s", m[1])
		}
		if _, ok := crashTable[m[2]]; m[2] != "" && (m[1] != "TestCrashTable" || !ok) {
			t.Errorf("%s has no row %q", m[1], m[2])
		}
		shown[m[2]] = true
	}
	for row := range crashTable {
		if !shown[row] {
			t.Errorf("row %q of TestCrashTable is not in DESIGN.md", row)
		}
	}
}

// TestSettingsOfTheContract compares the settings and defaults of section 5 of the
// contract with those that the command has.
func TestSettingsOfTheContract(t *testing.T) {
	text, err := os.ReadFile("CONTRACT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## 5. Settings\n")
	section, _, _ = strings.Cut(section, "\n## ")
	file, err := parser.ParseFile(token.NewFileSet(), "../cmd/internal/config/settings.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	settings := 0
	ast.Inspect(file, func(n ast.Node) bool {
		field, ok := n.(*ast.Field)
		if !ok || field.Tag == nil {
			return true
		}
		tag, _ := strconv.Unquote(field.Tag.Value)
		name, standard := reflect.StructTag(tag).Get("env"), reflect.StructTag(tag).Get("default")
		row := regexp.MustCompile("(?m)^\\| [^|]*`" + name + "`[^|]* \\| ([^|]*) \\|").FindStringSubmatch(section)
		settings++
		switch {
		case row == nil:
			t.Errorf("%s is not in section 5 of CONTRACT.md", name)
		case standard != "" && !strings.Contains(row[1], "`"+standard+"`"):
			t.Errorf("%s: the default is %s, and CONTRACT.md says %s", name, standard, row[1])
		}
		return true
	})
	if settings < 40 {
		t.Errorf("only %d settings found: the test looks at the wrong thing", settings)
	}
}

// TestDocumentsCanBeRead keeps lines short and paths of some machine out.
func TestDocumentsCanBeRead(t *testing.T) {
	for _, path := range []string{"DESIGN.md", "CONTRACT.md", "../upstream/VENDOR.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if n := utf8.RuneCountInString(line); n > 160 {
				t.Errorf("%s:%d has %d characters, at most 160", path, i+1, n)
			}
			if regexp.MustCompile(`(^|[\s` + "`" + `(])/(work|tmp|home|root|usr)/`).MatchString(line) {
				t.Errorf("%s:%d names a path of a machine: %s", path, i+1, line)
			}
		}
	}
}

// TestDocumentsNameWhatIsThere finds links and names of files that lead nowhere, and
// functions that are not declared in the file that a document names beside them, as
// in "`Backoff.Delay` in `worker/rules.go`" or "`worker/rules.go` (`decide`)", and
// tests that are not there.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	declared := declarations(goFiles(t))
	tests := map[string]bool{}
	for _, names := range declared {
		maps.Copy(tests, names)
	}
	links, named := 0, 0
	for _, path := range []string{"../README.md", "../deploy/README.md", "../worker/DESIGN.md", "../worker/CONTRACT.md", "../upstream/VENDOR.md"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text, here := string(data), filepath.Dir(path)
		// find returns the path of a Go file as goFiles has it.
		find := func(name string) string {
			for _, dir := range []string{here, ".."} {
				if file := filepath.Join(dir, name); declared[file] != nil {
					return file
				}
			}
			return ""
		}
		for _, m := range regexp.MustCompile("`([\\w/]+\\.go)`").FindAllStringSubmatch(text, -1) {
			if find(m[1]) == "" {
				t.Errorf("%s: there is no %s", path, m[1])
			}
		}
		symbol := "`((?:\\w+\\.)?\\w+)`"
		for _, form := range []struct {
			pattern    string
			name, file int
		}{
			{symbol + " in `([\\w/]+\\.go)`", 1, 2},
			{"`([\\w/]+\\.go)` \\(" + symbol + "\\)", 2, 1},
		} {
			for _, m := range regexp.MustCompile(form.pattern).FindAllStringSubmatch(strings.Join(strings.Fields(text), " "), -1) {
				name := m[form.name][strings.LastIndex(m[form.name], ".")+1:]
				if file := find(m[form.file]); file != "" && !declared[file][name] {
					t.Errorf("%s: %s is not declared in %s", path, m[form.name], m[form.file])
				}
				named++
			}
		}
		for _, m := range regexp.MustCompile("`(Test\\w+)").FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s: there is no test %s", path, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(here, m[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			links++
		}
	}
	if links < 5 || named < 8 {
		t.Errorf("only %d links and %d functions with their files: the test looks at the wrong thing", links, named)
	}
}

// declarations returns, for each file, the names of its functions, methods, types,
// variables and constants.
func declarations(files map[string]*ast.File) map[string]map[string]bool {
	declared := map[string]map[string]bool{}
	for path, file := range files {
		names := map[string]bool{}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				names[d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						names[s.Name.Name] = true
					case *ast.ValueSpec:
						for _, n := range s.Names {
							names[n.Name] = true
						}
					}
				}
			}
		}
		declared[path] = names
	}
	return declared
}
