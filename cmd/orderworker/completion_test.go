package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestCompletion runs the bash script in a real bash, and looks at what it offers behind
// each line. The other shells get the same words.
func TestCompletion(t *testing.T) {
	t.Parallel()
	_, script, _ := orderworker(t, nil, "completion", "bash")
	for line, want := range map[string]string{
		"orderworker pa":                     "pause",
		"orderworker dead ":                  "list show replay --help",
		"orderworker dead replay --a":        "--all",
		"orderworker dead replay 7 --res --": "--all --reason --set --limit --yes --json --timeout --help",
		"orderworker completion ":            "bash zsh fish --help",
		"orderworker --v":                    "--version",
		"orderworker run --nats":             "",
	} {
		words := strings.Split(line, " ")
		cmd := exec.Command("bash", append([]string{"-c", script + `
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_orderworker
echo "${COMPREPLY[*]}"`, "bash"}, words...)...)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
	for shell, want := range map[string]string{"zsh": "bashcompinit\n" + script, "fish": "-n '__fish_use_subcommand' -a pause "} {
		if status, out, _ := orderworker(t, nil, "completion", shell); status != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: exit status %d:\n%s", shell, status, out)
		}
	}
	if status, _, errs := orderworker(t, nil, "completion", "csh"); status != statusUsage || !strings.Contains(errs, "SHELL") {
		t.Errorf("csh: exit status %d, %s", status, errs)
	}
}

// The flag prints what the command prints.
func TestVersionFlag(t *testing.T) {
	t.Parallel()
	_, command, _ := orderworker(t, nil, "version")
	if status, flag, _ := orderworker(t, nil, "--version"); status != 0 || flag != command || flag == "" {
		t.Errorf("exit status %d: %q, want %q", status, flag, command)
	}
}
