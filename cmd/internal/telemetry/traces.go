package telemetry

import (
	"context"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"orderworker/cmd/internal/config"
)

// tracesTimeout is how long a stop waits for the last spans to be exported.
const tracesTimeout = 2 * time.Second

// wantTraces reports whether the environment asks for traces: it names an OTLP
// endpoint or exporter, and does not switch them off.
//
// Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
func wantTraces(getenv func(string) string) bool {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return getenv("OTEL_TRACES_EXPORTER")+getenv("OTEL_EXPORTER_OTLP_ENDPOINT")+getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// CheckTraces reports values of OTEL_ variables that this program does not support.
// The exporter and the SDK read the other variables themselves.
func CheckTraces(f *config.Faults, getenv func(string) string) {
	if !wantTraces(getenv) {
		return
	}
	if exporter := getenv("OTEL_TRACES_EXPORTER"); exporter != "" && exporter != "otlp" {
		f.Add("OTEL_TRACES_EXPORTER", "(%q) must be otlp or none", exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if protocol := getenv(name); !slices.Contains([]string{"", "http/protobuf", "http/json"}, protocol) {
			f.Add(name, "(%q) must be http/protobuf or http/json", protocol)
		}
	}
	// The rest may hold secrets: the value is not shown.
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		if text := getenv(name); text != "" && !isEndpoint(text) {
			f.Add(name, "must be http://HOST:PORT or https://HOST:PORT, without a user")
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_RESOURCE_ATTRIBUTES"} {
		if text := getenv(name); text != "" && !isPairs(text) {
			f.Add(name, "must be NAME=VALUE, comma-separated and percent-encoded")
		}
	}
}

// isEndpoint reports whether text is the URL of an HTTP server, without a user.
func isEndpoint(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// isPairs reports whether text is NAME=VALUE, comma-separated and percent-encoded.
func isPairs(text string) bool {
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if _, err := url.PathUnescape(value); err != nil || !ok || strings.TrimSpace(name) == "" {
			return false
		}
	}
	return true
}

// StartTraces returns the tracer that the environment asks for, nil if it asks for
// none, and a function that exports the last spans and ends it.
func StartTraces(ctx context.Context, log zerolog.Logger) (trace.Tracer, func(), error) {
	if !wantTraces(os.Getenv) {
		return nil, func() {}, nil
	}
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	otel.SetLogger(logr.Discard()) // it would quote the environment, headers too; what is wrong there was refused
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, err
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "orderworker"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv()) // last: it wins
	if err != nil {
		return nil, nil, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(&reporting{SpanExporter: exporter, log: log}), sdktrace.WithResource(about))
	stop := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesTimeout)
		defer cancel()
		_ = provider.Shutdown(ctx) // what could not be exported was reported
	}
	return provider.Tracer("orderworker"), stop, nil
}

// reporting logs when spans can no longer be exported, and when they can be again;
// the SDK would write a line of its own for each batch.
type reporting struct {
	sdktrace.SpanExporter
	log    zerolog.Logger
	failed atomic.Bool
}

// ExportSpans exports spans; those that cannot be are dropped.
func (r *reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if was := r.failed.Swap(err != nil); err != nil && !was {
		r.log.Warn().Err(err).Msg("traces cannot be exported")
	} else if err == nil && was {
		r.log.Info().Msg("traces are exported again")
	}
	return nil
}
