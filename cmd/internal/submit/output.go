package submit

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"orderworker/worker"
	"orderworker/worker/client"
)

// result is one line of a results file.
type result struct {
	OutTradeNo  string        `json:"outTradeNo"`
	ICCID       string        `json:"iccid"`
	PackageCode string        `json:"packageCode"`
	Status      worker.Status `json:"status"` // of the event; open where there is no final one
	Reason      worker.Reason `json:"reason,omitempty"`
	Code        string        `json:"code,omitempty"`
	Message     string        `json:"message,omitempty"`
	OrderNumber string        `json:"orderNumber,omitempty"`
	OrderID     int64         `json:"orderId,omitempty"`
	Attempts    int           `json:"attempts"`
	CompletedAt string        `json:"completedAt,omitempty"`
}

// statusOpen is the status of an order without a final event.
const statusOpen worker.Status = "open"

var columns = []string{"outTradeNo", "iccid", "packageCode", "status", "reason", "code", "message", "orderNumber", "orderId", "attempts", "completedAt"}

// newResult is the line of a request with that outcome. An order that is open has its
// state as the reason where it is known.
func newResult(r client.Request, o client.Outcome) result {
	line := result{OutTradeNo: r.OutTradeNo, ICCID: r.ICCID, PackageCode: r.PackageCode, Status: statusOpen}
	switch {
	case o.Final:
		line.Status, line.Reason, line.Code, line.Message = o.Status, o.Reason, o.Code, o.Message
		line.OrderNumber, line.OrderID, line.Attempts = o.OrderNumber, o.OrderID, o.Attempts
		if !o.CompletedAt.IsZero() {
			line.CompletedAt = o.CompletedAt.String()
		}
	case o.Status == worker.InDoubt:
		line.Reason, line.Attempts = worker.Reason(worker.InDoubt), o.Attempts
		line.Message = "it may have been bought, and the vendor is being asked"
	}
	return line
}

// cells are the line's cells, in the order of columns.
func (r result) cells() []string {
	id := ""
	if r.OrderID != 0 {
		id = strconv.FormatInt(r.OrderID, 10)
	}
	return []string{r.OutTradeNo, r.ICCID, r.PackageCode, string(r.Status), string(r.Reason), r.Code, r.Message, r.OrderNumber, id, strconv.Itoa(r.Attempts), r.CompletedAt}
}

// output writes result lines to a file, which appears when all of it is written.
type output struct {
	path  string
	force bool
	temp  *os.File // nil: stdout
	buf   *bufio.Writer
	csv   *csv.Writer // nil: JSON Lines
	json  *json.Encoder
}

// checkOut reports a results file that must not be overwritten.
func checkOut(path string, force bool) error {
	if path == "" || force {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("--out: %s exists; --force overwrites it", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

// newOutput begins a results file beside the one that it becomes; path "" is stdout.
func newOutput(path string, force bool, stdout io.Writer) (*output, error) {
	o := &output{path: path, force: force}
	if path != "" {
		var err error
		if o.temp, err = os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"); err != nil {
			return nil, fmt.Errorf("--out: %w", err)
		}
		stdout = o.temp
	}
	o.buf = bufio.NewWriter(stdout)
	switch strings.ToLower(filepath.Ext(path)) {
	case ".jsonl", ".ndjson", ".json":
		o.json = json.NewEncoder(o.buf)
		o.json.SetEscapeHTML(false)
		return o, nil
	}
	o.csv = csv.NewWriter(o.buf)
	return o, o.csv.Write(columns)
}

// write adds a line.
func (o *output) write(r result) error {
	if o.json != nil {
		return o.json.Encode(r)
	}
	return o.csv.Write(r.cells())
}

// close makes the file appear, or removes what was written if err is not nil.
func (o *output) close(err error) error {
	if o.csv != nil {
		o.csv.Flush()
		err = errors.Join(err, o.csv.Error())
	}
	if err == nil {
		err = o.buf.Flush()
	}
	if o.temp == nil {
		return err
	}
	if err == nil {
		err = o.temp.Sync()
	}
	if closeErr := o.temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = o.appear()
	}
	if err != nil {
		_ = os.Remove(o.temp.Name())
	}
	return err
}

// appear gives the file its name. Without force a link does it, because a rename would
// overwrite a file that somebody has made meanwhile.
func (o *output) appear() error {
	if err := os.Chmod(o.temp.Name(), 0o644); err != nil {
		return err
	}
	if !o.force {
		err := os.Link(o.temp.Name(), o.path)
		switch {
		case err == nil:
			return os.Remove(o.temp.Name())
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("%s exists; --force overwrites it", o.path)
		}
		// A file system without links.
		if err := checkOut(o.path, false); err != nil {
			return err
		}
	}
	return os.Rename(o.temp.Name(), o.path)
}
