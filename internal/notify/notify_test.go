package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a network within one bubble of virtual time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.conns) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	p.conns <- a
	return b, nil
}

const hook = "http://hooks.example/services/T000/B000/verysecretpart"

// bed is a receiver, a database and the status of two connections, all in virtual time.
type bed struct {
	t    *testing.T
	st   *sqlite.Store
	net  *pipes
	logs bytes.Buffer

	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request) bool // false: nothing was taken
	got    []string                                          // "event trouble client"
	bodies []message
	hits   int
}

func newBed(t *testing.T) *bed {
	b := &bed{t: t, net: &pipes{conns: make(chan net.Conn)}}
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "adsync.db"), sqlite.Options{})
	if err == nil {
		_, err = st.Migrate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	b.st = st
	srv := &http.Server{Handler: http.HandlerFunc(b.receive)}
	go func() { _ = srv.Serve(b.net) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bed) receive(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hits++
	if b.answer != nil && !b.answer(w, r) {
		return
	}
	var m message
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil || m.Text == "" || r.Header.Get("Content-Type") != "application/json" || r.Method != http.MethodPost || r.URL.Path != "/services/T000/B000/verysecretpart" {
		b.t.Errorf("%s %s: %s: %v", r.Method, r.URL, body, err)
	}
	b.bodies = append(b.bodies, m)
	for _, a := range m.Attachments {
		f := map[string]string{}
		for _, x := range a.Fields {
			f[x.Title] = x.Value
		}
		b.got = append(b.got, f["event"]+" "+f["trouble"]+" "+f["client"])
	}
}

// told gives what arrived since the last look, in order of its words.
func (b *bed) told() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.Sort(b.got)
	s := strings.Join(b.got, ", ")
	b.got = nil
	return s
}

// watch is one process.
func (b *bed) watch(id string, first func() bool) (n *Notifier, stop func()) {
	return b.watchEvery(lookEvery, id, first)
}

// watchEvery is one that looks as rarely as a test of days can afford: each look reads a real database.
func (b *bed) watchEvery(every time.Duration, id string, first func() bool) (n *Notifier, stop func()) {
	n = New(Options{
		ID: id, Ledger: b.st, First: first, Log: slog.New(slog.NewTextHandler(&lockedWriter{b: b}, nil)),
		Client: &http.Client{Transport: &http.Transport{DialContext: b.net.dial, DisableKeepAlives: true}},
	})
	n.every = every
	n.Configure(secret.New(hook), []Connection{{Ref: acme, Platform: "adplatform"}, {Ref: globex, Platform: "adplatform"}})
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	return n, func() { cancel(); <-done }
}

type lockedWriter struct{ b *bed }

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	return w.b.logs.Write(p)
}

var globex = ads.Ref{ClientID: "globex", Connection: "adplatform"}

