package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"orderworker/cmd/internal/config"
	"orderworker/worker"
	"orderworker/worker/client"
)

// Options are what the commands are told beside the settings.
type Options struct {
	Path   string // of the file of orders; "-" is standard input
	Prefix string // for numbers that are missing
	Out    string // results file
	Force  bool   // overwrite it
	Wait   bool
	DryRun bool

	InboxPrefix string
	Timeout     time.Duration // to connect
}

// Terminal is where a command talks to people.
type Terminal struct {
	Out, Err io.Writer
	In       io.Reader
	Confirm  func(question string) error // nil: yes
}

// ErrNotAll is returned where not every order has succeeded. It was printed why.
var ErrNotAll = errors.New("not every order has succeeded")

// Submit checks the whole file, shows what it orders, asks, and publishes it. With Wait
// it then follows the orders until each is final, and writes how they ended.
func Submit(ctx context.Context, s *config.Settings, o Options, t Terminal) error {
	if err := checkOut(o.Out, o.Force); err != nil {
		return err
	}
	f, err := load(o, t)
	if err != nil {
		return err
	}
	defer f.data.Close()
	fmt.Fprint(t.Out, f.describe(s.UpstreamRate, s.UpstreamJitter))
	completed := completedPath(o.Path, o.Prefix)
	if o.Prefix != "" {
		fmt.Fprintf(t.Out, "  numbers that are missing are %s-LINE; the completed file is %s\n", o.Prefix, completed)
	}
	if o.DryRun {
		fmt.Fprintln(t.Out, "dry run: nothing was published")
		return nil
	}
	if t.Confirm != nil {
		if err := t.Confirm(fmt.Sprintf("Publish %s?", count(f.rows-f.repeated, "order"))); err != nil {
			return fmt.Errorf("submit %s: %w", f.name, err)
		}
	}
	if o.Prefix != "" {
		if err := f.complete(completed); err != nil {
			return err
		}
		o.Path = completed
	}
	l, err := dial(ctx, s, o.InboxPrefix, o.Timeout)
	if err != nil {
		return fmt.Errorf("nothing was published: %w", err)
	}
	defer l.close()
	if err := f.publish(l, t); err != nil {
		return err
	}
	if !o.Wait {
		fmt.Fprintf(t.Out, "how they end: orderworker results %s --out results.csv\n", o.Path)
		return nil
	}
	return f.await(l, o, t, false)
}

// Results writes how each order of a file ended so far, or that it is open.
func Results(ctx context.Context, s *config.Settings, o Options, t Terminal) error {
	if err := checkOut(o.Out, o.Force); err != nil {
		return err
	}
	f, err := load(o, t)
	if err != nil {
		return err
	}
	defer f.data.Close()
	l, err := dial(ctx, s, o.InboxPrefix, o.Timeout)
	if err != nil {
		return err
	}
	defer l.close()
	if o.Wait {
		return f.await(l, o, t, true)
	}
	return f.report(l, o, t, true)
}

// load opens and checks the file, and prints each broken line.
func load(o Options, t Terminal) (*file, error) {
	data, err := open(o.Path, t.In)
	if err != nil {
		return nil, err
	}
	f, err := check(o.Path, data, o.Prefix, time.Now(), func(line int, fault error) {
		fmt.Fprintf(t.Err, "%s: line %d: %s\n", displayName(o.Path), line, oneLine(fault))
	})
	if err != nil {
		data.Close()
	}
	return f, err
}

// publish publishes the orders, and says how to go on where it cannot finish.
func (f *file) publish(l *link, t Terminal) error {
	orders := f.rows - f.repeated
	p := newProgress(t.Err, "stored", orders)
	stored, err := l.client.SubmitAll(l.ctx, f.requests(), func(now client.Progress) {
		note := ""
		if now.Waiting != nil {
			note = oneLine(now.Waiting)
		}
		p.set(now.Stored, note)
	})
	if err != nil {
		p.clear()
		return fmt.Errorf("%w\n%d of %d orders are certainly stored. Run the same command again to go on: what is published twice is bought once", err, stored, orders)
	}
	p.end(stored)
	return nil
}

// await follows the orders until each is final, and reports.
func (f *file) await(l *link, o Options, t Terminal, stdout bool) error {
	p := newProgress(t.Err, "final", f.rows)
	if err := f.follow(l.ctx, l.client, p); err != nil {
		p.clear()
		return fmt.Errorf("%w\nEvery order is published, and goes on by itself. To collect the results: orderworker results %s --wait --out results.csv", err, o.Path)
	}
	return f.report(l, o, t, stdout)
}

// report writes the results file, and prints how many orders ended how. stdout says that
// the lines go there where no file is named.
func (f *file) report(l *link, o Options, t Terminal, stdout bool) error {
	var out *output
	talk := t.Out
	if o.Out != "" || stdout {
		var err error
		if out, err = newOutput(o.Out, o.Force, t.Out); err != nil {
			return err
		}
		if o.Out == "" { // there the lines alone
			talk = t.Err
		}
	}
	tally, err := f.collect(l.ctx, l.client, out, newProgress(t.Err, "read", f.rows))
	if out != nil {
		err = out.close(err)
	}
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	fmt.Fprint(talk, tally)
	if o.Out != "" {
		fmt.Fprintf(talk, "written to %s\n", o.Out)
	}
	if tally.statuses[worker.Succeeded] != tally.rows {
		return ErrNotAll
	}
	return nil
}

// IsTerminal reports whether there is somebody to ask: standard input is a terminal, and
// not the file of orders.
func IsTerminal(o Options, isTerminal func() bool) bool { return o.Path != "-" && isTerminal() }
