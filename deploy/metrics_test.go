package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"orderworker/dedupe/storetest"
)

// The part of a Grafana dashboard that is checked.
type dashboard struct {
	UID    string `json:"uid"`
	Title  string `json:"title"`
	Panels []struct {
		ID          int    `json:"id"`
		Type        string `json:"type"`
		Title       string `json:"title"`
		Description string `json:"description"`
		GridPos     struct {
			X, Y, W, H int
		} `json:"gridPos"`
		Datasource struct{ UID string } `json:"datasource"`
		Targets    []struct {
			Expr       string               `json:"expr"`
			RefID      string               `json:"refId"`
			Datasource struct{ UID string } `json:"datasource"`
		} `json:"targets"`
	} `json:"panels"`
	Templating struct {
		List []struct{ Name, Type, Query string }
	} `json:"templating"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "grafana/orderworker.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func readRules(t *testing.T) ruleFile {
	t.Helper()
	var f ruleFile
	unmarshal(t, "orderworker.rules.yml", read(t, "prometheus/orderworker.rules.yml"), &f)
	return f
}

// queries are all PromQL expressions of the dashboard and the rules, by where
// they stand.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			all["panel "+strconv.Itoa(p.ID)+" "+p.Title+" "+target.RefID] = strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")
		}
	}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			all["rule "+r.Record+r.Alert] = r.Expr
		}
	}
	return all
}

// TestEveryMetricIsExported compares the metrics and label values that the
// dashboard and the rules use with those that a running worker serves.
func TestEveryMetricIsExported(t *testing.T) {
	w := work(t, here(t, storetest.NATS(t).ClientURL(), "redis://"+storetest.Redis(t).Addr, vendor(t, "")))
	status, scrape := get(w.admin + "/metrics")
	if status != 200 {
		t.Fatalf("scrape: %d %s", status, scrape)
	}
	series := map[string]bool{}
	values := map[string]bool{} // name{label="value"
	for line := range strings.Lines(scrape) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name := line[:strings.IndexAny(line, "{ ")]
		series[name] = true
		for _, m := range regexp.MustCompile(`([a-z_]+)="([^"]*)"`).FindAllStringSubmatch(line, -1) {
			values[name+" "+m[1]+" "+m[2]] = true
			values[name+" "+m[1]] = true
		}
	}
	recorded := map[string]bool{}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			recorded[r.Record] = true
		}
	}
	used := 0
	metric := regexp.MustCompile(`\b(orderworker|process|go)[_:][a-zA-Z0-9_:]+(\{[^}]*\})?`)
	matcher := regexp.MustCompile(`([a-z_]+)(=~|!=|!~|=)"([^"]*)"`)
	for where, query := range queries(t) {
		for _, found := range metric.FindAllString(query, -1) {
			name, matchers, _ := strings.Cut(found, "{")
			used++
			if strings.Contains(name, ":") {
				if !recorded[name] {
					t.Errorf("%s: no rule records %s", where, name)
				}
				continue
			}
			if !series[name] {
				t.Errorf("%s: the worker does not export %s", where, name)
			}
			for _, m := range matcher.FindAllStringSubmatch(matchers, -1) {
				for value := range strings.SplitSeq(m[3], "|") {
					if want := name + " " + m[1] + " " + value; !values[want] {
						t.Errorf("%s: %s has no %s=%q", where, name, m[1], value)
					}
				}
			}
		}
		for _, m := range regexp.MustCompile(`by \(([a-z_, ]+)\) \((?:rate|increase)\(([a-z_]+)`).FindAllStringSubmatch(query, -1) {
			for label := range strings.SplitSeq(m[1], ",") {
				if want := m[2] + " " + strings.TrimSpace(label); !values[want] {
					t.Errorf("%s: %s has no label %s", where, m[2], label)
				}
			}
		}
	}
	if used < 30 {
		t.Errorf("only %d uses of metrics found: the test looks at the wrong thing", used)
	}
	// And what the worker exports of its own is shown somewhere.
	text := fmt.Sprint(queries(t))
	for name := range series {
		if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); strings.HasPrefix(name, "orderworker_") && !strings.Contains(text, base) {
			t.Errorf("%s is on no panel and in no rule", name)
		}
	}
}

