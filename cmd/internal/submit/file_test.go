package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orderworker/cmd/internal/text"
)

// write makes a file of orders.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// checked checks a file, and returns what was said of it, a line for each fault.
func checked(t *testing.T, path, prefix string) (*file, []string, error) {
	t.Helper()
	data, err := openFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	var said []string
	f, err := check(t.Context(), path, data, prefix, time.Now(), func(line int, fault error) {
		said = append(said, fmt.Sprintf("%d: %s", line, text.OneLine(fault)))
	})
	return f, said, err
}

// payloads are the requests of a file, as they would be published.
func payloads(t *testing.T, f *file) (all []string) {
	t.Helper()
	for r, err := range f.requests() {
		if err != nil {
			t.Fatal(err)
		}
		payload, err := r.Payload()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(payload))
	}
	return all
}

const (
	card  = "8988308650100524999"
	head  = "outTradeNo,iccid,packageCode\n"
	order = `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P"}`
)

func TestGoodFiles(t *testing.T) {
	both := order + "\n" + strings.Replace(order, `"A"`, `"B"`, 1)
	for name, c := range map[string]struct{ file, text, want string }{
		"plain":                   {"o.csv", head + "A," + card + ",P\nB," + card + ",P\n", both},
		"no newline at the end":   {"o.csv", head + "A," + card + ",P\nB," + card + ",P", both},
		"mixed line ends":         {"o.csv", "outTradeNo,iccid,packageCode\r\nA," + card + ",P\rB," + card + ",P\n", both},
		"semicolons and a BOM":    {"o.csv", "\ufeffoutTradeNo;iccid;packageCode\nA;" + card + ";P\nB;" + card + ";P\n", both},
		"tabs":                    {"o.csv", "iccid\tpackageCode\toutTradeNo\n" + card + "\tP\tA\n" + card + "\tP\tB\n", both},
		"quotes, a note on lines": {"o.csv", "outTradeNo,note,iccid,packageCode\n\"A\",\"x\n\"\"y\"\", z\",\"" + card + "\",P\nB,\"\"," + card + ",P\n", both},
		"empty lines and cells":   {"o.csv", "\n" + head + "\nA," + card + ",P\n,,\n \nB," + card + ",P\n,,\n", both},
		"same row twice":          {"o.csv", head + "A," + card + ",P\nB," + card + ",P\nA," + card + ",P\n", both},
		"spaces in the header":    {"o.csv", "outTradeNo , iccid, packageCode\nA," + card + ",P\nB," + card + ",P\n", both},
		"all fields": {"o.csv", "outTradeNo,iccid,packageCode,renew,expiresAt\nA," + card + ",P,-7,2050-01-01T01:00:00+01:00\n",
			strings.TrimSuffix(order, "}") + `,"renew":-7,"expiresAt":"2050-01-01T00:00:00Z"}`},
		"JSON Lines":            {"o.jsonl", "\ufeff" + order + "\r\n\n  {\"packageCode\":\"P\",\"iccid\":\"" + card + "\",\"outTradeNo\":\"B\",\"note\":1}", both},
		"JSON by its beginning": {"orders", both, both},
	} {
		t.Run(name, func(t *testing.T) {
			f, said, err := checked(t, write(t, c.file, c.text), "")
			if err != nil {
				t.Fatalf("%v: %q", err, said)
			}
			if got := strings.Join(payloads(t, f), "\n"); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestBrokenFiles(t *testing.T) {
	const iccidRule = "breaks the rule: required: a string of 15..22 characters 0-9 A-Z a-z"
	for name, c := range map[string]struct {
		file, text string
		want       []string // what each line begins with
		err        string
	}{
		"empty":           {"o.csv", "", nil, "has no orders"},
		"header alone":    {"o.csv", head, nil, "has no orders"},
		"UTF-16":          {"o.csv", "\xff\xfeo\x00", nil, "is in UTF-16"},
		"missing columns": {"o.csv", "iccid,note\n", []string{"1: column outTradeNo is missing", "1: column packageCode is missing: the first line must name the columns, and names \"iccid\", \"note\""}, "header line"},
		"no header":       {"o.csv", "A," + card + ",P\n", []string{"1: column outTradeNo is missing", "1: column iccid", "1: column packageCode"}, "header line"},
		"misspelt":        {"o.csv", "outTradeNo,ICCID,package_code,expires at\n", []string{`1: column "ICCID": no such field; did you mean iccid?`, `1: column "package_code"`, `1: column "expires at"`}, "header line"},
		"a column twice":  {"o.csv", "outTradeNo,iccid,iccid,packageCode\n", []string{"1: column iccid comes twice"}, "header line"},
		"two headers":     {"o.csv", head + "A," + card + ",P\n" + head, []string{"3: this is the header line again"}, "1 of 2 rows is refused"},
		"33 characters": {"o.csv", head + strings.Repeat("x", 33) + "," + card + ",P\n",
			[]string{`2: outTradeNo: "` + strings.Repeat("x", 33) + `" breaks the rule: required: a string of 1..32`}, "1 of 1"},
		"a spreadsheet's number":   {"o.csv", head + "A,8.98831E+18,P\n", []string{"2: iccid: 8.98831E+18 breaks the rule: this is a spreadsheet's notation"}, "1 of 1"},
		"with a comma, and number": {"o.csv", "outTradeNo;iccid;packageCode\n6,3E+17;8,98831E+18;P\n", []string{"2: outTradeNo: 6,3E+17 breaks the rule: this is a spreadsheet's", "2: iccid: 8,98831E+18 breaks the rule: this is a spreadsheet's"}, "1 of 1"},
		"with spaces, in quotes":   {"o.csv", head + "A, 8.98831E+18 ,P\nB,\" 8.98831E+18\",P\n", []string{"2: iccid: 8.98831E+18 breaks the rule: this is a spreadsheet's", "3: iccid: 8.98831E+18 breaks the rule: this is a spreadsheet's"}, "2 of 2"},
		"it, in JSON": {"o.jsonl", strings.Replace(order, card, "8.98831E+18", 1) + "\n" + strings.Replace(order, `"`+card+`"`, "8.98831e+18", 1) + "\n" + strings.Replace(order, `"A"`, `"6.3E+17"`, 1),
			[]string{"1: iccid: 8.98831E+18 breaks the rule: this is a spreadsheet's", "2: iccid: 8.98831e+18 breaks the rule: this is a spreadsheet's", "3: outTradeNo: 6.3E+17 breaks the rule: this is a spreadsheet's"}, "3 of 3"},
		"broken UTF-8":            {"o.csv", head + "A," + card + ",\xff\n", []string{`2: packageCode: "\xff" breaks the rule: valid UTF-8`}, "1 of 1"},
		"broken UTF-8 in JSON":    {"o.jsonl", strings.Replace(order, "P\"", "\xff\"", 1), []string{`1: payload: `}, "1 of 1"},
		"control characters":      {"o.csv", head + "A," + card + "\t,P\nB," + card + "\x00,P\n", []string{`2: iccid: "` + card + `\t" ` + iccidRule, `3: iccid: "` + card + `\u0000" ` + iccidRule}, "2 of 2"},
		"a line of 2 MB":          {"o.csv", head + "A," + strings.Repeat("9", 2<<20) + ",P\nB,1,P\n", []string{"2: the line has 2097156 bytes; the longest allowed has 1048576", "3: iccid"}, "2 of 2"},
		"cells":                   {"o.csv", head + "A," + card + "\nA," + card + ",P,\n", []string{"2: the line has 2 cells, the header has 3", "3: the line has 4 cells"}, "2 of 2"},
		"a quote that stays open": {"o.csv", head + "\"A," + card + ",P\nB,1,P\n", []string{"2: a cell's quote is not closed", "3: iccid"}, "2 of 2"},
		"a quote inside":          {"o.csv", head + "A\"B," + card + ",P\n", []string{"2: a quote stands where none may"}, "1 of 1"},
		"renew":                   {"o.csv", "outTradeNo,iccid,packageCode,renew\nA," + card + ",P,yes\n", []string{`2: renew: "yes" breaks the rule: a 64-bit integer`}, "1 of 1"},
		"all faults of a row":     {"o.csv", head + ",1,\n", []string{"2: outTradeNo: absent", "2: iccid: \"1\"", "2: packageCode: absent"}, "1 of 1"},
		"other content": {"o.csv", head + "A," + card + ",P\nB," + card + ",P\nA," + card + ",Q\n",
			[]string{`4: outTradeNo: "A" stands on line 2 too, with another packageCode`}, "1 of 3"},
		"another expiresAt": {"o.jsonl", order + "\n" + strings.TrimSuffix(order, "}") + `,"expiresAt":"2050-01-01T00:00:00Z"}`,
			[]string{`2: outTradeNo: "A" stands on line 1 too, with another expiresAt`}, "1 of 2"},
		"a misspelt JSON field": {"o.jsonl", strings.TrimSuffix(order, "}") + `,"expires_at":"x"}`, []string{`1: expires_at: "x" breaks the rule: no such field; did you mean expiresAt?`}, "1 of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, said, err := checked(t, write(t, c.file, c.text), "")
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if len(said) != len(c.want) {
				t.Fatalf("said %q, want %q", said, c.want)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(said[i], want) {
					t.Errorf("said %q, want %q", said[i], want)
				}
			}
		})
	}
}

// Rows beyond the first chunk are what they were, and a number may stand far from itself.
func TestManyChunks(t *testing.T) {
	var b strings.Builder
	b.WriteString(head)
	const n = 5*chunkRows + 7
	for i := range n {
		fmt.Fprintf(&b, "A-%d,%s,P%d\n", i, card, i%3)
	}
	text := b.String()
	f, said, err := checked(t, write(t, "o.csv", text+"A-3,"+card+",P0\n"), "")
	if err != nil || f.duplicates != 1 || f.rows != n+1 || len(f.chunks) != 6 || f.cards != 1 {
		t.Fatalf("%+v, %v %q", f, err, said)
	}
	all := payloads(t, f)
	if len(all) != n || !strings.Contains(all[n-1], fmt.Sprintf(`"A-%d"`, n-1)) {
		t.Errorf("%d payloads, the last %s", len(all), all[len(all)-1])
	}
	_, said, err = checked(t, write(t, "o.csv", text+"A-3,"+card+",P1\n"), "")
	if want := fmt.Sprintf(`%d: outTradeNo: "A-3" stands on line 5 too, with another packageCode`, n+2); err == nil || len(said) != 1 || said[0] != want {
		t.Errorf("%q, %v, want %q", said, err, want)
	}
}

// A file to which its corrected version was appended takes no longer than another: the rows
// that differ are compared in their order, and a chunk is not decoded for each. What is
// counted is allocations: 200 rows have some 2,000.
func TestManyConflicts(t *testing.T) {
	const n = 5 * chunkRows
	text := head
	for i := range 2 * n {
		text += fmt.Sprintf("A-%d,%s,P%d\n", i%n, card, i/n)
	}
	path, refused := write(t, "o.csv", text), 0
	allocations := testing.AllocsPerRun(1, func() {
		_, said, err := checked(t, path, "")
		if refused = len(said); err == nil {
			t.Fatal("it is not refused")
		}
	})
	if refused != n || allocations/n > 500 {
		t.Errorf("%d rows are refused, want %d; %.0f allocations for each", refused, n, allocations/n)
	}
}

// Ctrl-C ends the check.
func TestCheckIsInterrupted(t *testing.T) {
	conflicts := head + "A," + card + ",P\nA," + card + ",Q\n"
	for name, when := range map[string]int{"while it is read": 0, "while repeated numbers are compared": 1} {
		data, err := openFile(write(t, "o.csv", conflicts+strings.Repeat("B,"+card+",P\n", 10)+"B,1,P\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		because := errors.New("interrupted")
		if when == 0 {
			cancel(because)
		}
		// The broken row stops it when the whole file has been read.
		_, err = check(ctx, "o.csv", data, "", time.Now(), func(int, error) { cancel(because) })
		if data.Close(); !errors.Is(err, because) {
			t.Errorf("%s: %v, want %v", name, err, because)
		}
	}
}

// What was not checked is not published: a file that changes between the check and the
// publishing ends it.
func TestFileThatChanges(t *testing.T) {
	rows := head
	for i := range 2 * chunkRows {
		rows += fmt.Sprintf("A-%03d,%s,P\n", i, card)
	}
	for name, change := range map[string]struct{ from, to string }{
		"another package": {"A-399," + card + ",P", "A-399," + card + ",Q"},
		"a row less":      {"A-399," + card + ",P\n", ""},
		"a broken row":    {"A-399,", "A-399 "},
	} {
		path := write(t, "o.csv", rows)
		f, _, err := checked(t, path, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(rows, change.from, change.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		good := 0
		var last error
		for _, err := range f.requests() {
			if last = err; err == nil {
				good++
			}
		}
		if !errors.Is(last, errChanged) || good != chunkRows {
			t.Errorf("%s: %d requests, then %v; want %d, then %v", name, good, last, chunkRows, errChanged)
		}
	}
}

func TestPrefix(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"no column":   {"o.csv", "iccid;note;packageCode\n" + card + ";\"a;b\";P\n\n" + card + ";;P\n", "outTradeNo;iccid;note;packageCode\nJ-2;" + card + ";\"a;b\";P\nJ-4;" + card + ";;P\n"},
		"empty cells": {"o.csv", "iccid,packageCode,outTradeNo\n" + card + ",P,\n" + card + ",P,own\n", "iccid,packageCode,outTradeNo\n" + card + ",P,J-2\n" + card + ",P,own\n"},
		"JSON Lines":  {"o.jsonl", `{"iccid":"` + card + `","packageCode":"P","outTradeNo":null}` + "\n" + order + "\n", strings.Replace(order, `"A"`, `"J-1"`, 1) + "\n" + order + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, c.file, c.text)
			f, said, err := checked(t, path, "J")
			if err != nil {
				t.Fatal(err, said)
			}
			completed := completedPath(path, "J")
			for range 2 { // the second time it is there already
				if err := f.complete(completed); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(completed)
			if err != nil || string(got) != c.want {
				t.Errorf("completed %q, %v, want %q", got, err, c.want)
			}
			again, said, err := checked(t, completed, "")
			if err != nil || strings.Join(payloads(t, again), "\n") != strings.Join(payloads(t, f), "\n") {
				t.Errorf("the completed file says something else: %v %q", err, said)
			}
			// The same prefix for another version of the file would give numbers another meaning.
			if err := os.WriteFile(path, []byte(strings.Replace(c.text, "P", "Q", 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			changed, said, err := checked(t, path, "J")
			if err != nil {
				t.Fatal(err, said)
			}
			if err := changed.complete(completed); err == nil || !strings.Contains(err.Error(), "another version") {
				t.Errorf("got %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestStandardInputIsReadOnce(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	data, err := openFile("-", io.MultiReader(strings.NewReader(head), strings.NewReader("A,"+card+",P\n")))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	f, err := check(t.Context(), "-", data, "", time.Now(), func(line int, err error) { t.Error(line, err) })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := payloads(t, f); len(got) != 1 || got[0] != order {
			t.Errorf("got %q", got)
		}
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSummary(t *testing.T) {
	f, _, err := checked(t, write(t, "o.csv", "outTradeNo,iccid,packageCode,expiresAt,note\nA,"+card+",P,2020-01-01T00:00:00Z,\nB,"+card+",Q,,\nB,"+card+",Q,,\nC,8988308650100520000,Q,,\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	f.name = "o.csv"
	want := `o.csv: 3 orders, 2 cards, 2 packages; about 1.5s at 2 requests a second
        2 x Q
        1 x P
  1 row is the same as an earlier one, and is sent once; each gets the result
  columns that are not used: "note"
  warning: 1 order is past expiresAt already, and will fail as expired
  warning: 1 card has only zeros after the 15th digit: a spreadsheet that takes a card for a number rounds it so
`
	if got := f.describe(2, 0); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// fullDisk refuses to be written to.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestResultsFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "results.csv")
	begin := func(force bool) *output {
		t.Helper()
		out, err := newOutput(path, force, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.write(result{OutTradeNo: "A", Status: statusOpen}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if err := begin(false).close(errors.New("it failed")); err == nil {
		t.Error("the failure is not told")
	}
	full := begin(false)
	full.buf.Reset(fullDisk{})
	if err := full.write(result{OutTradeNo: "B"}); err != nil {
		t.Fatal(err)
	}
	if err := full.close(nil); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a full disk: %v", err)
	}
	if all, _ := os.ReadDir(dir); len(all) > 0 {
		t.Fatalf("there are %v after two failures", all)
	}
	late := begin(false)
	if err := begin(false).close(nil); err != nil {
		t.Fatal(err)
	}
	was, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(was, []byte("A,,,open")) {
		t.Fatalf("%s %v", was, err)
	}
	if err := (Options{Out: path}).checkOut(); err == nil {
		t.Error("a file that exists may be overwritten")
	}
	if err := late.close(nil); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a file that appeared meanwhile is overwritten: %v", err)
	}
	if err := (Options{Out: path, Force: true}).checkOut(); err != nil {
		t.Error(err)
	}
	if err := begin(true).close(nil); err != nil {
		t.Error(err)
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("left behind: %v", all)
	}
}
