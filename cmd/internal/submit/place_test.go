package submit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What cannot become the results file is refused before anything is published.
func TestOutIsCheckedFirst(t *testing.T) {
	orders := write(t, "o.csv", head)
	dir := filepath.Dir(orders)
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(dir, alias); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    Options
		want string // "": no error
	}{
		"a good one":             {Options{Out: filepath.Join(dir, "r.csv")}, ""},
		"no directory":           {Options{Out: filepath.Join(dir, "none", "r.csv")}, "no such file or directory"},
		"a directory":            {Options{Out: dir, Force: true}, "is a directory"},
		"the input":              {Options{Out: dir + "/../" + filepath.Base(dir) + "/o.csv", Force: true}, "is the file of orders, " + orders},
		"the completed file":     {Options{Out: filepath.Join(dir, "o.J.csv"), Prefix: "J"}, "is the completed file, " + filepath.Join(dir, "o.J.csv")},
		"it, by a link":          {Options{Out: filepath.Join(alias, "o.J.csv"), Prefix: "J"}, "is the completed file, " + filepath.Join(dir, "o.J.csv")},
		"the same, no prefix":    {Options{Out: filepath.Join(dir, "o.J.csv")}, ""},
		"cannot create anything": {Options{Out: "/proc/r.csv"}, "--out: "}, // root may write to every other directory
	} {
		c.o.Path = orders
		if err := c.o.checkOut(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("left behind: %v", all)
	}
}

// The files that are made have the permissions that the umask leaves.
func TestFilesObeyTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	path := write(t, "o.csv", "iccid,packageCode\n"+card+",P\n")
	f, _, err := checked(t, path, "J")
	if err != nil {
		t.Fatal(err)
	}
	results := filepath.Join(filepath.Dir(path), "r.csv")
	out, err := newOutput(results, false, nil)
	if err = errors.Join(err, f.complete(completedPath(path, "J")), out.close(nil)); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{results, completedPath(path, "J")} {
		if info, err := os.Stat(made); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v, want 0640", made, info.Mode(), err)
		}
	}
}

// On a file system without hard links a file gets its name, and overwrites none.
func TestPlaceWithoutHardLinks(t *testing.T) {
	unable := func(string, string) error { return &os.LinkError{Op: "link", Err: syscall.EPERM} }
	temp := write(t, "temp", "new")
	path := filepath.Join(filepath.Dir(temp), "r.csv")
	if err := place(temp, path, false, unable); err != nil {
		t.Fatal(err)
	}
	again := write(t, "temp", "newer")
	if err := place(again, path, false, unable); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file that exists: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
	if all, _ := os.ReadDir(filepath.Dir(path)); len(all) != 1 {
		t.Errorf("left behind: %v", all)
	}
}
