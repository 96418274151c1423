package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
)

type completionCmd struct {
	Shell string `arg:"" name:"SHELL" help:"bash, zsh or fish."`
}

// Help is what the command's help says first.
func (completionCmd) Help() string {
	return `Prints a script for your shell:

    bash  source <(orderworker completion bash)
    zsh   source <(orderworker completion zsh)
    fish  orderworker completion fish | source`
}

// Check reports a shell that there is no script for.
func (c *completionCmd) Check(f *config.Faults) {
	config.OneOf(f, "SHELL", c.Shell, "bash", "zsh", "fish")
}

// Run prints the script.
func (c *completionCmd) Run(std *std, app *kong.Application) error {
	words := completions(app)
	switch c.Shell {
	case "bash":
		return bashCompletion(std.out, words)
	case "zsh":
		fmt.Fprint(std.out, "autoload -U +X bashcompinit && bashcompinit\n")
		return bashCompletion(std.out, words)
	default:
		return fishCompletion(std.out, words)
	}
}

// completion is what may follow a command: its commands and flags.
type completion struct {
	path  string // such as "dead replay"; "": the program
	words []word
}

type word struct{ text, help string }

// completions lists what may follow each command. Settings are left out: there are too
// many of them, and they come from the environment.
func completions(app *kong.Application) []completion {
	var all []completion
	var visit func(n *kong.Node, path []string)
	visit = func(n *kong.Node, path []string) {
		c := completion{path: strings.Join(path, " ")}
		for _, child := range n.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				c.words = append(c.words, word{child.Name, child.Help})
			}
		}
		for _, f := range n.Flags {
			if !f.Hidden && len(f.Envs) == 0 {
				c.words = append(c.words, word{"--" + f.Name, f.Help})
			}
		}
		if c.path == "completion" {
			c.words = append(c.words, word{"bash", ""}, word{"zsh", ""}, word{"fish", ""})
		}
		if n != app.Node && !slices.ContainsFunc(c.words, func(w word) bool { return w.text == "--help" }) {
			c.words = append(c.words, word{"--help", "Show the help."})
		}
		all = append(all, c)
		for _, child := range n.Children {
			visit(child, append(slices.Clip(path), child.Name))
		}
	}
	visit(app.Node, nil)
	return all
}

// bashCompletion prints a function that looks at the words up to the cursor that are no
// flags.
func bashCompletion(out io.Writer, all []completion) error {
	fmt.Fprint(out, `_orderworker() {
	local cur=${COMP_WORDS[COMP_CWORD]} path= word words=
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in -*) ;; *) path="${path:+$path }$word" ;; esac
	done
	case $path in
`)
	for _, c := range slices.Backward(all) { // the longest path first
		pattern := "\"" + c.path + "\"*"
		if c.path == "" {
			pattern = "*"
		}
		var texts []string
		for _, w := range c.words {
			texts = append(texts, w.text)
		}
		fmt.Fprintf(out, "\t%s) words='%s' ;;\n", pattern, strings.Join(texts, " "))
	}
	_, err := fmt.Fprint(out, `	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _orderworker orderworker
`)
	return err
}

// fishCompletion prints one line for each word.
func fishCompletion(out io.Writer, all []completion) error {
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	for _, c := range all {
		condition := "__fish_use_subcommand"
		if c.path != "" {
			var seen []string
			for name := range strings.FieldsSeq(c.path) {
				seen = append(seen, "__fish_seen_subcommand_from "+name)
			}
			condition = strings.Join(seen, "; and ")
		}
		for _, w := range c.words {
			flag, ok := strings.CutPrefix(w.text, "--")
			switch {
			case ok:
				fmt.Fprintf(out, "complete -c orderworker -n %s -l %s -d %s\n", quote(condition), flag, quote(w.help))
			default:
				fmt.Fprintf(out, "complete -c orderworker -f -n %s -a %s -d %s\n", quote(condition), w.text, quote(w.help))
			}
		}
	}
	return nil
}
