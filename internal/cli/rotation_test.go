package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"adsync/internal/report"
	"adsync/internal/simulator"
)

// rotates is a platform at which the credentials are replaced in the middle of a run: the old ones end with their tokens, and the new ones are written to
// where they are kept before anybody could miss them.
type rotates struct {
	next http.Handler
	at   int // after so many campaigns
	swap func()

	mu     sync.Mutex
	seen   int
	synced map[string]int // campaigns by path, that were answered well
}

func (r *rotates) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !strings.HasSuffix(req.URL.Path, "/sync") {
		r.next.ServeHTTP(w, req)
		return
	}
	r.mu.Lock()
	if r.seen++; r.seen == r.at {
		r.swap()
	}
	r.mu.Unlock()
	rec := httptest.NewRecorder()
	r.next.ServeHTTP(rec, req)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	if rec.Code == http.StatusOK {
		r.mu.Lock()
		r.synced[req.URL.Path]++
		r.mu.Unlock()
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

// Credentials that are rotated in the middle of a run, in a file, cost one refusal: they are read again and the run goes on from its place, by `adsync sync`
// and by the service. No campaign is lost, and none is synced twice.
func TestRotatedInTheMiddle(t *testing.T) {
	t.Parallel()
	const campaigns = 40
	for _, serve := range []bool{false, true} {
		for _, ended := range []bool{true, false} {
			t.Run(fmt.Sprintf("serve=%v ended=%v", serve, ended), func(t *testing.T) {
				t.Parallel()
				sim, err := simulator.New(simulator.Config{
					Email: "old@example.com", Password: "c4n4ry-old-one", Campaigns: campaigns, Seed: 7,
					Accounts: []simulator.Account{{Email: "new@example.com", Password: "c4n4ry-new-one"}},
				})
				if err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				keep := func(email, password string) {
					write(t, filepath.Join(dir, "email"), email+"\n")
					write(t, filepath.Join(dir, "password"), password+"\n")
				}
				keep("old@example.com", "c4n4ry-old-one")
				platform := &rotates{next: sim, at: campaigns / 2, synced: map[string]int{}}
				platform.swap = func() {
					if ended {
						keep("new@example.com", "c4n4ry-new-one")
					}
					if err := sim.Control(simulator.Command{Revoke: []string{"old@example.com"}}); err != nil {
						t.Error(err)
					}
				}
				srv := httptest.NewServer(platform)
				t.Cleanup(func() { srv.CloseClientConnections(); srv.Close(); _ = sim.Close() })
				file := filepath.Join(dir, "adsync.yaml")
				write(t, file, fmt.Sprintf(`database: "sqlite:%s"
clients:
  - id: acme
    connections: [{platform: adplatform, url: %s, quota: none, page_size: 10, credentials: {email: "file:email", password: "file:password"}}]
`, filepath.ToSlash(filepath.Join(dir, "adsync.db")), srv.URL))

				cmd, until, want := []string{"sync"}, "", 0
				if serve {
					cmd, until, want = []string{"serve", "--no-web"}, "sync complete", 143
				}
				if !ended { // nothing new is kept: it is not tried again, and what was reached stays
					until, want = "credentials", 4
					if serve {
						until, want = "parked", 143
					}
				}
				ctx, cancel := context.WithCancelCause(within(t))
				defer cancel(nil)
				var stdout, stderr safeBuffer
				if serve {
					stderr.on = func(all string) {
						if strings.Contains(all, until) {
							cancel(&report.Stopped{Signal: "SIGTERM", Code: 143})
						}
					}
				}
				code := Main(ctx, append(cmd, "--config", file), nil, strings.NewReader(""), &stdout, &stderr)
				all := stdout.String() + stderr.String()
				if code != want || !strings.Contains(all, until) || strings.Contains(all, "c4n4ry") {
					t.Fatalf("exit %d, want %d and %q\n%s", code, want, until, all)
				}
				platform.mu.Lock()
				defer platform.mu.Unlock()
				for path, n := range platform.synced {
					if n != 1 {
						t.Errorf("%s was synced %d times", path, n)
					}
				}
				if ended && len(platform.synced) != campaigns {
					t.Errorf("%d campaigns were synced", len(platform.synced))
				}
				if !ended && (len(platform.synced) == 0 || len(platform.synced) >= campaigns) {
					t.Errorf("%d campaigns were synced before the end", len(platform.synced))
				}
				var refused int64
				for _, c := range sim.Stats().Clients {
					refused += c.TokensRefused
				}
				if refused != 1 {
					t.Errorf("the old credentials were refused %d times", refused)
				}
			})
		}
	}
}
