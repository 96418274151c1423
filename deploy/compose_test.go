package deploy

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// unmarshal reads one YAML document into v; a field that v does not have, in
// that very spelling, or that comes twice, fails the test.
func unmarshal(t *testing.T, where, text string, v any) {
	t.Helper()
	data, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	strict, err := kjson.UnmarshalStrict(data, v)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	for _, err := range strict {
		t.Errorf("%s: %v", where, err)
	}
}

// The part of the Compose specification that compose.yaml uses.
//
// Source: https://github.com/compose-spec/compose-spec/blob/main/spec.md.
type compose struct {
	Name     string                    `json:"name"`
	Hardened any                       `json:"x-hardened"`
	Services map[string]composeService `json:"services"`
	Secrets  map[string]struct {
		File string `json:"file"`
	} `json:"secrets"`
	Volumes map[string]struct{} `json:"volumes"`
}

type composeService struct {
	Image string `json:"image"`
	Build *struct {
		Context string `json:"context"`
	} `json:"build"`
	Command         []string          `json:"command"`
	Environment     map[string]string `json:"environment"`
	Volumes         []string          `json:"volumes"`
	Ports           []string          `json:"ports"`
	Secrets         []string          `json:"secrets"`
	Restart         string            `json:"restart"`
	ReadOnly        bool              `json:"read_only"`
	CapDrop         []string          `json:"cap_drop"`
	SecurityOpt     []string          `json:"security_opt"`
	StopGracePeriod string            `json:"stop_grace_period"`
	DependsOn       any               `json:"depends_on"`
	Deploy          *struct {
		Replicas int `json:"replicas"`
	} `json:"deploy"`
	Healthcheck *struct {
		Test     []string `json:"test"`
		Interval string   `json:"interval"`
		Timeout  string   `json:"timeout"`
		Retries  int      `json:"retries"`
	} `json:"healthcheck"`
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	unmarshal(t, "compose.yaml", read(t, "compose.yaml"), &c)
	return c
}

