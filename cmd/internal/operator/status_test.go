package operator

import (
	"testing"
	"time"

	"orderworker/dedupe"
)

func TestStateOf(t *testing.T) {
	now := time.Now()
	old := &dedupe.Record{State: dedupe.StateIntent, SendBy: now.Add(-time.Minute)}
	sent := &dedupe.Record{State: dedupe.StateIntent, SendBy: now, Progress: dedupe.Progress{Attempt: 1}}
	events := func(statuses ...string) (all []resultEvent) {
		for _, s := range statuses {
			all = append(all, resultEvent{Status: s})
		}
		return all
	}
	for want, cases := range map[string][]struct {
		known  dedupe.Known
		events []resultEvent
		vendor *vendorView
	}{
		"unknown":  {{}, {vendor: &vendorView{Answer: "missing"}}, {vendor: &vendorView{Answer: "unclear"}}},
		"bought":   {{vendor: &vendorView{Answer: "found"}}},
		"claimed":  {{known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateClaimed}}, events: events("rejected")}},
		"rejected": {{events: events("rejected")}},
		"succeeded": {{known: dedupe.Known{Journal: old, Event: &dedupe.FinalEvent{Result: []byte(`{"status":"succeeded"}`)}}}, // a success leaves its intent
			{known: dedupe.Known{Event: &dedupe.FinalEvent{Result: []byte(`{"status":"succeeded"}`)}}},
			{known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateClaimed, Rev: 5}}, events: events("succeeded")},
			{known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateReady}, Journal: &dedupe.Record{State: dedupe.StateFinal, Result: []byte(`{"status":"succeeded"}`)}}}, {events: events("in_doubt", "succeeded", "rejected")}, {known: dedupe.Known{Journal: &dedupe.Record{State: dedupe.StateFinal, Result: []byte(`{"status":"succeeded"}`)}}}},
		"failed": {{known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateFinal, Result: []byte(`{"status":"failed"}`)}, Journal: old}}},
		"final":  {{known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateFinal, Result: []byte("?")}}}},
		"in_doubt": {{known: dedupe.Known{Journal: old}}, {events: events("in_doubt")},
			{known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{SendBy: old.SendBy}}}},
			{known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{SendBy: now}}}}, // it was answered before its time was over
			{known: dedupe.Known{Journal: sent, Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Progress: sent.Progress, Doubt: &dedupe.Doubt{SendBy: now}}}}},
		"sending": {{known: dedupe.Known{Journal: &dedupe.Record{State: dedupe.StateIntent, SendBy: now}}},
			{known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Owner: "a", Left: time.Second, Doubt: &dedupe.Doubt{SendBy: now}}}},
			{known: dedupe.Known{Journal: sent, Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{SendBy: now}}}}, // Redis knows of an earlier attempt only
			{known: dedupe.Known{Journal: old, Cache: &dedupe.Entry{State: dedupe.StateReady, Owner: "a", Left: time.Second}}}},
		"waiting": {{known: dedupe.Known{Journal: &dedupe.Record{State: dedupe.StateReady}}},
			{known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateReady}}}},
	} {
		for i, c := range cases {
			if got := stateOf(c.known, c.events, c.vendor, now, 10*time.Second); got != want {
				t.Errorf("case %d: %s, want %s", i, got, want)
			}
		}
	}
}
