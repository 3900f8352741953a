package simulator

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

func parse(t *testing.T, args ...string) (Config, error) {
	t.Helper()
	var f Flags
	p, err := kong.New(&f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.Config()
}

func TestFlags(t *testing.T) {
	got, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), got); d != "" {
		t.Errorf("without flags, against the default:\n%s", d)
	}
	got, err = parse(t, "--quota", "none", "--campaigns", "1000000", "--max-page-size", "500", "--fail-rate", "0", "--silence-rate", "0", "--static", "--speed", "2",
		"--fault", "outage:after=20,for=8s", "--fault", "hang", "--client", "a,b", "--token-life", "5m", "--listen", "127.0.0.1:0", "--tls", "--seed", "9")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Quota, want.Campaigns, want.MaxPageSize, want.ListFailRate503, want.ListSilenceRate, want.Static, want.Speed = Quota{}, 1_000_000, 500, 0, 0, true, 2
	want.Faults, want.Clients, want.TokenLife, want.Addr, want.TLS, want.Seed = []string{"outage:after=20,for=8s", "hang"}, []string{"a,b"}, 5*time.Minute, "127.0.0.1:0", true, 9
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("flags:\n%s", d)
	}
	if _, err := parse(t, "--quota", "lots"); err == nil || !strings.Contains(err.Error(), "10/1m") {
		t.Errorf("bad quota: %v", err)
	}
	if _, err := parse(t, "--tls-ca", "x.pem"); err == nil {
		t.Error("--tls-ca without --tls")
	}
}

func TestWriteCatalogue(t *testing.T) {
	var b bytes.Buffer
	if err := WriteCatalogue(&b); err != nil {
		t.Fatal(err)
	}
	for _, f := range Catalogue() {
		if !strings.Contains(b.String(), "  "+f.usage()+" ") || !strings.Contains(b.String(), f.Help) {
			t.Errorf("%s is missing", f.Name)
		}
	}
}

func TestCatalogueIsData(t *testing.T) {
	b, err := json.Marshal(Catalogue())
	if err != nil {
		t.Fatal(err)
	}
	var back []Fault
	if err := json.Unmarshal(b, &back); err != nil || len(back) != len(Catalogue()) {
		t.Fatalf("%d faults come back, %v", len(back), err)
	}
	for i, f := range Catalogue() {
		if got := back[i].usage(); got != f.usage() || back[i].Help != f.Help {
			t.Errorf("%s comes back as %s", f.usage(), got)
		}
	}
}

func FuzzFaults(f *testing.F) {
	for _, c := range Catalogue() {
		f.Add(c.usage())
	}
	f.Add("rule:endpoint=list,on=3,times=2,do=503")
	f.Add("mixture:p=0.1,do=hang|slow")
	f.Fuzz(func(t *testing.T, spec string) {
		active, err := compile([]string{spec}, 1)
		if (err == nil) != (len(active) > 0) {
			t.Fatalf("%d faults, error %v", len(active), err)
		}
		for _, a := range active {
			// Whatever was accepted can be played without a panic.
			for range 3 {
				a.hit(&call{endpoint: "list", page: 1, clientID: "c", now: time.Hour})
			}
			a.hitsRow(&call{endpoint: "list", page: 1}, recordOf(7, generated(1, "", 7, 0)))
		}
	})
}
