package authorize_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"adsync/internal/authorize"
	"adsync/internal/secret"
	"adsync/internal/simulator/googleads"
	"adsync/internal/simulator/meta"
)

// person opens an address in a browser, and agrees or not as the platform's simulator does.
func person(t *testing.T, change func(url.Values)) func(string) {
	return func(address string) {
		u, err := url.Parse(address)
		if err != nil {
			t.Error(err)
			return
		}
		if change != nil {
			q := u.Query()
			change(q)
			u.RawQuery = q.Encode()
		}
		go func() {
			resp, err := http.Get(u.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if !strings.Contains(string(body), "adsync") && resp.StatusCode == 200 {
				t.Errorf("the person sees %s", body)
			}
		}()
	}
}

func onMeta(t *testing.T, faults ...string) (authorize.Provider, authorize.App, *meta.Server) {
	cfg := meta.Default()
	cfg.Faults = faults
	s, err := meta.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() { srv.Close(); _ = s.Close() })
	return authorize.Meta("v26.0", srv.URL, srv.URL), authorize.App{ID: meta.DefaultAppID, Secret: secret.New(meta.DefaultAppSecret)}, s
}

func onGoogle(t *testing.T, faults ...string) (authorize.Provider, authorize.App, *googleads.Server) {
	cfg := googleads.Default()
	cfg.Faults = faults
	s, err := googleads.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() { srv.Close(); _ = s.Close() })
	return authorize.Google(srv.URL, srv.URL), authorize.App{ID: googleads.DefaultClientID, Secret: secret.New(googleads.DefaultClientSecret)}, s
}

func values(r authorize.Result) map[string]string {
	out := map[string]string{}
	for _, v := range r.Values {
		out[v.Name] = v.Value.Reveal()
	}
	return out
}

func TestMeta(t *testing.T) {
	p, app, _ := onMeta(t)
	r, err := authorize.Run(t.Context(), p, app, authorize.Options{Ask: person(t, nil), Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	v := values(r)
	said := strings.Join(r.Said, "\n")
	if !strings.HasPrefix(v["META_ACCESS_TOKEN"], "EAA") || v["META_APP_SECRET"] != meta.DefaultAppSecret || !strings.Contains(said, "The token ends on ") || !strings.Contains(said, "ads_read") {
		t.Errorf("%v\n%s", r.Values, said)
	}
	if strings.Contains(said+fmt.Sprint(r), v["META_ACCESS_TOKEN"]) {
		t.Error("the token is told")
	}
}

func TestGoogle(t *testing.T) {
	p, app, s := onGoogle(t)
	r, err := authorize.Run(t.Context(), p, app, authorize.Options{Ask: person(t, nil), Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if v := values(r); !strings.HasPrefix(v["GOOGLE_REFRESH_TOKEN"], "1//") || v["GOOGLE_REFRESH_TOKEN"] == googleads.DefaultRefreshToken || v["GOOGLE_CLIENT_ID"] != googleads.DefaultClientID {
		t.Errorf("%v", v)
	}
	if m := s.Stats().Misplaced; len(m) > 0 {
		t.Errorf("secrets where they do not belong: %v", m)
	}
}

// What goes wrong is said, with whose doing it is, and nothing of what was secret.
func TestRefused(t *testing.T) {
	for name, x := range map[string]struct {
		fault  string
		app    func(*authorize.App)
		change func(url.Values)
		want   string
		no     bool // it was refused
	}{
		"denied":       {fault: "login-denied", want: "no access was given", no: true},
		"wrong secret": {app: func(a *authorize.App) { a.Secret = secret.New("another-secret-of-somebody") }, want: "failed", no: true},
		"down":         {fault: "status:endpoint=token,on=1", want: "failed"},
	} {
		for _, on := range []string{"meta", "google"} {
			t.Run(name+" "+on, func(t *testing.T) {
				var faults []string
				if x.fault != "" {
					faults = []string{x.fault}
				}
				var p authorize.Provider
				var app authorize.App
				if on == "meta" {
					p, app, _ = onMeta(t, faults...)
				} else {
					p, app, _ = onGoogle(t, faults...)
				}
				if x.app != nil {
					x.app(&app)
				}
				_, err := authorize.Run(t.Context(), p, app, authorize.Options{Ask: person(t, x.change), Wait: time.Minute})
				e, ok := errors.AsType[*authorize.Error](err)
				if !ok || e.Refused != x.no || !strings.Contains(e.Message, x.want) || e.Hint == "" || strings.Contains(e.Message, app.Secret.Reveal()) {
					t.Errorf("%+v", err)
				}
			})
		}
	}
}

// An answer to a question that was not asked is turned away, and the right one still counts.
func TestForeignAnswer(t *testing.T) {
	p, app, _ := onMeta(t)
	agree := person(t, nil)
	_, err := authorize.Run(t.Context(), p, app, authorize.Options{Wait: time.Minute, Ask: func(address string) {
		u, _ := url.Parse(address)
		back := u.Query().Get("redirect_uri")
		go func() {
			for _, q := range []string{"?code=stolen&state=guessed", "?code=stolen", "?error=access_denied&state=x"} {
				resp, err := http.Get(back + q)
				if err != nil || resp.StatusCode != http.StatusBadRequest {
					t.Errorf("%s: %v, %v", q, resp, err)
					return
				}
				resp.Body.Close()
			}
			agree(address)
		}()
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestNobodyComes(t *testing.T) {
	p, app, _ := onGoogle(t)
	_, err := authorize.Run(t.Context(), p, app, authorize.Options{Ask: func(string) {}, Wait: time.Millisecond})
	if e, ok := errors.AsType[*authorize.Error](err); !ok || !strings.Contains(e.Message, "nobody came back") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stopped by hand")
	if _, err := authorize.Run(ctx, p, app, authorize.Options{Ask: func(string) { cancel(stop) }}); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p, app, _ := onGoogle(t)
	_, err = authorize.Run(t.Context(), p, app, authorize.Options{Port: ln.Addr().(*net.TCPAddr).Port, Ask: func(string) { t.Error("asked though nobody listens") }})
	if e, ok := errors.AsType[*authorize.Error](err); !ok || !strings.Contains(e.Hint, "--port") {
		t.Errorf("%v", err)
	}
}
