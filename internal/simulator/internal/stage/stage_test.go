package stage

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plain is a platform of one page, which says when it is asked for.
type plain struct{ asked chan struct{} }

func (p plain) Route(c *Call) {
	c.Endpoint, c.Account = "page", c.R.URL.Query().Get("account")
	select {
	case p.asked <- struct{}{}:
	default:
	}
}

func (plain) Answer(c *Call) *Reply {
	if rp := c.Instead(); rp != nil {
		return rp
	}
	return &Reply{Status: http.StatusOK, Type: JSON, Body: []byte(`{"data":["` + strings.Repeat("x", 100) + `"]}`)}
}
func (plain) Own(http.ResponseWriter, *http.Request) any { return nil }
func (plain) Extra(bool) any                             { return nil }

func down(_ *Call, code int) *Reply {
	return &Reply{Status: code, Type: JSON, Body: []byte(`{"error":"down"}`)}
}

func open(t *testing.T, faults ...string) (*Host, string) {
	t.Helper()
	k := &Catalogue{Endpoints: []string{"page"}, Faults: Transport("endpoint=page,on=1", down)}
	h, err := NewHost(plain{make(chan struct{}, 1)}, k, Options{Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, ln) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h, "http://" + ln.Addr().String() + "/x"
}

func get(ctx context.Context, t *testing.T, url string) (status int, body string, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// TestTransport: each fault of the wire shows on the first request, and the second is whole.
func TestTransport(t *testing.T) {
	for fault, want := range map[string]struct {
		status int
		broken bool // reading it fails
	}{
		"status:code=500": {500, false}, "reset-before-headers": {0, true}, "reset-mid-body": {200, true}, "chunked-no-end": {200, true}, "bad-gateway-html": {502, false},
		"html-200": {200, false}, "empty-200": {200, false}, "cut-json": {200, false}, "redirect-other-port": {307, false}, "outage:after=0,for=1": {503, false}, "slow:on=1,by=1ms": {200, false},
	} {
		h, url := open(t, fault)
		status, body, err := get(t.Context(), t, url)
		if status != want.status || (err != nil) != want.broken {
			t.Errorf("%s: %d, %v: %s", fault, status, err, body)
		}
		if status, body, err := get(t.Context(), t, url); status != 200 || err != nil || !strings.HasSuffix(body, `"]}`) {
			t.Errorf("%s: the second request: %d, %v", fault, status, err)
		}
		name, _, _ := strings.Cut(fault, ":")
		if st := h.Stats(false); st.FaultsPlayed[name] != 1 || st.Total.Requests != 2 {
			t.Errorf("%s: played %d times in %d requests", fault, st.FaultsPlayed[name], st.Total.Requests)
		}
	}
}

// TestSilence: no answer comes, and the end of the host ends the wait.
func TestSilence(t *testing.T) {
	h, url := open(t, "silent")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, _, err := get(ctx, t, url)
		failed <- err
	}()
	select {
	case err := <-failed:
		t.Fatalf("an answer came: %v", err)
	case <-h.p.(plain).asked:
	}
	cancel()
	if err := <-failed; err == nil {
		t.Error("an answer came")
	}
}

func TestSwitch(t *testing.T) {
	h, url := open(t)
	if err := h.Switch([]string{"status:code=503,on=1-"}, nil); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := get(t.Context(), t, url); status != 503 {
		t.Errorf("switched on: %d", status)
	}
	if err := h.Switch(nil, []string{"status"}); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := get(t.Context(), t, url); status != 200 {
		t.Errorf("switched off: %d", status)
	}
	for _, bad := range [][2][]string{{{"statsu"}, nil}, {nil, {"slow"}}, {{"status:code=x"}, nil}, {{"status:color=red"}, nil}, {{"status:p=2"}, nil}} {
		if h.Switch(bad[0], bad[1]) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// TestWindow: a sliding window never forgets before its length is over, nor keeps longer than a slot more.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := Window{Span: time.Hour}
		type draw struct {
			at time.Duration
			n  int64
		}
		var all []draw
		now := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(r, "draws") {
			now += time.Duration(rapid.Int64Range(0, int64(90*time.Minute)).Draw(r, "step"))
			n := rapid.Int64Range(1, 5).Draw(r, "n")
			w.Add(now, n)
			all = append(all, draw{now, n})
			var least, most int64
			for _, d := range all {
				if now-d.at < time.Hour {
					least += d.n
				}
				if now-d.at < time.Hour+2*time.Minute {
					most += d.n
				}
			}
			if got := w.Sum(now); got < least || got > most {
				r.Fatalf("at %s: %d, want %d to %d", now, got, least, most)
			}
			if limit := rapid.Int64Range(1, 20).Draw(r, "limit"); w.Sum(now) >= limit {
				wait := w.Until(now, limit)
				later := w
				if wait <= 0 || later.Sum(now+wait) >= limit {
					r.Fatalf("after %s there are still %d, want less than %d", wait, later.Sum(now+wait), limit)
				}
			}
		}
	})
}

// TestSeal: what is sealed is opened with the same seed and kind, and with no other.
func TestSeal(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		vals := rapid.SliceOfN(rapid.Int64(), 0, 6).Draw(r, "values")
		text := Seal(7, "k", vals...)
		got, ok := Open(7, "k", text, len(vals))
		if !ok || len(got) != len(vals) {
			r.Fatalf("%v is lost", vals)
		}
		for i := range vals {
			if got[i] != vals[i] {
				r.Fatalf("%v became %v", vals, got)
			}
		}
		for _, other := range []bool{opens(8, "k", text, len(vals)), opens(7, "l", text, len(vals)), opens(7, "k", text, len(vals)+1), opens(7, "k", text+"A", len(vals))} {
			if other {
				r.Fatal("it opens with another key")
			}
		}
	})
}

func opens(seed uint64, kind, text string, n int) bool {
	_, ok := Open(seed, kind, text, n)
	return ok
}

func FuzzOpen(f *testing.F) {
	f.Add("", uint8(1))
	f.Add(Seal(1, "k", 1, 2), uint8(2))
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		if vals, ok := Open(1, "k", text, int(n%10)); ok && len(vals) != int(n%10) {
			t.Fatal("another number of values")
		}
	})
}

func FuzzSpec(f *testing.F) {
	for _, s := range []string{"status:code=500,on=1|3-4", "slow:by=1s,p=0.5", "x:", "status:after=5,for=3s,times=0"} {
		f.Add(s)
	}
	k := &Catalogue{Endpoints: []string{"page"}, Levels: []string{"ad"}, Faults: Transport("endpoint=page,on=1", down)}
	f.Fuzz(func(t *testing.T, text string) {
		if fs, err := k.Compile([]string{text}, 1); (err == nil) != (len(fs) == 1) {
			t.Fatalf("%q: %d faults and %v", text, len(fs), err)
		}
	})
}
