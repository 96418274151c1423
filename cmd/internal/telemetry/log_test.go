package telemetry

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

func TestLogJSON(t *testing.T) {
	for _, format := range []string{"json", "auto"} { // a buffer is no terminal
		var out bytes.Buffer
		log := NewLogger("info", format, &out)
		log.Debug().Msg("below the level")
		log.Info().Str("out_trade_no", "A").Msg("done")
		var line struct {
			Level, Message, Time string
			OutTradeNo           string `json:"out_trade_no"`
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v in %q", format, err, out.String())
		}
		at, err := time.Parse(time.RFC3339, line.Time)
		if err != nil || len(line.Time) != len("2026-11-23T10:00:00.123Z") || !strings.HasSuffix(line.Time, "Z") || time.Since(at) > time.Minute {
			t.Errorf("%s: time is %q, want RFC 3339 in UTC with milliseconds", format, line.Time)
		}
		if line.Level != "info" || line.Message != "done" || line.OutTradeNo != "A" {
			t.Errorf("%s: got %s", format, out.String())
		}
	}
}

func TestLogConsole(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger("warn", "console", &out)
	log.Warn().Int("n", 1).Msg("slow")
	log.Info().Msg("below the level")
	if got := out.String(); !strings.HasSuffix(got, " WRN slow n=1\n") || strings.Contains(got, "\x1b") {
		t.Errorf("got %q", got)
	}
}

func TestLogToAFileIsJSON(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log := NewLogger("debug", "auto", file)
	log.Debug().Msg("x")
	text, _ := os.ReadFile(file.Name())
	if !json.Valid(text) {
		t.Errorf("got %q", text)
	}
}
