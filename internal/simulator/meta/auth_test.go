package meta

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func (s *sim) bare(method, target string) answer {
	s.t.Helper()
	return s.do(httptest.NewRequest(method, target, nil))
}

func TestTokens(t *testing.T) {
	s := start(t, func(c *Config) { c.Tokens = []string{"ALL", "SOME=1"} })
	s.token = "nobody"
	if code, _ := s.get("me").code(); code != 190 {
		t.Errorf("a token that nobody knows: code %d", code)
	}
	if a := s.bare(http.MethodGet, "/v26.0/me"); a.status != 401 {
		t.Errorf("no token: %d", a.status)
	}
	s.token = "SOME"
	if n := len(s.all("me/adaccounts")); n != 1 {
		t.Errorf("a token for one account sees %d", n)
	}
	if code, sub := s.get("act_778800000000002/campaigns").code(); code != 100 || sub != 33 {
		t.Errorf("an account that the token does not see: %d/%d", code, sub)
	}
	s.token = "ALL"
	s.KillTokens(460)
	if a := s.get("me"); a.status != 401 || a.err()["code"] != 190.0 || a.err()["error_subcode"] != 460.0 {
		t.Errorf("a killed token: %s", a.raw)
	}
}

func TestProof(t *testing.T) {
	for _, required := range []bool{false, true} {
		s := start(t, func(c *Config) { c.RequireProof = required })
		want := map[string]int{"": 0, Proof(DefaultAppSecret, s.token): 0, Proof(DefaultAppSecret, "another"): 104}
		if required {
			want[""] = 100
		}
		for proof, code := range want {
			args := []string{"fields", "id"}
			if proof != "" {
				args = append(args, "appsecret_proof", proof)
			}
			if got, _ := s.get("me", args...).code(); got != code {
				t.Errorf("required %v, proof %.8q: code %d, want %d", required, proof, got, code)
			}
		}
	}
}

// TestLogin: from the person's agreement to a token for 60 days, which expires and cannot be exchanged any more.
func TestLogin(t *testing.T) {
	s := start(t)
	back := "http://127.0.0.1:9/callback"
	a := s.bare(http.MethodGet, "/v26.0/dialog/oauth?response_type=code&state=xyz&client_id="+DefaultAppID+"&redirect_uri="+url.QueryEscape(back))
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusFound || to.Query().Get("state") != "xyz" || to.Query().Get("code") == "" {
		t.Fatalf("dialog: %d %s", a.status, a.header.Get("Location"))
	}
	app := "client_id=" + DefaultAppID + "&client_secret=" + url.QueryEscape(DefaultAppSecret)
	exchange := "/v26.0/oauth/access_token?" + app + "&redirect_uri=" + url.QueryEscape(back) + "&code=" + to.Query().Get("code")
	first := s.bare(http.MethodGet, exchange)
	short, _ := first.body["access_token"].(string)
	if first.body["expires_in"] != 3600.0 || short == "" {
		t.Fatalf("code: %s", first.raw)
	}
	if again := s.bare(http.MethodGet, exchange); again.status != 400 {
		t.Errorf("a code works twice: %d", again.status)
	}
	long := s.bare(http.MethodGet, "/v26.0/oauth/access_token?grant_type=fb_exchange_token&"+app+"&fb_exchange_token="+short)
	token, _ := long.body["access_token"].(string)
	if long.body["expires_in"] != 5184000.0 || long.body["token_type"] != "bearer" || token == "" {
		t.Fatalf("exchange: %s", long.raw)
	}
	s.clock.now = s.clock.now.Add(2 * time.Hour)
	s.token = short
	if _, sub := s.get("me").code(); sub != 463 {
		t.Errorf("the short token after two hours: subcode %d", sub)
	}
	s.token = token
	if a := s.get("me"); a.status != 200 {
		t.Errorf("the long token: %s", a.raw)
	}
	debug := func() map[string]any {
		a := s.bare(http.MethodGet, "/v26.0/debug_token?input_token="+token+"&access_token="+url.QueryEscape(DefaultAppID+"|"+DefaultAppSecret))
		d, _ := a.body["data"].(map[string]any)
		return d
	}
	if d := debug(); d["is_valid"] != true || d["expires_at"] != float64(date.Add(60*24*time.Hour).Unix()) || d["app_id"] != DefaultAppID {
		t.Errorf("debug: %v", d)
	}
	s.clock.now = s.clock.now.Add(60 * 24 * time.Hour)
	if d := debug(); d["is_valid"] != false {
		t.Errorf("debug after 60 days: %v", d)
	}
	dead := s.bare(http.MethodGet, "/v26.0/oauth/access_token?grant_type=fb_exchange_token&"+app+"&fb_exchange_token="+token)
	if code, sub := dead.code(); code != 190 || sub != 463 {
		t.Errorf("an expired token is exchanged: %s", dead.raw)
	}
	if a := s.bare(http.MethodGet, "/v26.0/oauth/access_token?grant_type=fb_exchange_token&client_id="+DefaultAppID+"&client_secret=wrong&fb_exchange_token="+token); a.status == 200 {
		t.Error("a wrong secret does")
	}
}

// TestMisplaced: secrets where they do not belong are counted, and never shown.
func TestMisplaced(t *testing.T) {
	s := start(t)
	s.token = DefaultAppID + "|" + DefaultAppSecret
	if code, _ := s.get("me").code(); code != 190 {
		t.Errorf("the app's token for ad data: code %d", code)
	}
	r := httptest.NewRequest(http.MethodGet, "/__stats", nil)
	a := s.do(r)
	if !strings.Contains(a.raw, `"app token in a call for ad data": 1`) || strings.Contains(a.raw, DefaultAppSecret) {
		t.Errorf("statistics: %s", a.raw)
	}
}

func TestPermission(t *testing.T) {
	s := start(t, func(c *Config) { c.Denied = 1 })
	if n := len(s.all("me/adaccounts")); n != 3 {
		t.Errorf("%d accounts listed, want 3", n)
	}
	if a := s.get("act_778800000000003/campaigns"); a.status != 403 || a.err()["code"] != 200.0 {
		t.Errorf("the denied account: %s", a.raw)
	}
	if a := s.get(act1 + "/campaigns"); a.status != 200 {
		t.Errorf("another: %s", a.raw)
	}
	less := start(t, func(c *Config) { c.Scopes = []string{"ads_read"} })
	if code, _ := less.get(act1, "fields", "business").code(); code != 200 {
		t.Errorf("business without business_management: code %d", code)
	}
}
