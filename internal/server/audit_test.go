package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// entries are the audit log, oldest first, without times: "who action client result (detail)".
func (b *bed) entries() (out []string) {
	b.t.Helper()
	es, err := b.st.AuditLog(b.t.Context(), store.MaxAudit, 0)
	must(b.t, err)
	for _, e := range es {
		s := fmt.Sprintf("%s: %s %s = %s", e.Who, e.Action, e.Ref.ClientID, e.Result)
		if e.Detail != "" {
			s += " (" + e.Detail + ")"
		}
		out = append([]string{s}, out...)
	}
	return out
}

// Everything that somebody can ask for leaves an entry, also what is refused by the service.
func TestAudit(t *testing.T) {
	b := newBed(t, "acme")
	b.page("/audit", "Nothing yet.")
	b.sync("acme", ads.Partial, time.Now().UTC(), nil, ads.Problem{EntityID: "1", Message: "m"}, ads.Problem{EntityID: "2", Message: "m"})
	acme := func(more ...string) url.Values {
		v := url.Values{"client": {"acme"}, "connection": {"adplatform"}}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	ask := `{"client": "acme", "connection": "adplatform"}`
	b.post("/actions/pause", acme(), "")
	b.post("/actions/sync", acme(), "")
	b.post("/actions/resume", acme(), "")
	b.post("/actions/sync", acme(), "")
	b.post("/actions/retry", acme(), "")
	b.post("/actions/drop", acme("class", string(ads.ClassBadRecord)), "")
	b.post("/actions/sync", url.Values{"client": {"<b>nobody</b>"}, "connection": {"x"}}, "")
	b.call("/api/v1/pause", ask, nil)
	b.call("/api/v1/resume", ask, nil)
	b.call("/api/v1/sync", `{"client": "acme", "connection": "adplatform", "retry": true}`, nil)
	want := []string{
		"this machine: pause acme = paused", "this machine: sync acme = held", "this machine: resume acme = resumed", "this machine: sync acme = going", "this machine: retry acme = retry",
		"this machine: drop acme = dropped (class bad_record, 2 dropped)", "this machine: sync <b>nobody</b> = failed: the configuration has no connection <b>nobody</b>/x",
		"this machine: pause acme = paused", "this machine: resume acme = queued", "this machine: sync acme = queued (the failures alone)",
	}
	got := b.entries()
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
	if body := b.page("/audit", "&lt;b&gt;nobody", "127.0.0.1", "2 dropped"); strings.Contains(body, "<b>nobody") {
		t.Error("a name is markup")
	}
	// Another site's form does nothing, and reading is not written down.
	b.post("/actions/drop", acme(), "https://elsewhere.example")
	if n := len(b.entries()); n != len(want) {
		t.Errorf("%d entries", n)
	}
}

func TestAuditPages(t *testing.T) {
	b := newBed(t)
	for i := range auditPerPage + 3 {
		must(t, b.st.Audit(t.Context(), store.AuditEntry{Who: "token", Action: "sync", Result: fmt.Sprintf("entry-%04d.", i)}))
	}
	body := b.page("/audit", "entry-0102.", "entry-0003.")
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(body)
	if strings.Contains(body, "entry-0002.") || next == nil {
		t.Fatal("no second page")
	}
	if body := b.page(next[1], "entry-0002.", "entry-0000.", `href="/audit"`); strings.Contains(body, "entry-0003.") || strings.Contains(body, `rel="next"`) {
		t.Error(body)
	}
	b.page("/audit?before=nonsense", "entry-0102.")
}

// Two people are told apart; who has no login leaves an entry, but cannot fill the database.
func TestAuditOfLogins(t *testing.T) {
	b := newBed(t, "acme")
	guarded(b)
	if code, _, _ := newVisitor(b).do("GET", "/audit", "", nil); code != 303 {
		t.Errorf("without a login: %d", code)
	}
	names := map[string]bool{}
	for range 2 {
		v := newVisitor(b)
		if code, _, _ := v.do("POST", "/login", "", url.Values{"password": {webPassword}}); code != 303 {
			t.Fatal(code)
		}
		_, page, _ := v.do("GET", "/c/acme/adplatform", "", nil)
		form := regexp.MustCompile(`name="csrf" value="([^"]{40,})"`).FindStringSubmatch(page)
		v.do("POST", "/actions/sync", "", url.Values{"client": {"acme"}, "connection": {"adplatform"}, "csrf": form[1:]})
		v.do("POST", "/logout", "", url.Values{"csrf": form[1:]})
		got := b.entries()
		who, _, _ := strings.Cut(got[len(got)-1], ":")
		names[who] = true
		for i, what := range []string{": login  = done", ": sync acme = ", ": logout  = done"} {
			if e := got[len(got)-3+i]; !strings.HasPrefix(e, who+what) || !strings.HasPrefix(who, "login ") {
				t.Errorf("%q", got)
			}
		}
	}
	if len(names) != 2 {
		t.Errorf("%v", names)
	}
	before := len(b.entries())
	for _, bearer := range []string{"", "guess", "", "guess"} {
		newVisitor(b).do("POST", "/login", bearer, url.Values{"password": {"guess"}})
		newVisitor(b).do("GET", "/api/v1/status", bearer, nil)
	}
	if got := b.entries()[before:]; len(got) != 1 || got[0] != "nobody: login  = refused: a wrong password" {
		t.Errorf("%q", got)
	}
	if got := strings.Join(b.entries(), "\n"); strings.Contains(got, "guess") || strings.Contains(got, webPassword) || strings.Contains(got, webToken) {
		t.Error("a password is in the audit log")
	}
}

func TestGuesses(t *testing.T) {
	var g guesses
	now := time.Now()
	for i, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {time.Second, 0}, {30 * time.Second, 0}, {wrongEvery, 3}, {wrongEvery + 1, 0}, {3 * wrongEvery, 2}} {
		if n := g.add(now.Add(c.after)); n != c.want {
			t.Errorf("%d: %d, want %d", i, n, c.want)
		}
	}
}

// Where the database takes no entry, the log has it.
func TestAuditWithoutDatabase(t *testing.T) {
	b := newBed(t, "acme")
	var log bytes.Buffer
	b.srv.o.Log = slog.New(slog.NewTextHandler(&log, nil))
	b.srv.o.Store = deaf{b.st}
	b.srv.record(httptest.NewRequest(http.MethodPost, "/actions/pause", nil), store.AuditEntry{Who: "token", Action: "pause", Ref: ads.Ref{ClientID: "acme", Connection: "adplatform"}, Result: "paused"})
	if s := log.String(); !strings.Contains(s, "level=ERROR") || !strings.Contains(s, "action=pause") || !strings.Contains(s, "client=acme") || !strings.Contains(s, "192.0.2.1") {
		t.Error(s)
	}
}

// deaf is a database that takes no entries.
type deaf struct{ store.Store }

func (deaf) Audit(context.Context, store.AuditEntry) error {
	return &store.Error{Kind: store.KindFull, Op: "audit", Message: "the disk is full"}
}
