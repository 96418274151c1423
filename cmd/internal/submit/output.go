package submit

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"orderworker/worker"
	"orderworker/worker/client"
)

// result is one line of a results file.
type result struct {
	OutTradeNo  string        `json:"outTradeNo"`
	ICCID       string        `json:"iccid"`
	PackageCode string        `json:"packageCode"`
	Status      worker.Status `json:"status"` // status of the final event; statusOpen if there is none
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

// newResult returns the line of request r with outcome o. The line of an open order has
// the reason in_doubt if the order has such an event.
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

// cells returns the line's cells, in the order of columns.
func (r result) cells() []string {
	id := ""
	if r.OrderID != 0 {
		id = strconv.FormatInt(r.OrderID, 10)
	}
	return []string{r.OutTradeNo, r.ICCID, r.PackageCode, string(r.Status), string(r.Reason), r.Code, r.Message, r.OrderNumber, id, strconv.Itoa(r.Attempts), r.CompletedAt}
}

// output writes result lines to a file. The file gets its name only when it is complete.
type output struct {
	path  string
	force bool     // an existing file is overwritten
	temp  *os.File // nil: stdout
	buf   *bufio.Writer
	csv   *csv.Writer   // nil: JSON Lines
	json  *json.Encoder // nil: CSV
}

// newOutput creates the temporary file that close renames to path. A path of "" means
// stdout.
func newOutput(path string, force bool, stdout io.Writer) (*output, error) {
	o := &output{path: path, force: force}
	if path != "" {
		var err error
		if o.temp, err = createBeside(path); err != nil {
			return nil, fmt.Errorf("--out: %w", err)
		}
		stdout = o.temp
	}
	o.buf = bufio.NewWriter(stdout)
	if hasJSONName(path) {
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

// close completes the file and gives it its name. If err is not nil, or completing fails,
// it removes the temporary file and returns the error.
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
		err = place(o.temp.Name(), o.path, o.force, os.Link)
	}
	if err != nil {
		_ = os.Remove(o.temp.Name())
	}
	return err
}
