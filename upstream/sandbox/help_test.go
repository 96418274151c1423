package sandbox

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// columns splits a line of a table in Help.
var columns = regexp.MustCompile(` {2,}`)

// Every example in Help works as it is, and no condition, action or mode is left out.
func TestHelp(t *testing.T) {
	explained, rules, modes := map[string]bool{}, 0, 0
	isTable := regexp.MustCompile(`(?m)^    .*$`)
	for _, line := range isTable.FindAllString(Help, -1) {
		cells := columns.Split(strings.TrimRight(line, " "), -1)[1:]
		if strings.HasPrefix(cells[0], "orderworker ") || strings.HasPrefix(cells[0], "curl ") {
			continue // run by the tests of the command, and by TestHelpAddresses
		}
		example := cells[0]
		if len(cells) > 1 && !strings.HasPrefix(cells[1], "(") && !strings.HasPrefix(line, strings.Repeat(" ", 10)) {
			example = cells[1]
			for name := range strings.FieldsFuncSeq(cells[0], func(r rune) bool { return strings.ContainsRune(" ,[]", r) }) {
				name, _, _ = strings.Cut(name, "=")
				explained[name] = true
			}
		}
		if strings.Contains(example, ": ") {
			rules++
			if rule, err := ParseRule(example); err != nil {
				t.Errorf("%s: %v", line, err)
			} else if rule.String() != example && !strings.HasPrefix(example, "buy first=1") {
				t.Errorf("%s is spelled %s", example, rule)
			}
			continue
		}
		modes++
		if _, err := ParseLookupMode(example); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if rules < 20 || modes != len(modeWords) {
		t.Errorf("%d rules and %d modes in the help, want at least 20 and one for each of %s", rules, modes, modeWords)
	}
	conditions := []string{"always", "endpoint", "packageCode", "outTradeNo", "state", "p", "first", "after", "for", "buy"}
	for _, name := range slices.Concat(conditions, kindNames(), modeWords) {
		if !explained[name] {
			t.Errorf("%s is not explained", name)
		}
	}
	for kind := range maps.Keys(argsOf) {
		for _, arg := range argsOf[kind] {
			if !regexp.MustCompile(`\b` + arg + `\b`).MatchString(Help) {
				t.Errorf("%s of %s is not explained", arg, kind)
			}
		}
	}
	for _, code := range slices.Sorted(maps.Keys(messages)) {
		if !strings.Contains(Help, code) {
			t.Errorf("code %s is not listed", code)
		}
	}
}

// Every call of an admin page in Help works as it is, and no page is left out.
func TestHelpAddresses(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.wantCode(r.send(anOrder("T-1")), CodeSuccess)
	seen := map[string]bool{}
	calls := regexp.MustCompile(`(?m)^    curl(?: -X (PUT|POST))?(?: -d ('[^']*'|\S+))? '?http://127\.0\.0\.1:8480([^'\n]+)'?$`).FindAllStringSubmatch(Help, -1)
	for _, m := range calls {
		method, body, path := m[1], strings.Trim(m[2], "'"), m[3]
		if method == "" {
			method = "GET"
		}
		if a := r.do(r.request(method, path, []byte(body))); a.err != nil || a.status != 200 {
			t.Errorf("%s: HTTP %d, %v: %s", m[0], a.status, a.err, a.body)
		}
		u, err := url.Parse(path)
		r.must(err)
		seen[u.Path] = true
	}
	if len(calls) != strings.Count(Help, "    curl ") {
		t.Errorf("%d calls could be read of %d", len(calls), strings.Count(Help, "    curl "))
	}
	for _, path := range adminPaths {
		if !seen[path] {
			t.Errorf("%s is not explained", path)
		}
	}
}
