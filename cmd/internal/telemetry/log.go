package telemetry

import (
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

const logTime = "2006-01-02T15:04:05.000Z07:00" // RFC 3339 with milliseconds

// NewLogger writes lines of level and above to w: JSON, or for people where
// format is console, or auto and w is a terminal. Times are UTC. level and
// format are LOG_LEVEL and LOG_FORMAT, which were checked.
func NewLogger(level, format string, w io.Writer) zerolog.Logger {
	terminal := false
	if file, ok := w.(*os.File); ok {
		terminal = isatty.IsTerminal(file.Fd())
	}
	if format == "console" || format == "auto" && terminal {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !terminal, TimeFormat: "15:04:05.000", TimeLocation: time.UTC}
	}
	lowest, err := zerolog.ParseLevel(level)
	if err != nil {
		lowest = zerolog.InfoLevel
	}
	return zerolog.New(w).Level(lowest).Hook(zerolog.HookFunc(stamp))
}

// stamp adds the time. zerolog's own takes its format from a global.
func stamp(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(logTime))
}
