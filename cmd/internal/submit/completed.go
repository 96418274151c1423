package submit

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"orderworker/dedupe"
)

// completedPath returns the path of the completed file of path: it lies beside that file,
// and its name has the prefix in it.
func completedPath(path, prefix string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "." + dedupe.SubjectToken(prefix) + ext
}

// complete writes the completed file: the orders of f with the numbers that were made. It
// can be submitted again, even if the original is edited or lost. If the completed file
// exists already, its content must be the same: otherwise a number that was published for
// one order would be used for another.
func (f *file) complete(path string) error {
	temp, err := createBeside(path)
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // after a success this removes only the temporary name
	err = f.writeCompleted(temp)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = place(temp.Name(), path, false, os.Link)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	same, err := sameContent(temp.Name(), path)
	if err == nil && !same {
		err = fmt.Errorf("%s was made from another version of %s: submit that file to go on with it, or use another --prefix; nothing was published", path, f.name)
	}
	return err
}

// writeCompleted writes the orders of f with all numbers to the file.
func (f *file) writeCompleted(to io.Writer) error {
	w := csv.NewWriter(to)
	added := f.header != nil && f.header.column[outTradeNo] < 0
	if f.header != nil {
		w.Comma = f.header.separator
		names := f.header.names
		if added {
			names = append([]string{fieldNames[outTradeNo]}, names...)
		}
		if err := w.Write(names); err != nil {
			return err
		}
	}
	for i := range f.chunks {
		rows, err := f.read(i)
		if err != nil {
			return err
		}
		for _, row := range rows {
			switch {
			case f.header == nil:
				_, err = to.Write(append(row.payload, '\n'))
			case added:
				err = w.Write(append([]string{row.request.OutTradeNo}, row.cells...))
			default:
				row.cells[f.header.column[outTradeNo]] = row.request.OutTradeNo
				err = w.Write(row.cells)
			}
			if err != nil {
				return err
			}
		}
	}
	w.Flush()
	return w.Error()
}

// sameContent reports whether two files have the same bytes.
func sameContent(a, b string) (bool, error) {
	x, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer y.Close()
	p, q := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errX := io.ReadFull(x, p)
		m, errY := io.ReadFull(y, q)
		ended := errors.Is(errX, io.EOF) || errors.Is(errX, io.ErrUnexpectedEOF)
		switch {
		case errX != nil && !ended:
			return false, errX
		case !bytes.Equal(p[:n], q[:m]):
			return false, nil
		case ended:
			return errors.Is(errY, io.EOF) || errors.Is(errY, io.ErrUnexpectedEOF), nil
		}
	}
}