// run stores a run of a connection that ended in some way.
func (b *bed) run(ref ads.Ref, o ads.Outcome, text string) {
	b.t.Helper()
	ctx := b.t.Context()
	l, err := b.st.Acquire(ctx, ref)
	if err == nil {
		var r store.Run
		r, err = b.st.OpenRun(ctx, l, store.OpenRun{NewID: fmt.Sprint(ref, time.Now().UnixNano()), Plan: "p", Trigger: store.TriggerManual, Fresh: true, Now: time.Now()})
		if err == nil {
			err = b.st.FinishRun(ctx, l, store.FinishRun{RunID: r.ID, Outcome: o, Error: text, Now: time.Now()})
		}
	}
	if err == nil {
		err = b.st.Release(ctx, l)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func always() bool { return true }

func (b *bed) want(what string) {
	b.t.Helper()
	if got := b.told(); got != what {
		b.t.Errorf("told %q, want %q", got, what)
	}
}

// One trouble: one message, a reminder a day, one message about its end, and nothing about what is over within a minute.
func TestOneTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		_, stop := b.watch("a", always)
		b.run(acme, ads.Failed, "the platform says <!channel> & @here")
		time.Sleep(45 * time.Second)
		b.want("")
		time.Sleep(2 * time.Minute)
		b.want("trouble failing acme")
		m := b.bodies[0]
		if want := "adsync: acme / adplatform fails: the platform says &lt;!channel&gt; &amp; @\u200bhere"; m.Text != want || m.Attachments[0].Fallback != strings.TrimPrefix(want, "adsync: ") {
			t.Errorf("%q", m.Text)
		}
		if f := m.Attachments[0].Fields; len(f) != 8 || f[6] != (field{"reason", "the platform says &lt;!channel&gt; &amp; @here", false}) || f[5].Title != "since" {
			t.Errorf("%+v", f)
		}
		stop() // another life knows what was told
		_, stop = b.watchEvery(10*time.Minute, "b", always)
		for range 3 {
			b.run(acme, ads.Failed, "again")
			time.Sleep(time.Hour)
		}
		b.want("")
		time.Sleep(22 * time.Hour)
		b.want("reminder failing acme")
		stop()
		_, stop = b.watch("c", always)
		defer stop()
		b.run(acme, ads.Complete, "")
		time.Sleep(40 * time.Second)
		b.run(acme, ads.Failed, "a moment later") // it was not over
		time.Sleep(10 * time.Minute)
		b.want("")
		b.run(acme, ads.Complete, "")
		time.Sleep(3 * time.Minute)
		b.want("recovered failing acme")
		// What comes and goes within a minute is nobody's business.
		b.run(acme, ads.Failed, "a hiccup")
		time.Sleep(40 * time.Second)
		b.run(acme, ads.Complete, "")
		time.Sleep(time.Hour)
		b.want("")
		if ns, err := b.st.Notices(t.Context()); err != nil || len(ns) != 0 {
			t.Errorf("%+v, %v", ns, err)
		}
	})
}

// Each kind has its message, several connections share one, and a disagreement is told in place of the partial run that it made.
func TestKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		n, stop := b.watch("a", always)
		b.run(acme, ads.Complete, "")
		n.Configure(secret.New(hook), []Connection{{Ref: acme, Interval: time.Hour}, {Ref: globex}})
		time.Sleep(2*time.Hour + 3*time.Minute)
		b.want("trouble stale acme")
		b.run(acme, ads.Partial, "1 of 10 failed")
		if err := b.st.Park(t.Context(), globex, store.Wait{Reason: "401", Until: time.Now().Add(24 * time.Hour), Mark: string(observe.ParkAuth) + ":a:b"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		b.want("trouble partial acme, trouble refused globex")
		if len(b.bodies) != 2 || strings.Count(b.bodies[1].Text, "\n") != 1 {
			t.Errorf("%d messages, the last %q", len(b.bodies), b.bodies[len(b.bodies)-1].Text)
		}
		b.run(acme, ads.Complete, "")
		time.Sleep(3 * time.Minute)
		b.want("recovered partial acme, recovered stale acme")
		n.Observe(observe.Event{Ref: acme, Data: observe.Note{Code: "total_disagrees", Message: "10 were promised, 9 came"}})
		b.run(acme, ads.Partial, "the listing does not add up")
		n.Observe(observe.Event{Ref: acme, Data: observe.RunFinished{Outcome: ads.Partial}})
		time.Sleep(3 * time.Minute)
		b.want("trouble disagreement acme")
		n.Observe(observe.Event{Ref: acme, Data: observe.RunFinished{Outcome: ads.Partial}}) // another one, which did add up
		b.run(acme, ads.Complete, "")
		time.Sleep(3 * time.Minute)
		b.want("recovered disagreement acme")
		// What does not add up and yet ends complete was read again until it did.
		n.Observe(observe.Event{Ref: acme, Data: observe.Note{Code: "list_moved"}})
		n.Observe(observe.Event{Ref: acme, Data: observe.RunFinished{Outcome: ads.Complete}})
		if err := b.st.SetPaused(t.Context(), globex, "anna", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		b.want("")
		stop()
		n, stop = b.watchEvery(10*time.Minute, "b", always)
		defer stop()
		n.Configure(secret.New(hook), []Connection{{Ref: acme, Interval: time.Hour}, {Ref: globex}})
		time.Sleep(27 * time.Hour)
		b.want("reminder stale acme, trouble stale acme") // not about what is paused
	})
}

