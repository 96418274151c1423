package worker_test

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// logLines keeps what is logged, line by line, and passes it on.
type logLines struct {
	out io.Writer

	mu    sync.Mutex
	lines []logLine
}

// logLine is a line of the log, with the fields that tests look at.
type logLine struct {
	at   time.Time
	text string

	OutTradeNo string `json:"out_trade_no"`
	Step       string
	Error      string
	Message    string // the event
	Level      string
}

func (l *logLines) Write(p []byte) (int, error) {
	line := logLine{at: time.Now(), text: string(p)}
	_ = json.Unmarshal(p, &line) // two of its fields may be called message: the last counts, which is the event
	l.mu.Lock()
	l.lines = append(l.lines, line)
	l.mu.Unlock()
	return l.out.Write(p)
}

// find returns the lines that fit.
func (l *logLines) find(fits func(logLine) bool) (found []logLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if fits(line) {
			found = append(found, line)
		}
	}
	return found
}

// events counts the lines of an event.
func (l *logLines) events(message string) int {
	return len(l.find(func(line logLine) bool { return line.Message == message }))
}

// doubts are the lines of the deliveries of an order that ended in doubt.
func (l *logLines) doubts(outTradeNo string) []logLine {
	return l.find(func(line logLine) bool { return line.OutTradeNo == outTradeNo && line.Step == "in_doubt" })
}
