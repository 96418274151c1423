package deploy

import (
	"io/fs"
	"maps"
	"math"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// cluster is what a kustomization brings into a cluster, and all that it is
// made of.
type cluster struct {
	namespace   string
	kinds       []string
	files       []string                     // paths from here, that were read
	configMaps  map[string]map[string]string // by name: key to content; of envs the variables
	namespaces  []corev1.Namespace
	accounts    []corev1.ServiceAccount
	deployments []appsv1.Deployment
	jobs        []batchv1.Job
	budgets     []policyv1.PodDisruptionBudget
	networks    []networkingv1.NetworkPolicy
	services    []corev1.Service
	scaled      []scaledObject
	monitors    []podMonitor
	rules       []prometheusRule
	images      map[string]string // what the overlay puts in place of an image's name
	patches     []string
}

// build reads the kustomization in dir and everything under it.
func build(t *testing.T, dir string) *cluster {
	t.Helper()
	c := &cluster{configMaps: map[string]map[string]string{}, images: map[string]string{}}
	c.add(t, filepath.Join("kubernetes", dir))
	return c
}

func (c *cluster) add(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "kustomization.yaml")
	c.files = append(c.files, path)
	var k kustomization
	unmarshal(t, path, read(t, path), &k)
	for _, r := range k.Resources {
		if filepath.Ext(r) == ".yaml" {
			c.read(t, filepath.Join(dir, r))
		} else {
			c.add(t, filepath.Join(dir, r))
		}
	}
	if k.Namespace != "" {
		c.namespace = k.Namespace
	}
	for _, g := range k.ConfigMapGenerator {
		m := c.configMaps[g.Name]
		if (m != nil) != (g.Behavior == "merge") {
			t.Errorf("%s: ConfigMap %s has behavior %q", path, g.Name, g.Behavior)
		}
		if m == nil {
			m = map[string]string{}
			c.configMaps[g.Name] = m
		}
		for _, file := range g.Envs {
			maps.Copy(m, envFile(t, filepath.Join(dir, file)))
		}
		for _, file := range g.Files {
			m[filepath.Base(file)] = read(t, filepath.Join(dir, file))
		}
	}
	for _, i := range k.Images {
		c.images[i.Name] = i.NewName + ":" + i.NewTag
	}
	for _, p := range k.Patches {
		c.patches = append(c.patches, p.Target.Kind+" "+p.Target.Name+" "+p.Patch)
	}
}

// read decodes a manifest into the struct of its kind.
func (c *cluster) read(t *testing.T, path string) {
	t.Helper()
	text := read(t, path)
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	c.files = append(c.files, path)
	c.kinds = append(c.kinds, meta.Kind)
	switch meta.APIVersion + " " + meta.Kind {
	case "v1 Namespace":
		c.namespaces = decode(t, path, text, c.namespaces)
	case "v1 ServiceAccount":
		c.accounts = decode(t, path, text, c.accounts)
	case "v1 Service":
		c.services = decode(t, path, text, c.services)
	case "apps/v1 Deployment":
		c.deployments = decode(t, path, text, c.deployments)
	case "batch/v1 Job":
		c.jobs = decode(t, path, text, c.jobs)
	case "policy/v1 PodDisruptionBudget":
		c.budgets = decode(t, path, text, c.budgets)
	case "networking.k8s.io/v1 NetworkPolicy":
		c.networks = decode(t, path, text, c.networks)
	case "keda.sh/v1alpha1 ScaledObject":
		c.scaled = decode(t, path, text, c.scaled)
	case "monitoring.coreos.com/v1 PodMonitor":
		c.monitors = decode(t, path, text, c.monitors)
	case "monitoring.coreos.com/v1 PrometheusRule":
		c.rules = decode(t, path, text, c.rules)
	default:
		t.Errorf("%s: no struct here for %s %s", path, meta.APIVersion, meta.Kind)
	}
}

func decode[T any](t *testing.T, path, text string, list []T) []T {
	t.Helper()
	var v T
	unmarshal(t, path, text, &v)
	return append(list, v)
}

// envFile reads NAME=value lines.
func envFile(t *testing.T, path string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for line := range strings.Lines(read(t, path)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if _, twice := m[name]; !ok || twice {
			t.Errorf("%s: %q", path, line)
		}
		m[name] = value
	}
	return m
}

