package apiclient_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/platform"
	"adsync/internal/quota"
)

func parking(c *apiclient.Config) { c.ParkAfter, c.MaxWait = 2*time.Minute, 2*time.Minute }

// outageBed is a platform that can be down, health page and all, and counts what it was asked meanwhile.
type outageBed struct {
	*bed
	down  atomic.Bool
	asked atomic.Int64
}

func newOutage(t *testing.T, answer http.HandlerFunc) *outageBed {
	o := &outageBed{}
	page := func(well http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if o.down.Load() {
				o.asked.Add(1)
				answer(w, r)
				return
			}
			well(w, r)
		}
	}
	o.bed = newBed(t, nil, parking, page(ok), page(func(w http.ResponseWriter, _ *http.Request) { giveToken(w, 1, "86400") }))
	if err := o.list(); err != nil {
		t.Fatal(err)
	}
	o.down.Store(true)
	return o
}

// all makes one request with each client, at the same time, and gives their errors.
func (o *outageBed) all(clients []*apiclient.Client) []error {
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { errs[i] = o.listBy(c) })
	}
	wg.Wait()
	return errs
}

func (o *outageBed) clients(n int) (out []*apiclient.Client) {
	for i := range n {
		out = append(out, o.another(fmt.Sprintf("client-%d", i), nil))
	}
	return out
}

// sameUntil wants all errors to be the same deferral of an outage, and gives its time.
func sameUntil(t *testing.T, errs []error) (until time.Time) {
	t.Helper()
	for i, err := range errs {
		e := wantClass(t, err, ads.ClassDeferred, apiclient.CodeOutage)
		if i == 0 {
			until = e.Until
		}
		if !e.Until.Equal(until) || e.Bucket != "platform.test" || !strings.HasPrefix(e.Message, "deferred until "+until.Format("2006-01-02 15:04:05 UTC")+": platform.test has not answered for ") {
			t.Errorf("%+v, want until %v", e, until)
		}
	}
	return until
}

// An outage that lasts is not waited for: every connection of the host is told the same time, and then one of them asks, once. The host comes
// back: all go on at once.
func TestLongOutageIsGivenBack(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{"503": status(503, ``), "silence": silent, "500": status(500, ``)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOutage(t, answer)
				clients := o.clients(20)
				begin := time.Now()
				until := sameUntil(t, o.all(clients))
				if took := time.Since(begin); took < 2*time.Minute || took > 6*time.Minute {
					t.Errorf("waited for %v in place", took)
				}
				if n := o.asked.Load(); n > 60 {
					t.Errorf("%d requests in the first minutes", n)
				}
				var last time.Duration
				for time.Since(begin) < 3*time.Hour {
					o.asked.Store(0)
					before := time.Now()
					if again := sameUntil(t, o.all(clients)); !again.Equal(until) || !time.Now().Equal(before) || o.asked.Load() > 0 {
						t.Fatalf("asked before the time: until %v, %v later, %d requests", again, time.Since(before), o.asked.Load())
					}
					time.Sleep(time.Until(until))
					before = time.Now()
					until = sameUntil(t, o.all(clients))
					// Before all are given back for a request that failed, the health page is asked too.
					if n, took := o.asked.Load(), time.Since(before); n < 1 || n > 2 || took > 45*time.Second {
						t.Fatalf("%d requests, which took %v", n, took)
					}
					pause := time.Until(until)
					if pause < time.Minute || pause > 15*time.Minute || pause < last {
						t.Fatalf("%v after %v, %v before", pause, time.Since(begin), last)
					}
					last = pause
				}
				if last < 14*time.Minute {
					t.Errorf("asked every %v in the end", last)
				}
				o.down.Store(false)
				time.Sleep(time.Until(until))
				before := time.Now()
				for _, err := range o.all(clients) {
					if err != nil {
						t.Error(err)
					}
				}
				if took := time.Since(before); took > time.Second {
					t.Errorf("the host is back: %v", took)
				}
			})
		})
	}
}

// Who comes first after a long outage that nobody waited out asks the host before it is told anything.
func TestNewcomerAsksBeforeItIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, status(503, ``))
		until := sameUntil(t, []error{o.list()})
		time.Sleep(time.Until(until) + time.Hour)
		o.down.Store(false)
		before := time.Now()
		if err := o.list(); err != nil || time.Since(before) > time.Second {
			t.Errorf("%v after %v", err, time.Since(before))
		}
	})
}

// A token that is due in a long outage is asked for by the one probe, and those who need it are given back with it.
func TestTokenIsDueInALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, status(503, ``))
		clients := append(o.clients(5), o.another("other", nil))
		until := sameUntil(t, o.all(clients))
		o.asked.Store(0)
		time.Sleep(time.Until(until) + 30*time.Hour)
		until = sameUntil(t, o.all(clients))
		if n := o.asked.Load(); n < 1 || n > 2 {
			t.Errorf("%d requests", n)
		}
		o.down.Store(false)
		time.Sleep(time.Until(until))
		for _, err := range o.all(clients) {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// without has no health page.
type without struct{ *adplatform.Platform }

func (w without) Spec() platform.Spec {
	s := w.Platform.Spec()
	s.HealthPath = ""
	return s
}

// A connection whose requests fail for good, or hang, does not keep the others from a host that is back, though it comes first each time.
func TestBadConnectionAfterALongOutage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tune   func(*apiclient.Config)
		answer http.HandlerFunc
	}{
		{"500", parking, status(500, ``)},
		{"hangs", parking, silent},
		{"503", parking, status(503, ``)},
		{"500, no health page", withoutHealth, status(500, ``)},
		{"hangs, no health page", withoutHealth, silent},
		{"503, no health page", withoutHealth, status(503, ``)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { badConnection(t, tt.tune, tt.answer) })
		})
	}
}

