package worker

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"orderworker/dedupe"
	"orderworker/upstream"
)

// unacked is a message whose acks and naks fail with err, if it is not nil.
type unacked struct{ err error }

func (u unacked) Ack() error                       { return u.err }
func (u unacked) NakWithDelay(time.Duration) error { return u.err }
func (u unacked) InProgress() error                { return u.err }

// TestLogLine checks the log line of each outcome byte for byte: the class, code
// and message of the answer, the error, and when the order comes again.
func TestLogLine(t *testing.T) {
	refused := &upstream.Error{Class: upstream.Refused, Code: "41013", Message: "no stock"}
	const invalid = `{"outTradeNo":"A","iccid":"8988308650100524999"}`
	_, why := DecodeOrder([]byte(invalid))
	seen := make(map[Step]bool)
	for name, c := range map[string]struct {
		payload  string // by default a valid one
		claim    *dedupe.Claim
		answer   error // the end of the last request; errNone: there was no request
		refusals int
		outcome  outcome
		ack      error
		want     string
	}{
		"bought": {claim: &dedupe.Claim{}, refusals: 1, outcome: acknowledge(StepSucceeded, nil),
			want: `{"level":"info","out_trade_no":"A","attempts":1,"class":"success","code":"200","delivery":2,"step":"succeeded","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"refused for good": {claim: &dedupe.Claim{}, answer: refused, refusals: 3, outcome: acknowledge(StepFailed, nil),
			want: `{"level":"info","out_trade_no":"A","attempts":3,"class":"refused","code":"41013","vendor_message":"no stock","delivery":2,"step":"failed","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"invalid": {payload: invalid, answer: errNone, outcome: acknowledge(StepRejected, why),
			want: `{"level":"info","out_trade_no":"A","error":"packageCode: absent breaks the rule: required: a string of 1..128 printable characters, no space","delivery":2,"step":"rejected","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"duplicate, and the ack is lost": {claim: &dedupe.Claim{}, answer: errNone, outcome: acknowledge(StepDuplicate, nil), ack: errors.New("nats: connection closed"),
			want: `{"level":"info","out_trade_no":"A","attempts":0,"unanswered":"nats: connection closed","delivery":2,"step":"duplicate","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"refused": {claim: &dedupe.Claim{}, answer: refused, refusals: 1, outcome: handBack(StepWaiting, 2*time.Second, refused),
			want: `{"level":"info","out_trade_no":"A","attempts":1,"class":"refused","code":"41013","vendor_message":"no stock","error":"ERROR","next":"2000-01-01T00:00:02.250Z","delivery":2,"step":"waiting","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"no answer": {claim: &dedupe.Claim{}, answer: &upstream.Error{Class: upstream.Ambiguous, Err: errors.New("connection reset")},
			outcome: handBack(StepInDoubt, 5*time.Second, errors.Join(errors.New("publish it"), errors.New("connection reset"))),
			want:    `{"level":"warn","out_trade_no":"A","attempts":0,"class":"ambiguous","error":"publish it; connection reset","next":"2000-01-01T00:00:05.250Z","delivery":2,"step":"in_doubt","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"paused": {claim: &dedupe.Claim{}, answer: errNone, outcome: handBack(StepPaused, 10*time.Second, errors.New("account paused")),
			want: `{"level":"debug","out_trade_no":"A","attempts":0,"error":"account paused","next":"2000-01-01T00:00:10.250Z","delivery":2,"step":"paused","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"busy": {claim: &dedupe.Claim{}, answer: errNone, outcome: handBack(StepBusy, time.Second, nil),
			want: `{"level":"debug","out_trade_no":"A","attempts":0,"next":"2000-01-01T00:00:01.250Z","delivery":2,"step":"busy","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"early": {claim: &dedupe.Claim{}, answer: errNone, refusals: 2, outcome: handBack(StepNotDue, time.Second, nil),
			want: `{"level":"debug","out_trade_no":"A","attempts":2,"next":"2000-01-01T00:00:01.250Z","delivery":2,"step":"not_due","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"stopped": {claim: &dedupe.Claim{}, answer: errNone, outcome: handBack(StepReleased, 0, errors.New("SIGTERM")),
			want: `{"level":"info","out_trade_no":"A","attempts":0,"error":"SIGTERM","next":"2000-01-01T00:00:00.251Z","delivery":2,"step":"released","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"cut off": {claim: &dedupe.Claim{}, refusals: 1, outcome: failure(StepInterrupted, errors.New("finish A: shutdown")),
			want: `{"level":"warn","out_trade_no":"A","attempts":1,"class":"success","code":"200","error":"finish A: shutdown","next":"2000-01-01T00:00:00.251Z","delivery":2,"step":"interrupted","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"refused by the store": {payload: "no JSON", answer: errNone, outcome: failure(StepInterrupted, errors.Join(ErrRefused, errors.New("no JSON"))),
			want: `{"level":"error","error":"refused for good; no JSON","next":"2000-01-01T00:01:00.250Z","delivery":2,"step":"interrupted","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"a broken record": {claim: &dedupe.Claim{}, answer: errNone, outcome: failure(StepReleased, dedupe.ErrBroken),
			want: `{"level":"error","out_trade_no":"A","attempts":0,"error":"BROKEN","next":"2000-01-01T00:01:00.250Z","delivery":2,"step":"interrupted","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
		"another account's": {claim: &dedupe.Claim{}, answer: errNone, outcome: handBack(StepInDoubt, foreignDelay, errForeign),
			want: `{"level":"warn","out_trade_no":"A","attempts":0,"error":"an attempt under another account may have gone through: the order waits until that account is used again, or for orderworker settle","next":"2000-01-01T00:01:00.250Z","delivery":2,"step":"in_doubt","queued_ms":1500,"ran_ms":250,"message":"delivery finished"}`},
	} {
		seen[c.outcome.step] = true
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				w := &Worker{logger: zerolog.New(&log), doubts: &doubts{until: make(map[string]time.Time)}}
				if c.payload == "" {
					c.payload = `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P"}`
				}
				d := &Delivery{Data: []byte(c.payload), Count: 2, Stored: time.Now().Add(-1500 * time.Millisecond), Msg: unacked{c.ack}}
				task := w.receive(d)
				task.claim, task.refusals = c.claim, c.refusals
				if !errors.Is(c.answer, errNone) {
					task.noteAnswer(c.answer)
				}
				time.Sleep(250 * time.Millisecond)
				w.endDelivery(task, c.outcome)
				want := strings.NewReplacer("ERROR", refused.Error(), "BROKEN", dedupe.ErrBroken.Error()).Replace(c.want)
				if got := strings.TrimSpace(log.String()); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				names := make(map[string]bool)
				for _, m := range regexp.MustCompile(`[{,]("[a-z_]+"):`).FindAllStringSubmatch(log.String(), -1) {
					if names[m[1]] {
						t.Errorf("two fields %s: a reader of the line sees only one of them", m[1])
					}
					names[m[1]] = true
				}
			})
		})
	}
	for _, step := range steps(t) {
		if !seen[step] {
			t.Errorf("no line of step %s", step)
		}
	}
}

// errNone says that no request was sent.
var errNone = errors.New("not called")

// steps returns all constants of type Step.
func steps(t *testing.T) (all []Step) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "outcome.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Step" {
				text, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				all = append(all, Step(text))
			}
		}
		return true
	})
	if len(all) < 11 {
		t.Fatalf("only the steps %v were found", all)
	}
	return all
}
