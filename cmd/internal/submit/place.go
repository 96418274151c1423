package submit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// checkOut returns an error if the results file could not be written: if it is another file
// of the command, if it exists and may not be overwritten, or if nothing can be created in
// its directory. It leaves nothing behind. The file is written only when the orders are
// final, and a command that is killed before leaves no temporary file either.
func (o Options) checkOut() error {
	if o.Out == "" {
		return nil
	}
	others := map[string]string{"the file of orders": o.Path}
	if o.Prefix != "" {
		others["the completed file"] = completedPath(o.Path, o.Prefix)
	}
	for what, path := range others {
		if path != "-" && sameFile(o.Out, path) {
			return fmt.Errorf("--out: %s is %s, %s", o.Out, what, path)
		}
	}
	if _, err := os.Lstat(o.Out); err == nil && !o.Force {
		return fmt.Errorf("--out: %s exists; --force overwrites it", o.Out)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--out: %w", err)
	}
	if info, err := os.Stat(o.Out); err == nil && info.IsDir() {
		return fmt.Errorf("--out: %s is a directory", o.Out)
	}
	temp, err := createBeside(o.Out)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return errors.Join(temp.Close(), os.Remove(temp.Name()))
}

// sameFile reports whether two paths name the same file, whether or not it exists.
func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX == nil && errY == nil {
		return os.SameFile(x, y)
	}
	return plainPath(a) == plainPath(b)
}

// plainPath returns the absolute path of a file that may not exist. Its directory is without
// symbolic links, if it exists.
func plainPath(path string) string {
	dir := filepath.Dir(path)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return filepath.Join(dir, filepath.Base(path))
}

// createBeside creates a temporary file in the directory of path, so that it can get the
// name path without being copied. Its permissions are those of any new file, by the umask:
// os.CreateTemp would let nobody else read it.
func createBeside(path string) (*os.File, error) {
	name := strings.Join([]string{"", filepath.Base(path), rand.Text()}, ".")
	return os.OpenFile(filepath.Join(filepath.Dir(path), name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// place renames temp, a finished temporary file, to its final name. Without force it overwrites nothing, and its
// error wraps fs.ErrExist if there is such a file, even one that was created in the
// meantime. So it makes a hard link with link, which is os.Link; where the file system has
// none, it reserves the name by an empty file that only its creator overwrites.
func place(temp, path string, force bool, link func(from, to string) error) error {
	if !force {
		err := link(temp, path)
		if err == nil {
			return os.Remove(temp)
		}
		if !errors.Is(err, fs.ErrExist) {
			var reserved *os.File
			if reserved, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666); err == nil {
				err = reserved.Close()
			}
		}
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists; --force overwrites it: %w", path, fs.ErrExist)
		}
		if err != nil {
			return err
		}
	}
	err := os.Rename(temp, path)
	if err != nil && !force {
		_ = os.Remove(path) // the empty file that reserved the name
	}
	return err
}
