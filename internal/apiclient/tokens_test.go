package apiclient_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/secret"
	tokenstore "adsync/internal/tokens"
)

const day = 24 * time.Hour

// renewing is a platform whose tokens are had from earlier ones, by a refresh token or by an exchange.
type renewing struct {
	*adplatform.Platform
	exchange bool // no refresh token: the access token is given for the next
	never    bool // it cannot be renewed at all
}

func (p renewing) Classify(r platform.Reply) platform.Verdict {
	if r.Endpoint == "renew" && r.Status == http.StatusBadRequest {
		return platform.Verdict{Class: ads.ClassAuth, Code: "invalid_grant", Message: string(r.Body)}
	}
	return p.Platform.Classify(r)
}

func (p renewing) RefreshRequest(k platform.Token) platform.Request {
	if p.never {
		return platform.Request{}
	}
	form := url.Values{"with": {k.Refresh}}
	if p.exchange {
		form.Set("with", k.Value)
	}
	return platform.Request{Endpoint: "renew", Method: "POST", Path: "/renew", Body: []byte(form.Encode()), Seal: func(s platform.Secrets, r *platform.Request) {
		r.Body = append(r.Body, "&secret="+url.QueryEscape(s.Credential("client_secret"))...)
	}}
}

func (p renewing) ParseToken(r platform.Reply) (platform.Token, error) {
	var v struct {
		Access, Refresh      string
		Expires, RefreshEnds int64
	}
	err := json.Unmarshal(r.Body, &v)
	return platform.Token{Value: v.Access, Refresh: v.Refresh, Life: time.Duration(v.Expires) * time.Second, RefreshLife: time.Duration(v.RefreshEnds) * time.Second}, err
}

// onlyRenewing hides that the platform has a login too.
type onlyRenewing struct{ platform.Refresher }

// grants answers renewals.
type grants struct {
	n       int
	with    []string
	refuse  bool
	life    time.Duration
	refresh bool
	ends    time.Duration // of the refresh token, from the last answer
}

