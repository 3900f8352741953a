package simulator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// ask sends one request straight into the handler.
func ask(s *Server, method, path, token, clientID string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	} else {
		r.SetBasicAuth(DefaultEmail, DefaultPassword)
	}
	if clientID != "" {
		r.Header.Set("X-Client-ID", clientID)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// Whatever the pattern of arrivals: a request is let in exactly when fewer than N of those let in lie in the window that ends with it.
func TestQuotaIsASlidingWindow(t *testing.T) {
	type arrival struct {
		gap    time.Duration
		client string
	}
	rapid.Check(t, func(rt *rapid.T) {
		q := Quota{N: rapid.IntRange(1, 12).Draw(rt, "n"), Window: time.Duration(rapid.IntRange(1, 1000).Draw(rt, "window")) * time.Millisecond}
		plan := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) arrival {
			return arrival{time.Duration(rapid.IntRange(0, 300).Draw(rt, "gap")) * time.Millisecond, rapid.SampledFrom([]string{"", "acme"}).Draw(rt, "client")}
		}), 1, 60).Draw(rt, "plan")
		wrong := ""
		synctest.Test(t, func(*testing.T) {
			cfg := quick()
			cfg.Quota = q
			s, err := New(cfg)
			if err != nil {
				wrong = err.Error()
				return
			}
			ask(s, http.MethodPost, "/auth/token", "", "")
			token := s.IssuedTokens()[0]
			in, all, most := map[string][]time.Time{}, map[string][]time.Time{}, map[string]int{}
			young := func(times []time.Time) (n int) {
				for _, at := range times {
					if time.Since(at) < q.Window {
						n++
					}
				}
				return n
			}
			for _, a := range plan {
				time.Sleep(a.gap)
				want, used := http.StatusOK, young(in[a.client])
				if used >= q.N {
					want = http.StatusTooManyRequests
				} else {
					in[a.client] = append(in[a.client], time.Now())
				}
				all[a.client] = append(all[a.client], time.Now())
				most[a.client] = max(most[a.client], young(all[a.client]))
				if got := ask(s, http.MethodGet, "/api/campaigns", token, a.client).Code; got != want {
					wrong = fmt.Sprintf("with %d of %d used: %d, want %d", used, q.N, got, want)
					return
				}
			}
			for id, n := range most {
				st := s.Stats().Clients[id]
				if st.MaxArrivalsInWindow != n || st.Arrivals != int64(len(all[id])) || st.Counted != int64(len(in[id])) || st.MaxCountedInWindow > q.N {
					wrong = fmt.Sprintf("%d arrivals at most in a window, stats %+v", n, st)
				}
			}
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

func TestArrivalsAreBounded(t *testing.T) {
	a := arrivals{window: time.Hour}
	for i := range maxArrivals + 10 {
		a.add(time.Duration(i))
	}
	if a.n != maxArrivals || len(a.times) != maxArrivals || a.oldest() != 10 {
		t.Errorf("%d of %d kept, oldest %d", a.n, len(a.times), a.oldest())
	}
}

func TestEarly(t *testing.T) {
	var w told
	w.tell(time.Second, 10*time.Second)
	for _, c := range []struct {
		at              time.Duration
		early, inFlight bool
	}{
		{time.Second, false, true},
		{1249 * time.Millisecond, false, true},
		{1250 * time.Millisecond, true, false},
		{10999 * time.Millisecond, true, false},
		{11 * time.Second, false, false},
	} {
		if e, f := w.early(c.at); e != c.early || f != c.inFlight {
			t.Errorf("at %s: early %v, in flight %v", c.at, e, f)
		}
	}
	// A shorter wait told later takes nothing back, nor does it excuse anybody.
	w.tell(5*time.Second, time.Second)
	if e, _ := w.early(5100 * time.Millisecond); !e {
		t.Error("a shorter wait ended a longer one")
	}
}