func withoutHealth(c *apiclient.Config) {
	parking(c)
	c.Platform = without{adplatform.New(adplatform.Options{Account: "acme", PageSize: 10})}
}

func badConnection(t *testing.T, tune func(*apiclient.Config), answer http.HandlerFunc) {
	var down atomic.Bool
	b := newBed(t, nil, tune, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			status(503, ``)(w, r)
		case strings.Contains(r.URL.Path, "bad"):
			answer(w, r)
		default:
			ok(w, r)
		}
	}, nil)
	o := &outageBed{bed: b}
	down.Store(true)
	b.client = b.another("bad", tune)
	clients := []*apiclient.Client{b.another("one", tune), b.another("two", tune), b.another("three", tune)}
	down.Store(false)
	for _, c := range clients {
		if err := b.listBy(c); err != nil {
			t.Fatal(err)
		}
	}
	down.Store(true)
	until := sameUntil(t, o.all(clients))
	for n := range 6 {
		time.Sleep(time.Until(until))
		ended := make(chan error, 1)
		go func() { ended <- b.sync("bad") }()
		synctest.Wait()
		until = sameUntil(t, append(o.all(clients), <-ended))
		if n < 3 {
			continue
		}
		// Whatever kind of probe it is: this time the host is back.
		down.Store(false)
		time.Sleep(time.Until(until))
		go func() { ended <- b.sync("bad") }()
		synctest.Wait()
		before := time.Now()
		for _, err := range o.all(clients) {
			if err != nil {
				t.Errorf("after %v: %v", time.Since(before), err)
			}
		}
		if took := time.Since(before); took > 45*time.Second {
			t.Errorf("the host is back: %v", took)
		}
		if err := <-ended; ads.ClassOf(err) != ads.ClassTransient {
			t.Errorf("the bad one: %v", err)
		}
		// Down again, for long.
		down.Store(true)
		until = sameUntil(t, o.all(clients))
	}
}

// No wait of more than MaxWait is waited out, whoever asks for it, with a quota or without.
func TestNoLongWaitInPlace(t *testing.T) {
	eleven := []string{"Retry-After", "39600"}
	limits := []quota.Limit{{N: 10, Window: time.Minute}}
	for _, tt := range []struct {
		name   string
		limits []quota.Limit
		tune   func(*apiclient.Config)
		api    http.HandlerFunc
		token  http.HandlerFunc
		wait   time.Duration
	}{
		{name: "503", limits: limits, api: status(503, ``, eleven...), wait: 11 * time.Hour},
		{name: "503, no quota", api: status(503, ``, eleven...), wait: 11 * time.Hour},
		{name: "429", limits: limits, api: status(429, ``, eleven...), wait: 11 * time.Hour},
		{name: "429, no quota", api: status(429, ``, eleven...), wait: 11 * time.Hour},
		{name: "429, no bucket", tune: func(c *apiclient.Config) { c.Bucket = nil }, api: status(429, ``, eleven...), wait: 11 * time.Hour},
		{name: "429 in the body", limits: limits, api: status(429, `{"error":"Rate limit exceeded","retry_after":39600}`), wait: 11 * time.Hour},
		{name: "token 503", api: ok, token: status(503, ``, eleven...), wait: 11 * time.Hour},
		{name: "token 429", api: ok, token: status(429, ``, eleven...), wait: 11 * time.Hour},
		{name: "nothing left", limits: limits, api: status(200, `{"data":[],"pagination":{}}`, "RateLimit", `"default";r=0;t=39600`), wait: 11 * time.Hour},
		{name: "a quota of an hour", limits: []quota.Limit{{N: 1, Window: time.Hour}}, api: ok, wait: time.Hour},
		{name: "121 s", api: status(503, ``, "Retry-After", "121"), wait: 121 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, tt.limits, func(c *apiclient.Config) {
					parking(c)
					if tt.tune != nil {
						tt.tune(c)
					}
				}, tt.api, tt.token)
				begin := time.Now()
				errs := make(chan error, 20)
				for i := range cap(errs) {
					go func() { errs <- b.sync(fmt.Sprint(i)) }()
				}
				deferred := 0
				for range cap(errs) {
					err := <-errs
					if err == nil {
						continue
					}
					e := wantClass(t, err, ads.ClassDeferred, "")
					if e.Code == apiclient.CodeOutage { // who was not told itself waits for the host
						continue
					}
					deferred++
					if d := e.Until.Sub(begin); d < tt.wait || d > tt.wait+time.Minute {
						t.Errorf("until %v from the beginning: %v", d, err)
					}
				}
				if took := time.Since(begin); deferred == 0 || took > 2*time.Minute {
					t.Errorf("%d deferred after %v", deferred, took)
				}
			})
		})
	}
}
