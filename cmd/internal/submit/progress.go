package submit

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progress shows how far a command is: a bar with rate and time left on a terminal, else
// a line every few seconds.
type progress struct {
	out   io.Writer
	what  string // such as "stored"
	total int
	bar   *progressbar.ProgressBar // nil: no terminal

	began, shown time.Time
	note         string // that was shown last
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

// set shows that n are done. A note says why it does not go on; it is shown once.
func (p *progress) set(n int, note string) {
	if note != "" && note != p.note {
		p.clear()
		fmt.Fprintf(p.out, "waiting: %s\n", note)
	}
	p.note = note
	if p.bar != nil {
		_ = p.bar.Set(n) // the terminal: who would hear of it?
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

// clear takes the bar off the terminal, so that a line can be written.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// end shows the last state.
func (p *progress) end(n int) {
	if p.bar != nil {
		_ = p.bar.Set(n)
		fmt.Fprintln(p.out)
		return
	}
	fmt.Fprintf(p.out, "%d of %d %s in %s\n", n, p.total, p.what, roughly(time.Since(p.began)))
}
