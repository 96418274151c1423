package main

import (
	"encoding/json"
	"testing"

	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// The judge of the black-box scenarios must find each kind of wrong end: a scenario that
// reports none would prove nothing otherwise.
func TestJudgeFindsWhatIsWrong(t *testing.T) {
	order := request{OutTradeNo: "A", ICCID: "8988308650100524999", PackageCode: "CN-5M"}
	end := func(status worker.Status, number, id string) event {
		r := worker.Result{OutTradeNo: "A", ICCID: order.ICCID, PackageCode: order.PackageCode, Status: status, OrderNumber: number}
		payload, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return event{subject: "orders.package.result." + string(status) + ".A", id: id, account: "one", payload: string(payload), result: r}
	}
	succeeded, failed := end(worker.Succeeded, "n1", "A.succeeded"), end(worker.Failed, "", "A.failed")
	doubt := end(worker.InDoubt, "", "A.in_doubt")
	again, other, elsewhere := doubt, succeeded, succeeded
	again.seq, other.account, elsewhere.subject = 2, "other", "orders.package.result.succeeded.B"
	type wrong struct{ doubles, lost, contradictions int }
	for name, c := range map[string]struct {
		sold []string // order numbers in the vendor's book
		ends []event
		want wrong
	}{
		"bought":                   {[]string{"n1"}, []event{succeeded}, wrong{}},
		"the same event again":     {[]string{"n1"}, []event{succeeded, succeeded}, wrong{contradictions: 1}},
		"in doubt, then bought":    {[]string{"n1"}, []event{doubt, succeeded}, wrong{}},
		"in doubt, and no more":    {[]string{"n1"}, []event{doubt}, wrong{lost: 1}},
		"in doubt twice":           {[]string{"n1"}, []event{doubt, again, succeeded}, wrong{contradictions: 1}},
		"in doubt after the end":   {[]string{"n1"}, []event{succeeded, doubt}, wrong{contradictions: 1}},
		"another account":          {[]string{"n1"}, []event{other}, wrong{contradictions: 1}},
		"another subject":          {[]string{"n1"}, []event{elsewhere}, wrong{contradictions: 1}},
		"failed":                   {nil, []event{failed}, wrong{}},
		"bought twice":             {[]string{"n1", "n2"}, []event{succeeded}, wrong{doubles: 1}},
		"no result":                {nil, nil, wrong{lost: 1}},
		"bought, no result":        {[]string{"n1"}, nil, wrong{lost: 1}},
		"succeeded, not bought":    {nil, []event{succeeded}, wrong{contradictions: 1}},
		"succeeded, other number":  {[]string{"n2"}, []event{succeeded}, wrong{contradictions: 1}},
		"failed, but bought":       {[]string{"n1"}, []event{failed}, wrong{contradictions: 1}},
		"succeeded and failed":     {[]string{"n1"}, []event{succeeded, failed}, wrong{contradictions: 1}},
		"again, in other words":    {[]string{"n1"}, []event{succeeded, end(worker.Succeeded, "n2", "A.succeeded")}, wrong{contradictions: 1}},
		"rejected":                 {nil, []event{end(worker.Rejected, "", "A.rejected.0")}, wrong{contradictions: 1}},
		"the id is not its status": {[]string{"n1"}, []event{end(worker.Succeeded, "n1", "A.failed")}, wrong{contradictions: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			sold := bookOf{account: "one"}
			for _, number := range c.sold {
				sold.Purchases = append(sold.Purchases, sandbox.Purchase{OutTradeNo: "A", OrderNumber: number})
			}
			w := &world{orders: []request{order}}
			v := w.judge(books{sold}, map[string][]event{"A": c.ends})
			if got := (wrong{len(v.doubles), len(v.lost), len(v.contradictions)}); got != c.want {
				t.Errorf("got %+v, want %+v: %v %v", got, c.want, v.doubles, v.contradictions)
			}
		})
	}
	bought := sandbox.Book{Purchases: []sandbox.Purchase{{OutTradeNo: "B", OrderNumber: "n1"}}}
	w := &world{}
	if v := w.judge(books{{"one", bought}}, nil); len(v.contradictions) != 1 {
		t.Errorf("a purchase that nobody ordered: got %v", v.contradictions)
	}
	if v := w.judge(books{{"one", bought}, {"other", bought}}, nil); len(v.doubles) != 1 {
		t.Errorf("bought at two accounts: got %v", v.doubles)
	}
	fast := sandbox.Book{Totals: sandbox.Totals{Throttled: 2, PeakPerSecond: 42}}
	if v := w.judge(books{{"one", sandbox.Book{}}, {"other", fast}}, nil); v.above != 2 || v.peak != 42 {
		t.Errorf("calls above the rate: got %d, the most %d", v.above, v.peak)
	}
}
