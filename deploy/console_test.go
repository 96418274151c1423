package deploy

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"orderworker/dedupe/storetest"
	"orderworker/worker/logtest"
)

// serveConsole starts `orderworker console` with env and waits until it answers.
func serveConsole(t *testing.T, env map[string]string) (base string, log *logtest.Buffer) {
	t.Helper()
	addr := storetest.FreeAddr(t)
	log = new(logtest.Buffer)
	cmd := exec.Command(binary(t), "console", "--addr", addr)
	cmd.Env, cmd.Stdout, cmd.Stderr = environ(env), log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: not what it ended with
		if t.Failed() {
			t.Logf("the console's log:\n%s", log)
		}
	})
	base = "http://" + addr
	storetest.Eventually(t, "the console is ready", func() bool {
		status, _ := get(base + "/readyz")
		return status == http.StatusOK
	})
	return base, log
}

// TestConsoleAsOperator: the console does all of its work as the operator, and the server
// refuses it nothing.
func TestConsoleAsOperator(t *testing.T) {
	s := guarded(t)
	redis := "redis://" + storetest.Redis(t).Addr
	work(t, here(t, natsURL(s, "worker"), redis, vendor(t, "")))
	const token = "the-token-of-this-test"
	base, log := serveConsole(t, map[string]string{"NATS_URL": natsURL(s, "operator"), "REDIS_URL": redis, "CONSOLE_TOKEN": token})
	publisher := as(t, s, "publisher")
	for no, code := range map[string]string{"good": "CN-5M", "bad": "no package code"} {
		payload := fmt.Sprintf(`{"outTradeNo":%q,"iccid":"8988308650100524999","packageCode":%q}`, no, code)
		if _, err := publisher.Publish(t.Context(), "orders.package.request", []byte(payload), jetstream.WithMsgID(no)); err != nil {
			t.Fatal(err)
		}
	}
	shows := func(path string, texts ...string) {
		t.Helper()
		storetest.Eventually(t, fmt.Sprintf("%s shows %v", path, texts), func() bool {
			status, body := get(base + path)
			return status == http.StatusOK && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(body, text) })
		})
	}
	shows("/orders", "good")
	shows("/orders/good", "Timeline", "succeeded")
	shows("/dead", "bad")
	shows("/dead/1", "no package code")
	shows("/api/overview", `"errors":[]`, `"ok":true`)
	change := func(path string, form url.Values) string {
		t.Helper()
		form.Set("confirm", "yes")
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api"+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), `"done":true`) {
			t.Fatalf("POST %s: %s, %v\n%s", path, res.Status, err, body)
		}
		return string(body)
	}
	change("/control", url.Values{"do": {"pause"}, "reason": {"a trial"}})
	shows("/", "Buying is paused")
	shows("/control", "a trial")
	change("/control", url.Values{"do": {"resume"}})
	change("/dead/1", url.Values{"do": {"replay"}, "packageCode": {"CN-5M"}})
	shows("/orders/bad", "succeeded")
	if text := strings.ToLower(log.String()); strings.Contains(text, "permissions violation") || strings.Count(text, "operator's change") != 3 || strings.Contains(text, token) {
		t.Errorf("the console's log:\n%s", log)
	}
}

// TestConsoleIsDeployed checks what the console's manifests and its service of compose say
// against each other and the binary.
func TestConsoleIsDeployed(t *testing.T) {
	help, err := exec.Command(binary(t), "console", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	knows := func(where string, env map[string]string) {
		t.Helper()
		for name := range env {
			if !strings.Contains(string(help), "$"+name) && name != "GOMEMLIMIT" {
				t.Errorf("%s sets %s, which the console does not know", where, name)
			}
		}
	}
	composed := readCompose(t).Services["console"]
	knows("compose", composed.Environment)
	if port := composed.Ports[0]; !strings.HasSuffix(composed.Command[2], port[strings.LastIndex(port, ":"):]) || composed.Environment["CONSOLE_TOKEN"] == "" {
		t.Errorf("compose: %v with port %s", composed.Command, port)
	}
	// Otherwise a site could have its own name lead to the published port.
	if host := flags(composed.Command)["--host"]; host != "localhost" {
		t.Errorf("compose: %v publishes its port on loopback, and answers to any name", composed.Command)
	}
	c := build(t, "console")
	d, service, network := c.deployments[0], c.services[0], c.networks[0]
	pod := d.Spec.Template
	mine := labels.Set(pod.Labels)
	for what, selector := range map[string]*metav1.LabelSelector{"Deployment": d.Spec.Selector, "NetworkPolicy": &network.Spec.PodSelector, "Service": {MatchLabels: service.Spec.Selector}} {
		if s, err := metav1.LabelSelectorAsSelector(selector); err != nil || s.Empty() || !s.Matches(mine) {
			t.Errorf("%s does not select the console's pods: %v", what, err)
		}
	}
	_, workers := build(t, "base").worker(t)
	if s := labels.SelectorFromSet(service.Spec.Selector); s.Matches(labels.Set(workers.Labels)) {
		t.Error("the Service selects the workers too")
	}
	one := pod.Spec.Containers[0]
	port := one.Ports[0]
	for what, name := range map[string]string{
		"Service": service.Spec.Ports[0].TargetPort.StrVal, "NetworkPolicy": network.Spec.Ingress[0].Ports[0].Port.StrVal,
		"liveness": one.LivenessProbe.HTTPGet.Port.StrVal, "readiness": one.ReadinessProbe.HTTPGet.Port.StrVal,
	} {
		if name != port.Name {
			t.Errorf("%s is for the port %q, the console's is %q", what, name, port.Name)
		}
	}
	if got := flags(one.Args)["--addr"]; one.Args[0] != "console" || got != ":"+strconv.Itoa(int(port.ContainerPort)) {
		t.Errorf("it runs %v, its port is %d", one.Args, port.ContainerPort)
	}
	if host := flags(one.Args)["--host"]; host != "localhost" {
		t.Errorf("it runs %v: where its port is forwarded, it answers to any name", one.Args)
	}
	for _, rule := range network.Spec.Egress {
		if len(rule.To) == 0 || rule.To[0].IPBlock != nil {
			t.Errorf("the console may leave the cluster: %+v", rule)
		}
	}
	env := c.configMaps[one.EnvFrom[0].ConfigMapRef.Name]
	knows("kubernetes/console", env)
	secret := pod.Spec.Volumes[0].Secret
	for _, name := range []string{"CONSOLE_TOKEN_FILE", "NATS_CREDS"} {
		file := strings.TrimPrefix(env[name], one.VolumeMounts[0].MountPath+"/")
		if !slices.ContainsFunc(secret.Items, func(i corev1.KeyToPath) bool { return i.Path == file }) {
			t.Errorf("%s is %s, the Secret has %v", name, env[name], secret.Items)
		}
		if !strings.Contains(read(t, "kubernetes/console/kustomization.yaml"), "--from-file="+file) {
			t.Errorf("nobody is told to put %s into the Secret", file)
		}
	}
	if pod.Spec.ServiceAccountName != c.accounts[0].Name || one.Env[0].ValueFrom.SecretKeyRef.Name != secret.SecretName {
		t.Errorf("account %s, Secret %s", pod.Spec.ServiceAccountName, secret.SecretName)
	}
}
