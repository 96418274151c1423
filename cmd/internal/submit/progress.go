package submit

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progress shows how far a command has come: on a terminal by a bar with rate and time
// left, otherwise by a line every plainEvery.
type progress struct {
	out   io.Writer
	what  string // what has happened to the orders that are counted, such as "stored"
	total int
	bar   *progressbar.ProgressBar // nil: out is no terminal

	began, shown time.Time // when it began, and when the last line was shown
	note         string    // the note of the last call of set
}

const plainEvery = 5 * time.Second

func newProgress(out io.Writer, what string, total int) *progress {
	p := &progress{out: out, what: what, total: total, began: time.Now(), shown: time.Now()}
	if f, ok := out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("orders"), progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(), progressbar.OptionSetRenderBlankState(true),
			progressbar.OptionUseANSICodes(true))
	}
	return p
}

// set shows that n orders are done. A note says what the command waits for; a note that is
// repeated is shown once.
func (p *progress) set(n int, note string) {
	if note != "" && note != p.note {
		p.clear()
		fmt.Fprintf(p.out, "waiting: %s\n", note)
	}
	p.note = note
	if p.bar != nil {
		_ = p.bar.Set(n) // an error of the terminal could not be shown anywhere
		return
	}
	if now := time.Now(); now.Sub(p.shown) >= plainEvery {
		p.shown = now
		rate := float64(n) / now.Sub(p.began).Seconds()
		left := ""
		if n > 0 && n < p.total {
			left = fmt.Sprintf(", %s left", roughly(time.Duration(float64(p.total-n)/rate*float64(time.Second))))
		}
		fmt.Fprintf(p.out, "%d of %d %s, %.1f a second%s\n", n, p.total, p.what, rate, left)
	}
}

// clear removes the bar from the terminal, so that a line can be written.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// end shows the final state, n orders.
func (p *progress) end(n int) {
	if p.bar != nil {
		_ = p.bar.Set(n)
		fmt.Fprintln(p.out)
		return
	}
	fmt.Fprintf(p.out, "%d of %d %s in %s\n", n, p.total, p.what, roughly(time.Since(p.began)))
}
