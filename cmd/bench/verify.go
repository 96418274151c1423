package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/nats-io/nats.go/jetstream"
)

// verify is an error unless each of n orders was bought once and has its
// result, and nothing is left over. journalled says that each must stand in
// the journal too.
func (s *site) verify(ctx context.Context, n int, journalled bool) error {
	var errs []error
	want := func(what string, got, want uint64) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s: %d, want %d", what, got, want))
		}
	}
	names := streams()
	info, err := s.results.Info(ctx, jetstream.WithSubjectFilter(names.ResultsSubject+".>"))
	if err != nil {
		return err
	}
	want("results", info.State.Msgs, uint64(n))
	succeeded, err := s.results.Info(ctx, jetstream.WithSubjectFilter(names.ResultsSubject+".succeeded.*"))
	if err != nil {
		return err
	}
	want("of them succeeded", uint64(len(succeeded.State.Subjects)), uint64(n))
	for _, stream := range []string{names.Orders, names.Dead} {
		left, err := s.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		want("left in "+stream, left.CachedInfo().State.Msgs, 0)
	}
	journal, err := s.js.Stream(ctx, journalStream)
	if err != nil {
		return err
	}
	if journalled {
		want("orders in the journal", journal.CachedInfo().State.NumSubjects, uint64(n))
	} else {
		want("orders in the journal", journal.CachedInfo().State.NumSubjects, 0)
	}
	sold, err := s.sales(ctx)
	if err != nil {
		return err
	}
	want("purchases", uint64(sold.Purchases), uint64(n))
	want("double purchases", uint64(sold.Doubles), 0)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("THE ORDERS DID NOT COME OUT RIGHT:\n%w", err)
	}
	return nil
}

// sales asks the vendor what it sold.
func (s *site) sales(ctx context.Context) (sold sales, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.vendor+salesPath, nil)
	if err != nil {
		return sold, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return sold, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return sold, err
	}
	return sold, json.Unmarshal(text, &sold)
}