func (g *grants) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	g.with = append(g.with, form.Get("with")+" "+form.Get("secret"))
	if g.refuse {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"the token %s is void"}`, form.Get("with"))
		return
	}
	g.n++
	v := map[string]any{"access": fmt.Sprintf("%s-access-%d", canaryToken, g.n), "expires": int64(g.life.Seconds()), "refreshends": int64(g.ends.Seconds())}
	if g.refresh {
		v["refresh"] = fmt.Sprintf("%s-refresh-%d", canaryToken, g.n)
	}
	_ = json.NewEncoder(w).Encode(v)
}

// renewals makes a bed whose platform knows the token of the last grant only, and the configured one where there was none.
func renewals(t *testing.T, g *grants, p renewing, credentials ...string) *bed {
	t.Helper()
	return newBed(t, nil, func(c *apiclient.Config) {
		p.Platform = c.Platform.(*adplatform.Platform)
		c.Platform = onlyRenewing{p}
		c.Credentials = secret.Bag{}.With("client_secret", secret.New("c4n4ry-cl13nt"))
		for i := 0; i+1 < len(credentials); i += 2 {
			c.Credentials = c.Credentials.With(credentials[i], secret.New(credentials[i+1]))
		}
	}, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/renew":
			g.serve(w, r)
			return
		case g.n > 0 && r.Header.Get("Authorization") != fmt.Sprintf("Bearer %s-access-%d", canaryToken, g.n), g.n == 0 && r.Header.Get("Authorization") != "Bearer "+canaryToken+"-0":
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	}, nil)
}

var plainCall = platform.Request{Endpoint: "read", Method: "GET", Path: "/x", Repeatable: true}

func (b *bed) asks(c *apiclient.Client) error {
	_, err := c.Do(b.t.Context(), plainCall)
	return err
}

func ends(b *bed) (out []observe.TokenEnds) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if d, ok := e.Data.(observe.TokenEnds); ok {
			out = append(out, d)
		}
	}
	return out
}

// A refresh token that stays: each access token is renewed with it in time, and what the client adds travels along.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{life: time.Hour, refresh: true}
		b := renewals(t, g, renewing{}, platform.CredentialRefreshToken, canaryToken+"-0")
		for range 24 {
			if err := b.asks(b.client); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
		}
		if len(g.with) != 5 || g.with[0] != canaryToken+"-0 c4n4ry-cl13nt" || g.with[1] != canaryToken+"-refresh-1 c4n4ry-cl13nt" {
			t.Errorf("renewed with %q", g.with)
		}
	})
}

// An exchange: at half its life, since a token that has ended cannot be exchanged. The configured one, of which no end is known, is exchanged at once.
func TestExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{life: 60 * day}
		b := renewals(t, g, renewing{exchange: true}, platform.CredentialAccessToken, canaryToken+"-0")
		begin := time.Now()
		var at []time.Duration
		for range 90 {
			n := g.n
			if err := b.asks(b.client); err != nil {
				t.Fatal(err)
			}
			if g.n > n {
				at = append(at, time.Since(begin))
			}
			time.Sleep(day)
		}
		if fmt.Sprint(at) != fmt.Sprint([]time.Duration{0, 30 * day, 60 * day}) {
			t.Error(at)
		}
		for _, e := range ends(b) {
			if !e.At.IsZero() {
				t.Errorf("%+v", e)
			}
		}
	})
}

// A renewal that is refused costs nothing while the token is good, is not asked for again, and is warned of: 7, 3 and 1 days ahead, once each.
func TestRenewalRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{life: 60 * day}
		b := renewals(t, g, renewing{exchange: true}, platform.CredentialAccessToken, canaryToken+"-0")
		begin := time.Now()
		if err := b.asks(b.client); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * day)
		g.refuse = true
		var err error
		for range 24 * 45 {
			if err = b.asks(b.client); err != nil {
				break
			}
			time.Sleep(time.Hour)
		}
		lived := time.Since(begin)
		if ads.ClassOf(err) != ads.ClassAuth || lived < 59*day || lived > 60*day {
			t.Errorf("after %s: %v", lived, err)
		}
		if len(g.with) != 2 {
			t.Errorf("%d renewals were asked for", len(g.with))
		}
		var warned []string
		b.mu.Lock()
		for _, e := range b.events {
			if d, ok := e.Data.(observe.TokenEnds); ok && d.Days > 0 {
				warned = append(warned, fmt.Sprintf("%d days ahead on day %d", d.Days, int(e.At.Sub(begin)/day)))
			}
		}
		b.mu.Unlock()
		if got, want := strings.Join(warned, ", "), "7 days ahead on day 53, 3 days ahead on day 57, 1 days ahead on day 59"; got != want {
			t.Errorf("warned %s, want %s", got, want)
		}
		// The platform gives our tokens back in its words: nobody gets to see them.
		b.noSecrets(err, fmt.Sprintf("%+v", err))
	})
}

// What cannot be renewed is used as it is, and refused for good when the platform refuses it.
func TestNeverRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{}
		b := renewals(t, g, renewing{never: true}, platform.CredentialAccessToken, canaryToken+"-0")
		for range 3 {
			if err := b.asks(b.client); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * day)
		}
		g.n = 1 // now another token is the good one
		b.calls = 0
		for range 3 {
			if err := b.asks(b.client); ads.ClassOf(err) != ads.ClassAuth || !strings.Contains(err.Error(), "cannot be renewed") {
				t.Error(err)
			}
		}
		if b.calls != 1 || len(g.with) != 0 {
			t.Errorf("%d calls, %d renewals", b.calls, len(g.with))
		}
		none := b.another("globex", func(c *apiclient.Config) {
			c.Platform = b.cfg.Platform
			c.Credentials = secret.Bag{}
		})
		if err := b.asks(none); ads.ClassOf(err) != ads.ClassAuth || !strings.Contains(err.Error(), "no token to begin with") {
			t.Error(err)
		}
	})
}

// A refresh token whose end renewals do not move is warned of before it.
func TestRefreshTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{life: day, refresh: true, ends: 10 * day}
		b := renewals(t, g, renewing{}, platform.CredentialRefreshToken, canaryToken+"-0")
		end := time.Now().Add(10 * day)
		for range 8 * 24 {
			g.ends = time.Until(end)
			if err := b.asks(b.client); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		days := []int{}
		for _, e := range ends(b) {
			if e.Days > 0 {
				days = append(days, e.Days)
			}
			if !e.At.IsZero() && e.At.Sub(end).Abs() > time.Minute {
				t.Errorf("ends at %s, not %s", e.At, end)
			}
		}
		if fmt.Sprint(days) != "[7 3]" {
			t.Errorf("warned %v days ahead", days)
		}
	})
}

// A login whose token is kept is not repeated by the next process, and is when the platform refuses that token.
func TestLoginKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := 1
		l := tokenstore.NewMemory()
		k, err := tokenstore.ParseKey(secret.New("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="))
		if err != nil {
			t.Fatal(err)
		}
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != fmt.Sprintf("Bearer %s-%d", canaryToken, good) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = io.WriteString(w, `{}`)
		}, nil)
		process := func() *apiclient.Client {
			m, err := tokenstore.New(tokenstore.Options{Ledger: l, Keys: []tokenstore.Key{k}})
			if err != nil {
				t.Fatal(err)
			}
			cfg := b.cfg
			cfg.Shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: b.net.dial, Tokens: m})
			t.Cleanup(cfg.Shared.CloseIdle)
			c, err := apiclient.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		want := func(logins int) {
			t.Helper()
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.tokens != logins {
				t.Errorf("%d logins, want %d", b.tokens, logins)
			}
		}
		first := process()
		for _, c := range []*apiclient.Client{first, process(), process()} {
			if err := b.asks(c); err != nil {
				t.Fatal(err)
			}
			want(1)
		}
		// The kept token was made void: the next process learns it by one refusal, and the others use what it got.
		good = 2
		for _, c := range []*apiclient.Client{process(), process(), first} {
			if err := b.asks(c); err != nil {
				t.Fatal(err)
			}
			want(2)
		}
		time.Sleep(2 * time.Hour)
		good = 3
		if err := b.asks(process()); err != nil {
			t.Fatal(err)
		}
		want(3)
	})
}
