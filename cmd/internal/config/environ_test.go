package config

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestEnvironIsReadAsTheSameSettings(t *testing.T) {
	want, err := Defaults()
	if err != nil {
		t.Fatal(err)
	}
	want.UpstreamAppkey, want.UpstreamSecret, want.AdminAddr = "key", "hunter2", ""
	want.UpstreamRate, want.OrdersAckWait, want.AllowLossyStreams = 2.5, 90*time.Second, true
	want.UpstreamLookupStates = nil

	env := make(map[string]string)
	for _, variable := range want.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	var got Settings
	var found Faults
	parser, err := NewParser(&got, lookupIn(env), &found, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if err := found.Err(); err != nil || !reflect.DeepEqual(&got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, *want)
	}
}