// expand puts the defaults of a compose file in place of its variables.
func expand(s string) string {
	return regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`).ReplaceAllString(s, "$1")
}

// TestCompose checks what the file says against the files, the other services
// and the binary.
func TestCompose(t *testing.T) {
	c := readCompose(t)
	for _, name := range []string{"nats", "streams", "redis", "sandbox", "worker", "console", "prometheus", "grafana"} {
		if _, ok := c.Services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
	for name, s := range c.Services {
		if s.Build == nil && s.Image != "orderworker:trial" && !regexp.MustCompile(`:v?\d+\.\d+`).MatchString(s.Image) {
			t.Errorf("%s: image %q names no version", name, s.Image)
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, ".") {
				if _, err := os.Stat(from); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s: there is no volume %s", name, from)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the world", name, port)
			}
		}
		for _, secret := range s.Secrets {
			if _, err := os.Stat(c.Secrets[secret].File); err != nil {
				t.Errorf("%s: secret %s: %v", name, secret, err)
			}
		}
		var on []string
		switch d := s.DependsOn.(type) {
		case []any:
			for _, other := range d {
				on = append(on, other.(string))
			}
		case map[string]any:
			for other, how := range d {
				on = append(on, other)
				condition := how.(map[string]any)["condition"]
				if condition == "service_healthy" && c.Services[other].Healthcheck == nil {
					t.Errorf("%s waits for %s to be healthy, which has no health check", name, other)
				}
			}
		}
		for _, other := range on {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which there is not", name, other)
			}
		}
	}

	w := c.Services["worker"]
	if w.Deploy == nil || w.Deploy.Replicas != 2 {
		t.Error("there are not two workers")
	}
	for name, s := range map[string]composeService{"worker": w, "sandbox": c.Services["sandbox"], "console": c.Services["console"]} {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s is not hardened", name)
		}
	}
	known(t, "compose.yaml, worker,", w.Environment)
	longer(t, "stop_grace_period", w.StopGracePeriod, w.Environment["SHUTDOWN_TIMEOUT"])
	if got := strings.TrimPrefix(w.Environment["UPSTREAM_SECRET_FILE"], "/run/secrets/"); !slices.Contains(w.Secrets, got) {
		t.Errorf("UPSTREAM_SECRET_FILE is %s, the secrets are %v", w.Environment["UPSTREAM_SECRET_FILE"], w.Secrets)
	}

	// Who speaks to whom, by which name and port.
	conf := natsOptions(t)
	at := func(raw string) (host string, port int, user, password string) {
		u, err := url.Parse(expand(raw))
		if err != nil {
			t.Fatal(err)
		}
		port, _ = strconv.Atoi(u.Port())
		password, _ = u.User.Password()
		return u.Hostname(), port, u.User.Username(), password
	}
	for who, raw := range map[string]string{"worker": w.Environment["NATS_URL"], "admin": c.Services["streams"].Environment["NATS_URL"], "operator": c.Services["console"].Environment["NATS_URL"]} {
		host, port, user, password := at(raw)
		server := c.Services["nats"].Environment["NATS_"+strings.ToUpper(user)+"_PASSWORD"]
		if host != "nats" || port != conf.Port || user != who || password != expand(server) {
			t.Errorf("%s finds NATS at %s; the server has port %d and password %s for it", who, expand(raw), conf.Port, expand(server))
		}
	}
	for name := range c.Services["nats"].Environment {
		if !strings.Contains(read(t, "nats/permissions.conf"), "$"+name) {
			t.Errorf("permissions.conf does not use %s", name)
		}
	}
	if host, port, _, _ := at(w.Environment["REDIS_URL"]); host != "redis" || port != 6379 {
		t.Errorf("REDIS_URL is %s", w.Environment["REDIS_URL"])
	}
	sandbox := flags(c.Services["sandbox"].Command)
	_, listens, _ := net.SplitHostPort(sandbox["--addr"])
	if host, port, _, _ := at(w.Environment["UPSTREAM_URL"]); host != "sandbox" || strconv.Itoa(port) != listens {
		t.Errorf("UPSTREAM_URL is %s, the sandbox listens on %s", w.Environment["UPSTREAM_URL"], sandbox["--addr"])
	}
	if sandbox["--appkey"] != w.Environment["UPSTREAM_APPKEY"] || sandbox["--secret"] != strings.TrimSpace(read(t, c.Secrets["upstream-secret"].File)) {
		t.Error("the sandbox has another appkey or secret than the workers")
	}
	if !strings.Contains(strings.Join(c.Services["nats"].Healthcheck.Test, " "), ":"+strconv.Itoa(conf.HTTPPort)+"/healthz") {
		t.Errorf("health check of nats: %v, its port is %d", c.Services["nats"].Healthcheck.Test, conf.HTTPPort)
	}

	acceptable(t, w.Environment)
}

// flags are the flags of a command line with a value each.
func flags(args []string) map[string]string {
	m := map[string]string{}
	for i, arg := range args {
		if strings.HasPrefix(arg, "--") && i+1 < len(args) {
			m[arg] = args[i+1]
		}
	}
	return m
}

// longer wants grace to leave room beyond SHUTDOWN_TIMEOUT: for the pull that
// is under way, the last answers to NATS and open scrapes.
func longer(t *testing.T, what, grace, shutdown string) {
	t.Helper()
	g, err := time.ParseDuration(grace)
	if err != nil {
		t.Fatal(err)
	}
	s, err := time.ParseDuration(shutdown)
	if err != nil {
		t.Fatalf("SHUTDOWN_TIMEOUT: %v", err)
	}
	if g < s+5*time.Second {
		t.Errorf("%s is %v, SHUTDOWN_TIMEOUT %v: the end comes before the worker is done", what, g, s)
	}
}

// TestPrometheusAndGrafanaFindEachOther checks what the mounted files say
// against the services.
func TestPrometheusAndGrafanaFindEachOther(t *testing.T) {
	c := readCompose(t)
	var p struct {
		Global struct {
			ScrapeInterval     string `json:"scrape_interval"`
			EvaluationInterval string `json:"evaluation_interval"`
		} `json:"global"`
		RuleFiles     []string `json:"rule_files"`
		ScrapeConfigs []struct {
			JobName string `json:"job_name"`
			DNS     []struct {
				Names   []string `json:"names"`
				Type    string   `json:"type"`
				Port    int      `json:"port"`
				Refresh string   `json:"refresh_interval"`
			} `json:"dns_sd_configs"`
		} `json:"scrape_configs"`
	}
	unmarshal(t, "prometheus.yml", read(t, "prometheus/prometheus.yml"), &p)
	d := p.ScrapeConfigs[0].DNS[0]
	if addr := c.Services["worker"].Environment["ADMIN_ADDR"]; d.Names[0] != "worker" || addr != ":"+strconv.Itoa(d.Port) {
		t.Errorf("Prometheus asks %v port %d, the worker serves %s", d.Names, d.Port, addr)
	}
	for _, file := range p.RuleFiles {
		if !slices.Contains(c.Services["prometheus"].Volumes, "./prometheus/"+file+":/etc/prometheus/"+file+":ro") {
			t.Errorf("the rules %s are not mounted", file)
		}
	}
	var source struct {
		APIVersion  int `json:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool              `json:"isDefault"`
			JSONData                     map[string]string `json:"jsonData"`
		} `json:"datasources"`
	}
	text := read(t, "grafana/provisioning/datasources/prometheus.yaml")
	if err := yaml.UnmarshalStrict([]byte(text), &source); err != nil {
		t.Fatal(err)
	}
	if s := source.Datasources[0]; s.URL != "http://prometheus:9090" || !s.IsDefault {
		t.Errorf("Grafana asks %s", s.URL)
	}
	var provider struct {
		APIVersion int `json:"apiVersion"`
		Providers  []struct {
			Name, Type string
			Options    map[string]string
		} `json:"providers"`
	}
	if err := yaml.UnmarshalStrict([]byte(read(t, "grafana/provisioning/dashboards/orderworker.yaml")), &provider); err != nil {
		t.Fatal(err)
	}
	folder := provider.Providers[0].Options["path"]
	if !slices.Contains(c.Services["grafana"].Volumes, "./grafana/orderworker.json:"+filepath.Join(folder, "orderworker.json")+":ro") {
		t.Errorf("the dashboard is not mounted in %s", folder)
	}
}
