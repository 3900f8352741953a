package apiclient_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/quota"
)

// A client serves many runs: each has figures of its own, and all have the one token.
func TestFiguresOfEachRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := first(2, status(503, ``), first(1, status(429, ``, "Retry-After", "30"), ok))
		b := newBed(t, []quota.Limit{{N: 100, Window: time.Minute}}, nil, refuse, nil)
		run := func(id string) ads.Figures {
			b.client.Begin()
			b.client.SetRun(id)
			if err := b.list(); err != nil {
				t.Fatal(err)
			}
			return b.client.Stats()
		}
		if f := run("one"); f.Requests != 4 || f.Retries != 2 || f.Throttled != 1 || f.Waited < 30*time.Second || f.Told < 30*time.Second || f.Told > f.Waited {
			t.Errorf("first run: %+v", f)
		}
		for range 3 {
			time.Sleep(time.Minute)
			if f := run("two"); f != (ads.Figures{Requests: 1}) {
				t.Errorf("later run: %+v", f)
			}
		}
		if b.tokens != 1 {
			t.Errorf("%d tokens for four runs", b.tokens)
		}
		if n := count(b, func(a observe.Attempt) bool { return a.Token }); n != 1 {
			t.Errorf("%d token requests told", n)
		}
	})
}

// The budget of retries and the row of failures of an endpoint are a run's own: a bad night does not make the next morning's tries fewer.
func TestBudgetOfEachRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/health" {
				ok(w, r)
				return
			}
			status(500, ``)(w, r)
		}, nil)
		spend := func() (calls int) {
			b.client.Begin()
			before := b.calls
			for range 40 {
				wantClass(t, b.sync("1"), ads.ClassTransient, "http_500")
			}
			return b.calls - before
		}
		one, two := spend(), spend()
		if two < one-5 || one < 80 {
			t.Errorf("%d calls in the first run, %d in the next", one, two)
		}
	})
}

// A wait that goes on when a run begins counts from then.
func TestWaitOverTheBeginningOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 1, Window: time.Minute}}, nil, ok, nil)
		if err := b.list(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- b.list() }()
		time.Sleep(40 * time.Second)
		b.client.Begin()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if w := b.client.Stats().Waited; w < 19*time.Second || w > 22*time.Second {
			t.Errorf("waited %v", w)
		}
	})
}

// A run's waits say which of them the server had asked for: in the first minute it is the quota alone, then the server's half minute comes within it.
func TestWhatWasWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 1, Window: time.Minute}}, nil, ok, nil)
		for range 2 {
			if err := b.list(); err != nil {
				t.Fatal(err)
			}
		}
		if f := b.client.Stats(); f.Waited < 59*time.Second || f.Waited > 62*time.Second || f.Told != 0 {
			t.Errorf("the quota alone: %+v", f)
		}
		b = newBed(t, nil, nil, first(1, status(503, ``, "Retry-After", "45"), ok), nil)
		if err := b.list(); err != nil {
			t.Fatal(err)
		}
		if f := b.client.Stats(); f.Told < 45*time.Second || f.Told != f.Waited {
			t.Errorf("the server alone: %+v", f)
		}
	})
}

// Refused credentials stay refused in the next run, without another request.
func TestRefusedCredentialsOutliveTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, status(401, `{"error":"Unauthorized","message":"Invalid credentials"}`))
		for range 3 {
			b.client.Begin()
			wantClass(t, b.list(), ads.ClassAuth, "")
		}
		if b.tokens != 1 || b.calls != 0 {
			t.Errorf("%d token requests, %d calls", b.tokens, b.calls)
		}
	})
}
