package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/text"
	"orderworker/worker"
	"orderworker/worker/client"
)

// Options are what the flags of the commands say, beside the settings.
type Options struct {
	Path   string // path of the file of orders; "-" is standard input
	Prefix string // prefix of the numbers for orders that have none; "": every order must have one
	Out    string // path of the results file; "": there is none, or stdout for Results
	Force  bool   // overwrite the results file
	Wait   bool   // wait until each order is final
	DryRun bool   // check the file and publish nothing

	InboxPrefix string        // prefix of the subjects for replies; "": see dial
	Timeout     time.Duration // time limit for connecting

	StreamTimeout time.Duration // how long Submit waits while no stream answers
}

// Terminal has a command's standard streams, and its way to ask a person.
type Terminal struct {
	Out, Err io.Writer
	In       io.Reader
	Confirm  func(question string) error // returns an error unless the person says yes; nil: do not ask
}

// ErrNotAll is returned when not every order has succeeded. The command has printed which
// did not.
var ErrNotAll = errors.New("not every order has succeeded")

// Submit checks the whole file, shows what it orders, asks for confirmation, and publishes
// it. With Options.Wait it then waits until each order is final, and writes the results.
func Submit(ctx context.Context, s *config.Settings, o Options, t Terminal) error {
	if err := o.checkOut(); err != nil {
		return err
	}
	f, err := load(ctx, o, t)
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
		if err := t.Confirm(fmt.Sprintf("Publish %s?", text.Counted(f.rows-f.duplicates, "order"))); err != nil {
			return fmt.Errorf("submit %s: %w", f.name, err)
		}
	}
	if o.Prefix != "" {
		if err := f.complete(completed); err != nil {
			return err
		}
		o.Path = completed
	}
	l, err := dial(ctx, s, o)
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

// Results writes the result of each order of a file, or that the order is open. With
// Options.Wait it waits until none is open.
func Results(ctx context.Context, s *config.Settings, o Options, t Terminal) error {
	if err := o.checkOut(); err != nil {
		return err
	}
	f, err := load(ctx, o, t)
	if err != nil {
		return err
	}
	defer f.data.Close()
	l, err := dial(ctx, s, o)
	if err != nil {
		return err
	}
	defer l.close()
	if o.Wait {
		return f.await(l, o, t, true)
	}
	return f.report(l, o, t, true)
}

// load opens and checks the file, and prints each rule that a line breaks.
func load(ctx context.Context, o Options, t Terminal) (*file, error) {
	data, err := openFile(o.Path, t.In)
	if err != nil {
		return nil, err
	}
	f, err := check(ctx, o.Path, data, o.Prefix, time.Now(), func(line int, fault error) {
		fmt.Fprintf(t.Err, "%s: line %d: %s\n", displayName(o.Path), line, text.OneLine(fault))
	})
	if err != nil {
		data.Close()
	}
	return f, err
}

// publish publishes the orders. Its error says how to continue.
func (f *file) publish(l *link, t Terminal) error {
	orders := f.rows - f.duplicates
	p := newProgress(t.Err, "stored", orders)
	stored, err := l.client.SubmitAll(l.ctx, f.requests(), func(now client.Progress) {
		note := ""
		if now.Waiting != nil {
			note = text.OneLine(now.Waiting)
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

// await waits until each order is final, and reports the results.
func (f *file) await(l *link, o Options, t Terminal, stdout bool) error {
	p := newProgress(t.Err, "final", f.rows)
	if err := f.follow(l.ctx, l.client, l.nc.IsConnected, p); err != nil {
		p.clear()
		return fmt.Errorf("%w\nEvery order is published, and goes on by itself. To collect the results: orderworker results %s --wait --out results.csv", err, o.Path)
	}
	return f.report(l, o, t, stdout)
}

// report writes the result lines to the results file, and prints how many orders had which
// result. Without a results file the lines go to stdout if stdout is set, else nowhere.
func (f *file) report(l *link, o Options, t Terminal, stdout bool) error {
	var out *output
	talk := t.Out
	if o.Out != "" || stdout {
		var err error
		if out, err = newOutput(o.Out, o.Force, t.Out); err != nil {
			return err
		}
		if o.Out == "" { // keep stdout for the lines alone
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

// IsTerminal reports whether a person can be asked: standard input is a terminal, and it is
// not the file of orders.
func IsTerminal(o Options, isTerminal func() bool) bool { return o.Path != "-" && isTerminal() }
