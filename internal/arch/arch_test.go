package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "adsync"

// may lists, for each package of ours, the packages of ours that it may import. A package that is not listed fails the test: whoever
// adds one says here what it may know.
var may = map[string][]string{
	"internal/ads":      {},
	"internal/secret":   {},
	"internal/retry":    {},
	"internal/observe":  {"internal/ads"},
	"internal/platform": {"internal/ads"},
	"internal/quota":    {"internal/ads", "internal/observe", "internal/platform", "internal/retry"},
	"internal/tokens":   {"internal/ads", "internal/platform", "internal/secret"},

	"internal/adplatform": {"internal/ads", "internal/platform"},
	"internal/googleads":  {"internal/ads", "internal/platform"},
	"internal/meta":       {"internal/ads", "internal/platform"},
	"internal/apiclient":  {"internal/ads", "internal/observe", "internal/platform", "internal/quota", "internal/retry", "internal/secret", "internal/tokens"},
	"internal/engine":     {"internal/ads", "internal/observe", "internal/platform", "internal/store"},

	"internal/store":                 {"internal/ads", "internal/quota", "internal/tokens"},
	"internal/store/internal/common": {"internal/ads", "internal/store"},
	"internal/store/sqlite":          {"internal/ads", "internal/quota", "internal/secret", "internal/store", "internal/tokens"},
	"internal/store/postgres":        {"internal/ads", "internal/quota", "internal/secret", "internal/store", "internal/tokens"},

	"internal/config":    {"internal/ads", "internal/quota", "internal/secret", "internal/tokens"},
	"internal/vaults":    {"internal/ads", "internal/config", "internal/retry", "internal/secret"},
	"internal/report":    {"internal/ads", "internal/engine", "internal/observe", "internal/secret", "internal/store"},
	"internal/simulator": {"internal/ads"},
	"internal/metrics":   {"internal/ads", "internal/observe", "internal/store"},
	"internal/trace":     {"internal/ads", "internal/observe"},
	"internal/live":      {"internal/ads", "internal/observe"},
	"internal/notify":    {"internal/ads", "internal/observe", "internal/retry", "internal/secret", "internal/store"},

	"internal/simulator/meta":      {},
	"internal/simulator/googleads": {},

	"internal/authorize": {"internal/ads", "internal/secret"},
	"internal/connect": {
		"internal/adplatform", "internal/googleads", "internal/meta", "internal/ads", "internal/apiclient", "internal/config", "internal/engine", "internal/observe", "internal/platform", "internal/quota", "internal/tokens",
	},

	"internal/queue": {"internal/ads", "internal/secret"},
	"internal/service": {
		"internal/ads", "internal/apiclient", "internal/config", "internal/connect", "internal/engine", "internal/observe", "internal/platform", "internal/queue", "internal/store",
	},
	"internal/server": {"internal/ads", "internal/config", "internal/live", "internal/metrics", "internal/observe", "internal/queue", "internal/report", "internal/secret", "internal/service", "internal/store"},

	"internal/cli":   {"*"},
	"cmd/adsync":     {"internal/cli"},
	"internal/arch":  {},
	"e2e":            {},
	"scripts/supply": {},
}

// anywhere are helpers of tests and benches: product code must not import them.
var testOnly = []string{"internal/pgtest", "internal/store/storetest", "internal/quota/quotatest", "internal/platform/platformtest", "internal/leaktest", "internal/vaults/fakevault", "internal/vaults/fakeaws", "internal/vaults/fakegoogle"}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestArrows(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if slices.ContainsFunc(testOnly, func(o string) bool { return name == o || strings.HasPrefix(name, o+"/") }) || strings.HasPrefix(name, "bench") {
			continue
		}
		allowed, ok := may[name]
		if !ok {
			if at := strings.Index(name, "/internal/"); at >= 0 && strings.HasPrefix(name, "internal/") {
				// A package's own inner rooms follow their house.
				allowed, ok = may[strings.SplitN(name, "/internal/", 2)[0]]
			}
		}
		if !ok {
			t.Errorf("%s is not on the map: say in internal/arch what it may import", name)
			continue
		}
		for _, imp := range p.Imports {
			imp, ours := strings.CutPrefix(imp, module+"/")
			if !ours || slices.Contains(allowed, "*") && !slices.Contains(testOnly, imp) || slices.Contains(allowed, imp) {
				continue
			}
			if house, _, inner := strings.Cut(imp, "/internal/"); inner && strings.HasPrefix(name, house) {
				continue
			}
			t.Errorf("%s must not import %s", name, imp)
		}
	}
}

// TestSimulatorIsApart: what stands in for a platform shares no code with what reads it, or both could be wrong together.
func TestSimulatorIsApart(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			from, to := strings.TrimPrefix(p.ImportPath, module+"/"), strings.TrimPrefix(imp, module+"/")
			inside := func(p string) bool { return p == "internal/simulator" || strings.HasPrefix(p, "internal/simulator/") }
			if inside(from) && to != imp && to != "internal/ads" && !inside(to) {
				t.Errorf("%s, a simulator, imports %s", from, to)
			}
			if inside(to) && !inside(from) && from != "internal/cli" && !strings.HasPrefix(from, "bench") {
				t.Errorf("%s imports a simulator", from)
			}
		}
	}
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var ps []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}