// Several processes tell once, also where all believe that it is theirs to tell; another one than looks after notices may see a disagreement.
func TestProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		var others []*Notifier
		var living atomic.Bool
		living.Store(true)
		for _, id := range []string{"a", "b", "c"} {
			n, stop := b.watch(id, living.Load)
			defer stop()
			others = append(others, n)
		}
		last, stop := b.watch("d", func() bool { return false })
		defer stop()
		b.run(acme, ads.Failed, "e")
		time.Sleep(3 * time.Minute)
		b.want("trouble failing acme")
		b.run(acme, ads.Partial, "e")
		last.Observe(observe.Event{Ref: acme, Data: observe.Note{Code: "never_ends", Message: "it went on"}})
		last.Observe(observe.Event{Ref: acme, Data: observe.RunFinished{Outcome: ads.Partial}})
		time.Sleep(3 * time.Minute)
		b.want("recovered failing acme, trouble disagreement acme")
		// One that dies after it has claimed: the next one tells when the claim has lapsed.
		b.run(globex, ads.Failed, "e")
		dead := New(Options{ID: "dead", Ledger: b.st, First: always, Log: others[0].o.Log})
		claim := func() (due []store.Notice) {
			due, err := dead.judge(t.Context(), []Connection{{Ref: acme}, {Ref: globex}})
			if err != nil {
				t.Fatal(err)
			}
			return due
		}
		living.Store(false)
		claim()
		time.Sleep(settle)
		if due := claim(); len(due) != 1 || due[0].Ref != globex {
			t.Fatalf("%+v", due)
		}
		living.Store(true)
		time.Sleep(claimFor - time.Second)
		b.want("")
		time.Sleep(2 * lookEvery)
		b.want("trouble failing globex")
	})
}

// A receiver that fails, is silent, redirects or asks for patience costs bounded tries, and what it missed arrives when it is back.
func TestReceiverFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		code, header := 500, http.Header{}
		b.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			for k, v := range header {
				w.Header()[k] = v
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "no such hook: verysecretpart")
			return code == 200
		}
		_, stop := b.watchEvery(2*time.Minute, "a", always)
		defer stop()
		set := func(c int, h http.Header) (hits int) {
			b.mu.Lock()
			defer b.mu.Unlock()
			code, header, hits, b.hits = c, h, b.hits, 0
			return hits
		}
		b.run(acme, ads.Failed, "e")
		time.Sleep(90 * time.Minute)
		if n := set(302, http.Header{"Location": {"http://elsewhere.example/"}}); n < 6 || n > 3*mostTries {
			t.Errorf("%d tries of a receiver that fails in an hour and a half", n)
		}
		time.Sleep(3 * time.Hour)
		if n := set(429, http.Header{"Retry-After": {"18000"}}); n < 2 || n > mostTries {
			t.Errorf("%d tries of one that redirects", n)
		}
		time.Sleep(2 * time.Hour)
		set(200, nil)
		time.Sleep(2 * time.Hour)
		if n := set(200, nil); n != 0 {
			t.Errorf("%d tries before the time that was asked for", n)
		}
		time.Sleep(4 * time.Hour)
		b.want("trouble failing acme")
		// Silence costs a time-out each, and the loop goes on.
		b.mu.Lock()
		b.answer = func(_ http.ResponseWriter, r *http.Request) bool {
			b.mu.Unlock()
			<-r.Context().Done()
			b.mu.Lock()
			return false
		}
		b.mu.Unlock()
		b.run(acme, ads.Complete, "")
		time.Sleep(30 * time.Minute)
		if n := set(200, nil); n < 3 {
			t.Errorf("%d tries of a silent one", n)
		}
		b.mu.Lock()
		b.answer = nil
		b.mu.Unlock()
		time.Sleep(2 * time.Hour)
		b.want("recovered failing acme")
		b.mu.Lock()
		defer b.mu.Unlock()
		s := b.logs.String()
		for _, want := range []string{"the webhook answers 500", "302, a redirect, which is not followed", "429", "no answer within 10s"} {
			if !strings.Contains(s, want) {
				t.Errorf("the log does not say %q:\n%s", want, s)
			}
		}
		if strings.Contains(s, "verysecret") || strings.Contains(s, "hooks.example") {
			t.Errorf("the address is in the log:\n%s", s)
		}
	})
}