// TestDashboard: unique ids, every panel explained and with data, no overlap.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if len(d.Templating.List) != 1 || d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" || d.Templating.List[0].Query != "prometheus" {
		t.Errorf("variables: %+v", d.Templating.List)
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		if g := p.GridPos; g.X+g.W > 24 {
			t.Errorf("%q is wider than the page", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					t.Fatalf("%q lies over %q", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] || target.Datasource.UID != "${datasource}" {
				t.Errorf("%q: target %s", p.Title, target.RefID)
			}
			refs[target.RefID] = true
		}
	}
}

// TestRules: the two copies are alike, each alert has what an operator needs,
// and the quota is that of the settings.
func TestRules(t *testing.T) {
	f := readRules(t)
	if got := build(t, "production").rules[0].Spec; !reflect.DeepEqual(got, f) {
		t.Error("kubernetes/production/prometheusrule.yaml differs from prometheus/orderworker.rules.yml")
	}
	guide, contract := read(t, "README.md"), read(t, "../worker/CONTRACT.md")
	tested := read(t, "prometheus/orderworker.rules.test.yml")
	var alerts []string
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if r.Record == "orderworker:quota" && r.Expr != "vector("+build(t, "production").env(t)["UPSTREAM_RATE"]+")" {
				t.Errorf("the quota is %s", r.Expr)
			}
			if r.Record == "orderworker:journal_ttl_seconds" {
				ttl, err := time.ParseDuration(build(t, "production").env(t)["JOURNAL_TTL"])
				if err != nil || r.Expr != fmt.Sprintf("vector(%.0f)", ttl.Seconds()) {
					t.Errorf("JOURNAL_TTL is %v (%v) in the settings, the rule says %s", ttl, err, r.Expr)
				}
			}
			if r.Alert == "" {
				continue
			}
			alerts = append(alerts, r.Alert)
			if !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s: labels %v, annotations %v", r.Alert, r.Labels, r.Annotations)
			}
			if !strings.HasSuffix(r.Annotations["runbook_url"], "/deploy/README.md#"+strings.ToLower(r.Alert)) || !strings.Contains(guide, "\n### "+r.Alert+"\n") {
				t.Errorf("%s: the guide has no section for it, or the alert does not lead there", r.Alert)
			}
			command, page := strings.Fields(r.Annotations["command"]), r.Annotations["console"]
			path, _, _ := strings.Cut(page, "?")
			if len(command) > 1 && !slices.Contains([]string{"list", "status", "doctor", "dead"}, command[1]) {
				t.Errorf("%s: %q changes something: the first command looks", r.Alert, command)
			}
			if len(command) < 2 || command[0] != "orderworker" || !regexp.MustCompile("(?m)^\\| `[^|]*\\b"+command[1]+"\\b").MatchString(contract) || !strings.Contains(contract, "\n| `"+path+"` |") {
				t.Errorf("%s: it names no command that there is (%q), or no page of the console (%q)", r.Alert, command, page)
			}
			if !regexp.MustCompile(`alertname: ` + r.Alert + `\n +exp_alerts:\n`).MatchString(tested) {
				t.Errorf("%s: no test lets it fire", r.Alert)
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Orderworker\w+)$`).FindAllStringSubmatch(guide, -1) {
		if !slices.Contains(alerts, m[1]) {
			t.Errorf("the guide explains %s, which there is not", m[1])
		}
	}
}

// promtool runs promtool. Where it is missing the test is skipped, but in CI it
// fails. With -short it is skipped: the rules' own tests take seconds.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: it needs promtool, and -short is set")
	}
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("promtool is missing, and CI is set: %v", err)
		}
		t.Skip("NOT TESTED: promtool is missing; `make tools` installs it (Debian: prometheus)")
	}
	c := exec.Command("promtool", args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestAlerts runs the rules' own tests.
func TestAlerts(t *testing.T) {
	promtool(t, "prometheus", "check", "config", "prometheus.yml")
	promtool(t, "prometheus", "test", "rules", "orderworker.rules.test.yml")
}

// TestQueriesParse gives every query of the dashboard to Prometheus's parser.
func TestQueriesParse(t *testing.T) {
	var f ruleFile
	f.Groups = append(f.Groups, struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}{Name: "queries"})
	n := 0
	for _, query := range queries(t) {
		n++
		f.Groups[0].Rules = append(f.Groups[0].Rules, rule{Record: "query:" + strconv.Itoa(n), Expr: query})
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	// Prometheus takes no empty fields.
	text = regexp.MustCompile(`,"(?:labels|annotations)":null|"alert":"",|,"for":""`).ReplaceAll(text, nil)
	if text, err = yaml.JSONToYAML(text); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "queries.yml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, dir, "check", "rules", "queries.yml")
}
