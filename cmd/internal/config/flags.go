package config

import (
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// LookupFunc returns an environment variable, as os.LookupEnv does.
type LookupFunc func(name string) (value string, set bool)

// NewParser returns a parser of the command line for commands, a pointer to a
// struct of kong. It differs from kong in three ways. It goes on after a value
// that cannot be parsed, and adds that to found. It reads variables through lookup,
// and only for the command that was chosen, so that a demo never sees those of real
// servers. It prints no variable's value, neither in the help nor in an error.
func NewParser(commands any, lookup LookupFunc, found *Faults, stdout, stderr io.Writer) (*kong.Kong, error) {
	k, err := kong.New(commands,
		kong.Name("orderworker"),
		kong.Description("Buys the data packages that order requests in NATS JetStream ask for: never twice, and none is lost."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}),
		kong.WithHyphenPrefixedParameters(true), // a negative number is a wrong value, not an unknown flag
		kong.Writers(stdout, stderr),
		kong.Resolvers(variables(lookup)),
		kong.ValueFormatter(func(v *kong.Value) string {
			if v.Flag == nil || len(v.Flag.Envs) == 0 {
				return v.Help
			}
			return fmt.Sprintf("%s ($%s)", v.Help, v.Flag.Envs[0])
		}),
		kong.KindMapper(reflect.String, found.mapper("is not text", func(text string, to reflect.Value) bool {
			to.SetString(text)
			return true
		})),
		kong.KindMapper(reflect.Int, found.mapper("is not a whole number", func(text string, to reflect.Value) bool {
			n, err := strconv.ParseInt(text, 10, 0)
			to.SetInt(n)
			return err == nil
		})),
		kong.KindMapper(reflect.Float64, found.mapper("is not a finite number", func(text string, to reflect.Value) bool {
			n, err := strconv.ParseFloat(text, 64)
			to.SetFloat(n)
			return err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
		})),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), found.mapper("is not a duration, such as 500ms, 10s or 24h", func(text string, to reflect.Value) bool {
			d, err := time.ParseDuration(text)
			to.SetInt(int64(d))
			return err == nil
		})),
		kong.TypeMapper(reflect.TypeFor[codeList](), found.mapper("is not a list", func(text string, to reflect.Value) bool {
			var codes codeList
			for code := range strings.SplitSeq(text, ",") {
				codes = append(codes, strings.TrimSpace(code))
			}
			if text == "" {
				codes = nil
			}
			to.Set(reflect.ValueOf(codes))
			return true
		})),
		kong.TypeMapper(reflect.TypeFor[[]string](), found.mapper("is not text", func(text string, to reflect.Value) bool { // a flag that may be given several times
			to.Set(reflect.Append(to, reflect.ValueOf(text)))
			return true
		})),
		kong.KindMapper(reflect.Bool, boolMapper{found}),
	)
	if err != nil {
		return nil, err
	}
	return k, hideVariables(k)
}

// Defaults returns the settings of a worker for which nothing was set.
func Defaults() (*Settings, error) {
	var s Settings
	none := func(string) (string, bool) { return "", false }
	parser, err := NewParser(&s, none, new(Faults), io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	_, err = parser.Parse(nil)
	return &s, err
}

// hideVariables removes the variables from the tags, because kong would read them for
// every command and take an empty one for a value. They stay in Flag.Envs.
// (kong.PostBuild is too early: kong copies them to Flag.Envs after it.)
func hideVariables(k *kong.Kong) error {
	return kong.Visit(k.Model, func(n kong.Visitable, next kong.Next) error {
		if flag, ok := n.(*kong.Flag); ok {
			flag.Tag.Envs = nil
		}
		return next(nil)
	})
}

// variables resolves a flag that was not given to the value of its variable.
func variables(lookup LookupFunc) kong.ResolverFunc {
	return func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		for _, name := range flag.Envs {
			if value, set := lookup(name); set && (value != "" || name == "ADMIN_ADDR" || name == "UPSTREAM_LOOKUP_STATES") {
				return value, nil
			}
		}
		return nil, nil
	}
}