// For a receiver that is gone for good, trying ends; the next reminder is tried anew.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(410); return false }
		_, stop := b.watchEvery(10*time.Minute, "a", always)
		defer stop()
		b.run(acme, ads.Failed, "e")
		time.Sleep(23 * time.Hour) // tries are up to an hour apart
		if b.mu.Lock(); b.hits != mostTries || !strings.Contains(b.logs.String(), "given up") {
			t.Errorf("%d tries: %s", b.hits, b.logs.String())
		}
		b.answer = nil
		b.mu.Unlock()
		time.Sleep(24 * time.Hour)
		b.want("reminder failing acme")
	})
}

// Events are taken however many come, and never waited for.
func TestObserveNeverWaits(t *testing.T) {
	n := New(Options{Log: slog.New(slog.DiscardHandler)})
	for i := range 3 * mostHints {
		ref := ads.Ref{ClientID: fmt.Sprint(i)}
		n.Observe(observe.Event{Ref: ref, Data: observe.Note{Code: "disagrees"}})
		n.Observe(observe.Event{Ref: ref, Data: observe.RunFinished{Outcome: ads.Partial}})
	}
	if len(n.found) != 0 || n.lost != 2*mostHints || len(n.drain()) != mostHints || n.lost != 0 {
		t.Errorf("%d found, %d lost", len(n.found), n.lost)
	}
}

// Without an address nobody is told, nothing is written, and the database is left alone.
func TestNoAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		n, stop := b.watch("a", always)
		defer stop()
		n.Configure(secret.Text{}, []Connection{{Ref: acme}})
		b.run(acme, ads.Failed, "e")
		time.Sleep(time.Hour)
		if ns, err := b.st.Notices(t.Context()); err != nil || len(ns) != 0 || b.hits != 0 {
			t.Errorf("%+v, %v, %d", ns, err, b.hits)
		}
	})
}

// The same over real sockets, with the client that it brings along.
func TestOverLoopback(t *testing.T) {
	got := make(chan message, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m message
		if json.NewDecoder(r.Body).Decode(&m) != nil || r.URL.Path != "/hook" {
			w.WriteHeader(400)
			return
		}
		got <- m
	}))
	defer srv.Close()
	n := New(Options{Log: slog.New(slog.DiscardHandler)})
	defer n.o.Client.CloseIdleConnections()
	x := store.Notice{NoticeKey: store.NoticeKey{Ref: acme, Trouble: Stale}, Since: noon, ToldAt: noon, Reason: "r"}
	if err := n.send(t.Context(), secret.New(srv.URL+"/hook"), newMessage([]store.Notice{x}, nil, noon)); err != nil {
		t.Fatal(err)
	}
	if m := <-got; m.Text != "adsync: acme / adplatform still is stale, since 2026-03-01 12:00 UTC: r" || m.Attachments[0].Color != "warning" {
		t.Errorf("%+v", m)
	}
	for to, want := range map[string]string{srv.URL + "/elsewhere": "the webhook answers 400", "http://127.0.0.1:1/secretpart": "cannot be reached", "http://bad host/secretpart": "is no URL"} {
		err := n.post(t.Context(), secret.New(to), []byte("{}"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secretpart") {
			t.Errorf("%s: %v", to, err)
		}
	}
}