// secretExample is what the workers' Secret must hold.
func secretExample(t *testing.T) corev1.Secret {
	t.Helper()
	var s corev1.Secret
	unmarshal(t, "secret.example.yaml", read(t, "kubernetes/secret.example.yaml"), &s)
	return s
}

// worker is the one container of the Deployment, and its pod.
func (c *cluster) worker(t *testing.T) (corev1.Container, corev1.PodTemplateSpec) {
	t.Helper()
	if len(c.deployments) != 1 || len(c.deployments[0].Spec.Template.Spec.Containers) != 1 {
		t.Fatal("there is not one Deployment with one container")
	}
	pod := c.deployments[0].Spec.Template
	return pod.Spec.Containers[0], pod
}

// env is the worker's environment: settings and, of the example Secret, the
// rest.
func (c *cluster) env(t *testing.T) map[string]string {
	t.Helper()
	w, _ := c.worker(t)
	secret := secretExample(t)
	env := map[string]string{}
	for _, from := range w.EnvFrom {
		if from.ConfigMapRef == nil || c.configMaps[from.ConfigMapRef.Name] == nil {
			t.Fatalf("envFrom %+v: there is no such ConfigMap", from)
		}
		maps.Copy(env, c.configMaps[from.ConfigMapRef.Name])
	}
	for _, e := range w.Env {
		if _, twice := env[e.Name]; twice {
			t.Errorf("%s is set twice", e.Name)
		}
		env[e.Name] = e.Value
		if e.ValueFrom != nil {
			ref := e.ValueFrom.SecretKeyRef
			value, ok := secret.StringData[ref.Key]
			if ref.Name != secret.Name || !ok {
				t.Errorf("%s comes of key %s of Secret %s, which the example has not", e.Name, ref.Key, ref.Name)
			}
			env[e.Name] = value
		}
	}
	return env
}

