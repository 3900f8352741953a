package metrics_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const (
	rulesFile     = "../../deploy/prometheus/adsync.rules.yaml"
	rulesTestFile = "../../deploy/prometheus/adsync.rules.test.yaml"
	dashboardFile = "../../deploy/grafana/adsync.json"
)

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t testing.TB) (out []rule) {
	t.Helper()
	b, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) < 10 {
		t.Fatalf("only %d rules", len(out))
	}
	return out
}

// tool finds a program of Debian's package prometheus, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (Debian: apt-get install prometheus): rules and dashboard are not tried against it", name)
	}
	return path
}

// TestRules runs promtool over the rules and their tests.
func TestRules(t *testing.T) {
	promtool := tool(t, "promtool")
	t.Parallel()
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", rulesTestFile}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestRulesAreTold: each alert has what an operator needs, names no label that its expression does not have, and is firing in some test.
func TestRulesAreTold(t *testing.T) {
	b, err := os.ReadFile(rulesTestFile)
	if err != nil {
		t.Fatal(err)
	}
	tested := string(b)
	label := regexp.MustCompile(`\$labels\.(\w+)`)
	by := regexp.MustCompile(`by \(([^)]*)\)`)
	for _, r := range rules(t) {
		if !strings.Contains(tested, `alertname="`+r.Alert+`"`) {
			t.Errorf("%s fires in no test", r.Alert)
		}
		if r.Labels["severity"] != "warning" && r.Labels["severity"] != "critical" {
			t.Errorf("%s has severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" || len(r.Annotations["runbook"]) < 80 {
			t.Errorf("%s says too little: %q", r.Alert, r.Annotations)
		}
		has := map[string]bool{"instance": !strings.Contains(r.Expr, "by (")}
		for _, m := range by.FindAllStringSubmatch(r.Expr, -1) {
			for l := range strings.SplitSeq(m[1], ",") {
				has[strings.TrimSpace(l)] = true
			}
		}
		for _, text := range r.Annotations {
			for _, m := range label.FindAllStringSubmatch(text, -1) {
				if !has[m[1]] {
					t.Errorf("%s speaks of the label %s, which its expression does not have", r.Alert, m[1])
				}
			}
		}
	}
}
