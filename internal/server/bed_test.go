package server

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/live"
	"adsync/internal/queue"
	"adsync/internal/quota"
	"adsync/internal/secret"
	"adsync/internal/service"
	"adsync/internal/store"
	"adsync/internal/store/sqlite"
)

// bed is a server before a real database and a real service, which has not begun to work.
type bed struct {
	t    *testing.T
	st   store.Store
	live *live.Board
	srv  *Server
	url  string
	runs int                    // so far
	more func(*store.RunUpdate) // changes what a run leaves
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newBed(t *testing.T, clients ...string) *bed {
	t.Helper()
	path := filepath.Join(t.TempDir(), "adsync.db")
	st, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	must(t, err)
	_, err = st.Migrate(t.Context())
	must(t, err)
	q, err := queue.OpenSQLite(path, queue.Options{ID: "test", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	_, err = q.Migrate(t.Context())
	must(t, err)
	var conns []config.Connection
	for _, id := range clients {
		conns = append(conns, config.Connection{
			Ref: ads.Ref{ClientID: id, Connection: "adplatform"}, Platform: "adplatform", URL: "http://127.0.0.1:1", Email: secret.New("a@b"), Password: secret.New("hunter2-hunter2"),
			XClientID: id, SendXClientID: true, PageSize: 10, Timeout: time.Second, Schedule: config.Schedule{Text: "every 15m", Every: 15 * time.Minute},
		})
	}
	log := slog.New(slog.DiscardHandler)
	b := &bed{t: t, st: st, live: &live.Board{}}
	svc := service.New(service.Options{ID: "test", Name: "test", Store: st, Queue: q, Maker: &connect.Maker{Quota: quota.NewManager(st), Observer: b.live}, Log: log}, conns)
	b.srv = New(Options{Service: svc, Store: st, Live: b.live, Log: log})
	web := httptest.NewServer(b.srv.Handler())
	b.url = web.URL
	t.Cleanup(func() {
		close(b.srv.ending)
		web.Close()
		q.Close()
		must(t, st.Close())
	})
	return b
}

// sync stores a run of a connection: its campaigns, some that failed, and its end.
func (b *bed) sync(client string, outcome ads.Outcome, at time.Time, campaigns []ads.Entity, failed ...ads.Problem) {
	b.t.Helper()
	ctx := b.t.Context()
	b.runs++
	l, err := b.st.Acquire(ctx, ads.Ref{ClientID: client, Connection: "adplatform"})
	must(b.t, err)
	run, err := b.st.OpenRun(ctx, l, store.OpenRun{NewID: fmt.Sprint("run-", client, b.runs), Trigger: store.TriggerSchedule, Plan: "p", MaxAge: time.Hour, Now: at})
	must(b.t, err)
	fig := ads.Figures{
		Listed: int64(len(campaigns) + len(failed)), Synced: int64(len(campaigns)), Failed: int64(len(failed)), Pages: 1, Requests: int64(len(campaigns)) + 1,
		Waited: 40 * time.Second, Told: 10 * time.Second, Writing: 4 * time.Second,
	}
	up := store.RunUpdate{State: []byte("{}"), Figures: fig, Active: time.Minute}
	if b.more != nil {
		b.more(&up)
	}
	_, err = b.st.Commit(ctx, l, &store.Commit{
		RunID: run.ID, Seq: run.CommitSeq + 1, Account: client, Stream: ads.StreamCampaigns, Platform: "adplatform", Stamp: at,
		Listed:   &store.Listed{Platform: "adplatform", Records: campaigns, Direct: true, FirstSeq: 1, Pass: 1, RunStart: at, PassStart: at},
		Problems: failed, After: func(store.Result) store.RunUpdate { return up },
	})
	must(b.t, err)
	text := ""
	if outcome != ads.Complete {
		text = "the platform answered 500 " + client
	}
	must(b.t, b.st.FinishRun(ctx, l, store.FinishRun{RunID: run.ID, Outcome: outcome, Update: up, Error: text, Now: at.Add(time.Minute)}))
	must(b.t, b.st.Release(ctx, l))
	b.srv.board.stale()
}

func campaign(id, name string) ads.Entity {
	return ads.Entity{ID: id, Name: name, Status: ads.StatusActive, PlatformStatus: "ON", Budget: ads.Some(ads.Micros(12_500_000)), Currency: "EUR", BudgetPeriod: "daily", Impressions: ads.Some(int64(1234567)), Clicks: ads.Some(int64(4321)), Raw: []byte("{}")}
}

// get asks for a page as a browser does.
func (b *bed) get(path string) (int, string, http.Header) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.url+path, nil)
	must(b.t, err)
	res, err := http.DefaultClient.Do(req)
	must(b.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(b.t, err)
	return res.StatusCode, string(body), res.Header
}

func (b *bed) page(path string, wants ...string) string {
	b.t.Helper()
	code, body, h := b.get(path)
	if code != http.StatusOK {
		b.t.Fatalf("%s: %d\n%s", path, code, body)
	}
	for _, w := range wants {
		if !strings.Contains(body, w) {
			b.t.Errorf("%s has no %q:\n%s", path, w, body)
		}
	}
	if got := h.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") || strings.Contains(got, "unsafe") {
		b.t.Errorf("%s: Content-Security-Policy %q", path, got)
	}
	return body
}