// TestEveryManifestIsRead: no YAML lies in kubernetes that nothing includes,
// and so nothing checks.
func TestEveryManifestIsRead(t *testing.T) {
	var seen []string
	for _, dir := range []string{"base", "production", "streams", "console"} {
		c := build(t, dir)
		seen = append(seen, c.files...)
		if c.namespace != "orderworker" {
			t.Errorf("%s is for namespace %q", dir, c.namespace)
		}
	}
	if s := secretExample(t); s.Namespace != "orderworker" {
		t.Errorf("the Secret is for namespace %q", s.Namespace)
	}
	err := filepath.WalkDir("kubernetes", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".yaml" && !slices.Contains(seen, path) && filepath.Base(path) != "secret.example.yaml" {
			t.Errorf("%s is part of no kustomization", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Deployment", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "PrometheusRule", "ScaledObject", "ServiceAccount"}
	if got := slices.Sorted(slices.Values(build(t, "production").kinds)); !slices.Equal(got, want) {
		t.Errorf("production has %v, want %v", got, want)
	}
}

// TestRestricted holds the pods to the restricted Pod Security Standard, and to
// a root file system that is read-only, and the namespace to the standard.
//
// Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/.
func TestRestricted(t *testing.T) {
	production, streams := build(t, "production"), build(t, "streams")
	if production.namespaces[0].Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Error("the namespace does not enforce the standard")
	}
	pods := map[string]corev1.PodSpec{
		"Deployment": production.deployments[0].Spec.Template.Spec,
		"Job":        streams.jobs[0].Spec.Template.Spec,
		"console":    build(t, "console").deployments[0].Spec.Template.Spec,
	}
	for name, p := range pods {
		bad := func(is bool, what string) {
			t.Helper()
			if is {
				t.Errorf("%s: %s", name, what)
			}
		}
		bad(p.HostNetwork || p.HostPID || p.HostIPC, "shares the host's namespaces")
		bad(p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken, "mounts a token")
		s := p.SecurityContext
		bad(s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot, "runAsNonRoot is not true")
		bad(s == nil || s.RunAsUser == nil || *s.RunAsUser == 0, "runAsUser is not set, or root")
		bad(s == nil || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault, "seccompProfile is not RuntimeDefault")
		bad(s != nil && len(s.Sysctls) > 0, "sets sysctls")
		for _, v := range p.Volumes {
			bad(v.ConfigMap == nil && v.Secret == nil && v.EmptyDir == nil && v.Projected == nil && v.CSI == nil && v.PersistentVolumeClaim == nil, "volume "+v.Name+" is of a kind that is not allowed")
			if v.Secret != nil {
				// fsGroup makes it readable to the user, who is not root.
				bad(v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440 || s.FSGroup == nil, "secret "+v.Name+" can be read by others, or not by the worker")
			}
		}
		for _, c := range slices.Concat(p.InitContainers, p.Containers) {
			s := c.SecurityContext
			bad(s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation, "allowPrivilegeEscalation is not false")
			bad(s == nil || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0, "capabilities are not dropped")
			bad(s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem, "the root file system is not read-only")
			bad(s != nil && (s.Privileged != nil && *s.Privileged || s.RunAsUser != nil || s.SeccompProfile != nil || s.ProcMount != nil), "overrides the pod's security context")
			bad(c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero(), "has no resources")
			for _, port := range c.Ports {
				bad(port.HostPort != 0, "has a host port")
			}
			for _, m := range c.VolumeMounts {
				bad(m.SubPath != "", m.MountPath+" is a subPath: a changed Secret would not arrive")
				bad(!slices.ContainsFunc(p.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }), "there is no volume "+m.Name)
			}
		}
	}
	// The image's user is the pod's.
	if p := pods["Deployment"]; !slices.Contains(dockerfile(t), "USER "+strconv.FormatInt(*p.SecurityContext.RunAsUser, 10)+":"+strconv.FormatInt(*p.SecurityContext.RunAsGroup, 10)) {
		t.Error("the Dockerfile has another user")
	}
}

// TestNamesFit checks every name, label, port and key that must be the same in
// two places.
func TestNamesFit(t *testing.T) {
	for _, dir := range []string{"base", "production"} {
		c := build(t, dir)
		w, pod := c.worker(t)
		podLabels := labels.Set(pod.Labels)
		selects := func(what string, s *metav1.LabelSelector) {
			t.Helper()
			selector, err := metav1.LabelSelectorAsSelector(s)
			if err != nil || s == nil || selector.Empty() || !selector.Matches(podLabels) {
				t.Errorf("%s: %s does not select the worker's pods: %v", dir, what, err)
			}
		}
		selects("Deployment", c.deployments[0].Spec.Selector)
		selects("PodDisruptionBudget", c.budgets[0].Spec.Selector)
		selects("NetworkPolicy", &c.networks[0].Spec.PodSelector)
		keys := map[string]bool{}
		for _, s := range pod.Spec.TopologySpreadConstraints {
			selects("topologySpreadConstraints", s.LabelSelector)
			keys[s.TopologyKey] = true
		}
		if !keys["kubernetes.io/hostname"] || !keys["topology.kubernetes.io/zone"] {
			t.Errorf("%s: spread over %v", dir, keys)
		}
		if a := c.accounts[0]; a.Name != pod.Spec.ServiceAccountName || a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken {
			t.Errorf("%s: ServiceAccount %s, pod has %s", dir, a.Name, pod.Spec.ServiceAccountName)
		}

		env := c.env(t)
		known(t, dir, env)
		longer(t, "terminationGracePeriodSeconds", strconv.FormatInt(*pod.Spec.TerminationGracePeriodSeconds, 10)+"s", env["SHUTDOWN_TIMEOUT"])
		if p := w.Ports[0]; env["ADMIN_ADDR"] != ":"+strconv.Itoa(int(p.ContainerPort)) || !slices.Contains(dockerfile(t), "EXPOSE "+strconv.Itoa(int(p.ContainerPort))) {
			t.Errorf("%s: port %d, ADMIN_ADDR %s", dir, p.ContainerPort, env["ADMIN_ADDR"])
		}
		for name, p := range map[string]*corev1.Probe{"liveness": w.LivenessProbe, "readiness": w.ReadinessProbe} {
			if p == nil || p.HTTPGet.Port.StrVal != w.Ports[0].Name {
				t.Errorf("%s: %s probe: %+v", dir, name, p)
			}
		}

		// Secrets: no value in the ConfigMap, each file where the setting says, no key unused.
		secret := secretExample(t)
		for name, value := range c.configMaps["orderworker-settings"] {
			if u, err := url.Parse(value); name == "UPSTREAM_SECRET" || name == "UPSTREAM_APPKEY" || err == nil && u.User != nil {
				t.Errorf("%s: %s does not belong into a ConfigMap", dir, name)
			}
		}
		used := map[string]bool{}
		for _, e := range w.Env {
			if e.ValueFrom != nil {
				used[e.ValueFrom.SecretKeyRef.Key] = true
			}
		}
		files := map[string]bool{}
		for _, v := range pod.Spec.Volumes {
			if v.Secret == nil || v.Secret.SecretName != secret.Name {
				t.Errorf("%s: volume %s is not of the Secret", dir, v.Name)
				continue
			}
			for _, item := range v.Secret.Items {
				used[item.Key] = true
				files[filepath.Join(w.VolumeMounts[0].MountPath, item.Path)] = true
			}
		}
		for _, name := range []string{"UPSTREAM_SECRET_FILE", "NATS_CREDS"} {
			if !files[env[name]] {
				t.Errorf("%s: %s is %s, mounted are %v", dir, name, env[name], files)
			}
			delete(files, env[name])
		}
		if len(files) > 0 || !maps.Equal(used, maps.Collect(func(yield func(string, bool) bool) {
			for key := range secret.StringData {
				if !yield(key, true) {
					return
				}
			}
		})) {
			t.Errorf("%s: keys used %v, in the example %v, files without a setting %v", dir, used, secret.StringData, files)
		}

		// The network policy lets through what the settings need.
		p := c.networks[0].Spec
		if p.Ingress[0].Ports[0].Port.StrVal != w.Ports[0].Name {
			t.Errorf("%s: the NetworkPolicy lets port %v in", dir, p.Ingress[0].Ports[0].Port)
		}
		open := map[int32]bool{}
		for _, rule := range p.Egress {
			if len(rule.To) == 0 || len(rule.Ports) == 0 {
				t.Errorf("%s: the NetworkPolicy has a rule without an end", dir)
			}
			for _, port := range rule.Ports {
				open[port.Port.IntVal] = true
			}
		}
		for list := range strings.SplitSeq(env["NATS_URL"]+","+env["REDIS_URL"]+",https://oapi.eiotclub.com:443,dns://dns:53", ",") {
			u, err := url.Parse(list)
			if err != nil {
				t.Fatal(err)
			}
			if port, _ := strconv.Atoi(u.Port()); !open[int32(port)] {
				t.Errorf("%s: the NetworkPolicy does not let %s out: %v", dir, list, open)
			}
		}

		limit := w.Resources.Limits.Memory().Value()
		soft, err := strconv.ParseInt(strings.TrimSuffix(env["GOMEMLIMIT"], "MiB"), 10, 64)
		if err != nil || soft<<20 > limit*9/10 {
			t.Errorf("%s: GOMEMLIMIT is %s, the container's limit %d: %v", dir, env["GOMEMLIMIT"], limit, err)
		}
	}
}

// TestScale derives from the settings how many workers make sense, and compares.
func TestScale(t *testing.T) {
	c := build(t, "production")
	env, s, d := c.env(t), c.scaled[0].Spec, c.deployments[0]
	number := func(name string) float64 {
		v, err := strconv.ParseFloat(env[name], 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	timeout, err := time.ParseDuration(env["UPSTREAM_TIMEOUT"])
	if err != nil {
		t.Fatal(err)
	}
	if r := s.ScaleTargetRef; r.Kind != "Deployment" || r.APIVersion != "apps/v1" || r.Name != d.Name {
		t.Errorf("it scales %+v", r)
	}
	// Little's law: calls under way at once, when each takes all of its time.
	calls := number("UPSTREAM_RATE") * timeout.Seconds()
	if most := int32(math.Ceil(calls/number("CONCURRENCY"))) + 1; s.MaxReplicaCount != most {
		t.Errorf("at most %d workers, want %d: %.0f calls under way, and one to spare", s.MaxReplicaCount, most, calls)
	}
	if s.MinReplicaCount < 2 || s.Fallback.Replicas < s.MinReplicaCount {
		t.Errorf("at least %d workers, %d where the lag is unknown", s.MinReplicaCount, s.Fallback.Replicas)
	}
	if n := c.budgets[0].Spec.MaxUnavailable.IntVal; n < 1 || n >= s.MinReplicaCount {
		t.Errorf("%d of at least %d workers may be taken away", n, s.MinReplicaCount)
	}
	trigger := s.Triggers[0]
	if trigger.Type != "nats-jetstream" || trigger.Metadata.Stream != "ORDERS" || consumerFiles[trigger.Metadata.Consumer] != "ORDERS" {
		t.Errorf("it looks at %+v", trigger)
	}
	if want := strconv.Itoa(int(number("UPSTREAM_RATE") * 60)); trigger.Metadata.Lag != want {
		t.Errorf("lagThreshold is %s, a minute's work is %s", trigger.Metadata.Lag, want)
	}
	if account := accountOf["worker"]; trigger.Metadata.Account != account {
		t.Errorf("KEDA looks at account %s, the streams are in %s", trigger.Metadata.Account, account)
	}
	if conf := natsOptions(t); !strings.HasSuffix(trigger.Metadata.Endpoint, ":"+strconv.Itoa(conf.HTTPPort)) {
		t.Errorf("KEDA asks %s", trigger.Metadata.Endpoint)
	}
	// Two masters: what the Deployment says would undo, at each apply, what KEDA does.
	if len(c.patches) != 1 || c.patches[0] != "Deployment orderworker - op: remove\n  path: /spec/replicas\n" {
		t.Errorf("patches: %q", c.patches)
	}
	if w, _ := c.worker(t); c.images[strings.Split(w.Image, ":")[0]] == "" {
		t.Errorf("production does not say which image %s is", w.Image)
	}
}

// TestStreamsJob: the Job has the files that its script reads, and the admin's
// credentials, which the workers do not have.
func TestStreamsJob(t *testing.T) {
	c := build(t, "streams")
	p := c.jobs[0].Spec.Template
	files := c.configMaps["orderworker-streams"]
	for _, name := range append(slices.Collect(maps.Keys(consumerFiles)), streamFiles...) {
		if files[name+".json"] == "" {
			t.Errorf("the ConfigMap has no %s.json", name)
		}
	}
	mounts := map[string]string{}
	for _, m := range p.Spec.Containers[0].VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	if !slices.Equal(p.Spec.Containers[0].Command, []string{"sh", mounts["streams"] + "/setup.sh"}) || files["setup.sh"] == "" {
		t.Errorf("it runs %v", p.Spec.Containers[0].Command)
	}
	for _, v := range p.Spec.Volumes {
		if v.Name == "streams" && v.ConfigMap.Name != "orderworker-streams" || v.Secret != nil && v.Secret.SecretName == secretExample(t).Name {
			t.Errorf("volume %+v", v)
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(&c.networks[0].Spec.PodSelector)
	if err != nil || !selector.Matches(labels.Set(p.Labels)) {
		t.Errorf("the NetworkPolicy is not the Job's: %v", err)
	}
	if _, worker := build(t, "base").worker(t); selector.Matches(labels.Set(worker.Labels)) {
		t.Error("the Job's NetworkPolicy is the workers' too")
	}
	// As many replicas as the workers would make.
	env := build(t, "production").env(t)
	for _, e := range p.Spec.Containers[0].Env {
		if e.Name == "REPLICAS" && e.Value != env["NATS_REPLICAS"] {
			t.Errorf("REPLICAS is %s, NATS_REPLICAS %s", e.Value, env["NATS_REPLICAS"])
		}
	}
}

// TestProductionSettingsRun starts the worker with production's environment, on
// servers here, and asks what the probes and the PodMonitor ask.
func TestProductionSettingsRun(t *testing.T) {
	c := build(t, "production")
	env := c.env(t)
	delete(env, "GOMEMLIMIT")
	w := acceptable(t, env)
	container, _ := c.worker(t)
	endpoint := c.monitors[0].Spec.PodMetricsEndpoints[0]
	if endpoint.Port != container.Ports[0].Name {
		t.Errorf("the PodMonitor asks port %s", endpoint.Port)
	}
	for _, path := range []string{container.LivenessProbe.HTTPGet.Path, container.ReadinessProbe.HTTPGet.Path, endpoint.Path} {
		if status, body := get(w.admin + path); status != http.StatusOK {
			t.Errorf("%s answers %d: %.200s", path, status, body)
		}
	}
}