// Narrow leaves a command the settings that name the servers and the streams, and the
// vendor's that are listed. The others are neither in its help nor read from the
// environment, and keep their defaults.
func Narrow(command *kong.Path, vendor ...string) {
	for _, flag := range command.Flags {
		if flag.Group == nil || len(flag.Envs) == 0 {
			continue
		}
		name := flag.Envs[0]
		used := slices.Contains(foldedGroups, flag.Group.Key) || slices.Contains(vendor, name)
		if !used || name == "NATS_REPLICAS" || name == "ALLOW_LOSSY_STREAMS" {
			flag.Hidden, flag.Envs = true, nil
		}
	}
}

// NarrowTo leaves a command the settings that are listed. The others are neither in its
// help nor read from the environment, and keep their defaults.
func NarrowTo(command *kong.Path, names ...string) {
	for _, flag := range command.Flags {
		if len(flag.Envs) > 0 && !slices.Contains(names, flag.Envs[0]) {
			flag.Hidden, flag.Envs = true, nil
		}
	}
}

// Hide leaves the settings out of a command's help. They are read all the same.
func Hide(command *kong.Path) {
	for _, flag := range command.Flags {
		flag.Hidden = flag.Hidden || len(flag.Envs) > 0
	}
}

// mapper returns a kong mapper that calls parse. If parse returns false, it adds a fault
// with the value, which must not be a secret's, and the rule.
func (f *Faults) mapper(rule string, parse func(text string, to reflect.Value) bool) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		if ctx.Scan.Peek().IsEOL() {
			f.Add(settingName(ctx.Value), "needs a value") // kong would take nothing for one
			return nil
		}
		var text string
		if err := ctx.Scan.PopValueInto("value", &text); err != nil {
			return err
		}
		if !parse(text, target) {
			f.Add(settingName(ctx.Value), "(%q) %s", text, rule)
		}
		return nil
	}
}

// boolMapper is the mapper of flags that need no value.
type boolMapper struct{ found *Faults }

// Decode takes true or false; a bare flag is true.
func (m boolMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	target.SetBool(true)
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	return m.found.mapper("is neither true nor false", func(text string, to reflect.Value) bool {
		b, err := strconv.ParseBool(text)
		to.SetBool(b)
		return err == nil
	})(ctx, target)
}

// IsBool tells kong that the next argument is not the flag's value.
func (boolMapper) IsBool() bool { return true }

// settingName is the name of a setting in errors: its variable, which names the flag as
// well, or the flag if there is no variable.
func settingName(v *kong.Value) string {
	if v.Flag == nil {
		return v.Name
	}
	if len(v.Flag.Envs) > 0 {
		return v.Flag.Envs[0]
	}
	return "--" + v.Name
}

// Folded is a paragraph of a command's help that names the settings which Narrow leaves to
// a command, one line for each group, instead of a line for each setting.
func Folded(vendor ...string) string {
	groups := map[string][]string{}
	var order []string
	for field := range reflect.TypeFor[Settings]().Fields() {
		name, group := field.Tag.Get("env"), field.Tag.Get("group")
		if name == "NATS_REPLICAS" || name == "ALLOW_LOSSY_STREAMS" || !slices.Contains(foldedGroups, group) && !slices.Contains(vendor, name) {
			continue
		}
		if !slices.Contains(order, group) {
			order = append(order, group)
		}
		groups[group] = append(groups[group], "$"+name)
	}
	text := "The settings are those of orderworker run, which explains them, as variables or flags:"
	for _, group := range order {
		text += fmt.Sprintf("\n\n%s: %s", group, strings.Join(groups[group], " "))
	}
	return text
}

// foldedGroups are the groups of settings that name the servers and the streams.
var foldedGroups = []string{"NATS", "Streams", "Redis"}
