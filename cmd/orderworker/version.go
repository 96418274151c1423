package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

type versionCmd struct{}

// Run prints what the binary was built from.
func (versionCmd) Run(std *std) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return printVersion(std.out, info)
}

// printVersion prints the module's version, the commit (with -dirty where files
// differed from it) and the version of Go; "unknown" for what the build did not
// record.
func printVersion(w io.Writer, info *debug.BuildInfo) error {
	version, revision, modified := info.Main.Version, "", false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if modified && revision != "" {
		revision += "-dirty"
	}
	known := func(s string) string {
		if s == "" {
			return "unknown"
		}
		return s
	}
	_, err := fmt.Fprintf(w, "orderworker %s\nrevision %s\n%s\n", known(version), known(revision), known(info.GoVersion))
	return err
}

// versionFlag is --version, which works without a command.
type versionFlag bool

// BeforeReset prints the version and ends the program.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	if err := (versionCmd{}).Run(&std{out: app.Stdout}); err != nil {
		return err
	}
	app.Exit(statusDone)
	return nil
}
