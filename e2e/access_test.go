package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// channel is a receiver of notifications.
type channel struct {
	*httptest.Server
	mu  sync.Mutex
	got []string // "event trouble client"
}

const hookPath = "/services/T000/B000/verysecretpart"

func newChannel(t *testing.T) *channel {
	c := &channel{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct {
			Text        string
			Attachments []struct {
				Fields []struct{ Title, Value string }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil || m.Text == "" || r.URL.Path != hookPath {
			t.Errorf("%s: %+v, %v", r.URL, m, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, a := range m.Attachments {
			f := map[string]string{}
			for _, x := range a.Fields {
				f[x.Title] = x.Value
			}
			if f["client"] == "globex" { // a slow machine may make acme stale
				c.got = append(c.got, f["event"]+" "+f["trouble"]+" "+f["client"])
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *channel) told() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// Two processes on one database: what one is told to pause, both leave alone, also after a new start; a trouble and its end are told once, by whichever of them.
func TestServeAccess(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, func(c *simulator.Config) { c.Quota, c.Campaigns = simulator.Quota{}, 5 })
	hook := newChannel(t)
	f := newFleet(t, p, pgtest.New(t))
	f.env = append(f.env, "HOOK="+hook.URL+hookPath)
	configure := func(password string) {
		f.configure(client{id: "acme", schedule: "every 8s"}, client{id: "globex", schedule: "every 24h", password: password})
		f.prepend("notify: {webhook: '${HOOK}'}\n")
	}
	configure("not-the-password")
	a, b := f.serve(), f.serve()
	await(t, "acme complete", func() bool {
		return f.count("SELECT count(*) FROM runs WHERE client_id = 'acme' AND outcome = 'complete'") > 0
	})

	about := `{"client": "acme", "connection": "adplatform"}`
	if code, body := a.call(http.MethodPost, "/api/v1/pause", about); code != http.StatusAccepted || !strings.Contains(body, `"state":"paused"`) {
		t.Fatalf("%d %s", code, body)
	}
	await(t, "both to leave it alone", func() bool {
		return f.count("SELECT count(*) FROM runs WHERE client_id = 'acme' AND finished_at IS NULL") == 0 && f.count("SELECT count(*) FROM adsync_workers WHERE beat_at > (SELECT paused_at FROM adsync_locks WHERE client_id = 'acme')") == 2
	})
	runs := f.count("SELECT count(*) FROM runs WHERE client_id = 'acme'")
	a.stop()
	a = f.serve()
	if got := b.ask("acme"); got.State != "paused" || got.Reason == nil || !strings.HasPrefix(*got.Reason, "paused by this machine since ") {
		t.Errorf("%+v", got)
	}

	await(t, "word of refused credentials", func() bool { return len(hook.told()) > 0 })
	if n := f.count("SELECT count(*) FROM runs WHERE client_id = 'acme'"); n != runs { // that took more than twelve seconds, and slots came every eight
		t.Errorf("%d runs of what is paused", n-runs)
	}
	configure("${AD_PLATFORM_PASSWORD}")
	for _, s := range []*server{a, b} {
		s.signal(syscall.SIGHUP)
	}
	await(t, "word of their end", func() bool { return len(hook.told()) > 1 })
	if got := hook.told(); !slices.Equal(got, []string{"trouble refused globex", "recovered refused globex"}) {
		t.Errorf("told %q", got)
	}

	if code, body := b.call(http.MethodPost, "/api/v1/resume", about); code != http.StatusAccepted || !strings.Contains(body, `"state":"queued"`) {
		t.Fatalf("%d %s", code, body)
	}
	await(t, "runs again", func() bool {
		return f.count("SELECT count(*) FROM runs WHERE client_id = 'acme' AND outcome = 'complete'") > runs
	})
	_, page := b.call(http.MethodGet, "/audit", "")
	for _, want := range []string{">pause<", ">resume<", ">sync<", "this machine"} {
		if !strings.Contains(page, want) {
			t.Errorf("the audit log has no %q", want)
		}
	}
	for _, s := range []*server{a, b} {
		s.stop()
		if strings.Contains(s.log.String(), "verysecretpart") {
			t.Error("the webhook's address is in the log")
		}
	}
	if got := hook.told(); len(got) != 2 {
		t.Errorf("told %q", got)
	}
}

// prepend puts lines before the configuration.
func (f *fleet) prepend(text string) {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "adsync.yaml"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(text + string(b))
}
