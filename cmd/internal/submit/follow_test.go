package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"orderworker/worker"
	"orderworker/worker/client"
)

// replies gives the reply to each call of Results in turn. Each call gets the number of
// the call, from 1.
type replies struct {
	calls int
	reply func(call int, r client.Request) (client.Outcome, error)
}

func (s *replies) Results(_ context.Context, requests []client.Request) (all []client.Outcome, err error) {
	s.calls++
	for _, r := range requests {
		o, err := s.reply(s.calls, r)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// sold is the outcome of a request that has succeeded.
func sold(r client.Request) client.Outcome {
	return client.Outcome{Event: client.Event{OutTradeNo: r.OutTradeNo, Status: worker.Succeeded}, Final: true}
}

func always() bool { return true }

// An election that outlasts the tries of the client does not end the waiting; what no
// waiting can heal does.
func TestFollowWaitsWhileResultsCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		fault error
		ends  bool
	}{
		"an election":    {fmt.Errorf("%w: no leader", client.ErrUnavailable), false},
		"no stream":      {client.ErrNoResults, true},
		"a broken event": {errors.New("it cannot be decoded"), true},
	} {
		t.Run(name, func(t *testing.T) {
			f, _, err := checked(t, write(t, "o.csv", head+"A,"+card+",P\n"), "")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				var said bytes.Buffer
				source := &replies{reply: func(call int, r client.Request) (client.Outcome, error) {
					if call <= 3 {
						return client.Outcome{}, c.fault
					}
					return sold(r), nil
				}}
				err := f.follow(t.Context(), source, always, newProgress(&said, "final", f.rows))
				if c.ends {
					if !errors.Is(err, c.fault) || source.calls != 1 {
						t.Errorf("%d calls, %v, want %v at once", source.calls, err, c.fault)
					}
					return
				}
				if err != nil || source.calls != 4 || !strings.Contains(said.String(), "waiting: "+c.fault.Error()) {
					t.Errorf("%d calls, %v, said %q", source.calls, err, said.String())
				}
			})
		})
	}
}

// A replica that is behind says open of an order that another replica has shown to be
// final. It is asked again. An order that was never final is not waited for.
func TestCollectAsksAgainWhatWasFinal(t *testing.T) {
	for name, lag := range map[string]error{"a replica behind": nil, "an election": client.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			f, _, err := checked(t, write(t, "o.csv", head+"A,"+card+",P\nB,"+card+",P\n"), "")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				source := &replies{reply: func(call int, r client.Request) (client.Outcome, error) {
					switch {
					case r.OutTradeNo == "B":
						return client.Outcome{}, nil
					case call == 2 || call == 3:
						return client.Outcome{}, lag
					}
					return sold(r), nil
				}}
				if _, err := f.ask(t.Context(), source, 0); err != nil {
					t.Fatal(err)
				}
				var said bytes.Buffer
				got, err := f.collect(t.Context(), source, nil, newProgress(&said, "read", f.rows))
				if err != nil || source.calls != 4 || got.statuses[worker.Succeeded] != 1 || got.statuses[statusOpen] != 1 || !strings.Contains(said.String(), "waiting: ") {
					t.Errorf("%d calls, %v, %v, said %q", source.calls, got, err, said.String())
				}
			})
		})
	}
}

// Without --wait nothing was final before: results that cannot be read are an error.
func TestCollectWithoutWaiting(t *testing.T) {
	f, _, err := checked(t, write(t, "o.csv", head+"A,"+card+",P\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	source := &replies{reply: func(int, client.Request) (client.Outcome, error) { return client.Outcome{}, client.ErrUnavailable }}
	if _, err := f.collect(t.Context(), source, nil, newProgress(&bytes.Buffer{}, "read", 1)); !errors.Is(err, client.ErrUnavailable) || source.calls != 1 {
		t.Errorf("%d calls, %v", source.calls, err)
	}
}
