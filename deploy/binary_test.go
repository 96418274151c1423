package deploy

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// built is the binary as the Dockerfile builds it, made once for all tests.
var built struct {
	once sync.Once
	path string
	err  error
	out  []byte
}

// TestMain makes the test binary the nats tool too, where it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "nats" {
		if err := natsTool(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if built.path != "" {
		_ = os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

// binary builds the program with the Dockerfile's own command. With -short the
// test is skipped.
func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: it needs the built program, and -short is set")
	}
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "orderworker-deploy")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "orderworker")
		command := strings.ReplaceAll(buildCommand(t), "/out/orderworker", built.path)
		c := exec.Command("sh", "-c", command)
		c.Dir = ".."
		built.out, built.err = c.CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("the Dockerfile's build: %v\n%s", built.err, built.out)
	}
	return built.path
}

// buildCommand is the line of the Dockerfile that builds the program.
func buildCommand(t *testing.T) string {
	t.Helper()
	for _, line := range dockerfile(t) {
		if command, ok := strings.CutPrefix(line, "RUN "); ok && strings.Contains(command, "go build") {
			return command
		}
	}
	t.Fatal("the Dockerfile has no RUN line with go build")
	return ""
}

// dockerfile is the Dockerfile's instructions, without comments.
func dockerfile(t *testing.T) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(read(t, "../Dockerfile")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDockerfile holds the image to what it promises: a static binary, nothing
// beside it but the certificates, no root, and the commit in it.
func TestDockerfile(t *testing.T) {
	all := dockerfile(t)
	goMod := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))
	if goMod == nil || !strings.HasPrefix(all[0], "FROM golang:"+goMod[1]+"-") {
		t.Errorf("it begins with %q, and go.mod says %v", all[0], goMod)
	}
	last := 0
	for i, line := range all {
		if strings.HasPrefix(line, "FROM ") {
			last = i
		}
	}
	want := []string{
		"FROM scratch",
		"COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
		"COPY --from=build /out/orderworker /orderworker",
		"USER 65532:65532", "EXPOSE 8080", `ENTRYPOINT ["/orderworker"]`, `CMD ["run"]`,
	}
	if got := strings.Join(all[last:], "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the last stage is\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}

	path := binary(t)
	if runtime.GOOS == "linux" {
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("the binary has a %v: it is not static", p.Type)
			}
		}
	}
	revision, err := exec.Command("git", "-C", "..", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatalf("git rev-parse: %v", err)
	}
	version, err := exec.Command(path, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(version), strings.TrimSpace(string(revision))) {
		t.Errorf("version says %q (%v), which does not name the commit %s", version, err, revision)
	}
	if strings.Contains(string(version), "unknown") {
		t.Errorf("version says %q", version)
	}
}

// TestMakeBuildsWhatTheImageHas: what make reproducible and make sbom say of
// their binary holds for the image's.
func TestMakeBuildsWhatTheImageHas(t *testing.T) {
	if want := strings.ReplaceAll(buildCommand(t), "/out/", "bin/"); !strings.Contains(read(t, "../Makefile"), "\t"+want+"\n") {
		t.Errorf("the Makefile does not build with %s", want)
	}
}

// TestDockerignore: a tracked file that is left out of the build's context
// would make its commit "-dirty".
func TestDockerignore(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files", "--cached", "--ignored", "--exclude-from=.dockerignore").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("tracked, and left out by .dockerignore: %s%v", out, err)
	}
	if strings.Contains(read(t, "../.dockerignore"), ".git") {
		t.Error(".dockerignore leaves out .git: the build could not say its commit")
	}
}
