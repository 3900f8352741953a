package googleads

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const facts = "SELECT customer.id FROM customer"

func TestTokens(t *testing.T) {
	s := start(t)
	a := s.refresh()
	if a.body["expires_in"] != 3599.0 || a.body["token_type"] != "Bearer" || a.body["scope"] != scope || a.body["refresh_token"] != nil {
		t.Errorf("refresh: %s", a.raw)
	}
	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"another refresh token": {[]string{"grant_type", "refresh_token", "client_id", DefaultClientID, "client_secret", DefaultClientSecret, "refresh_token", "1//x"}, 400, "invalid_grant"},
		"another secret":        {[]string{"grant_type", "refresh_token", "client_id", DefaultClientID, "client_secret", "x", "refresh_token", DefaultRefreshToken}, 401, "invalid_client"},
		"another grant":         {[]string{"grant_type", "password"}, 400, "unsupported_grant_type"},
	} {
		if a := s.form(c.args...); a.status != c.status || a.body["error"] != c.want {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	good := s.token
	s.token = "ya29.nobody"
	if _, value, rpc := s.search(account1, facts, "").fault(); value != "OAUTH_TOKEN_INVALID" || rpc != "UNAUTHENTICATED" {
		t.Errorf("a token that nobody knows: %s %s", value, rpc)
	}
	s.token = good
	s.clock.now = s.clock.now.Add(time.Hour)
	if a := s.search(account1, facts, ""); a.status != 401 || !strings.Contains(a.raw, "OAUTH_TOKEN_EXPIRED") {
		t.Errorf("after an hour: %s", a.raw)
	}
	s.refresh()
	s.Revoke()
	if _, value, _ := s.search(account1, facts, "").fault(); value != "OAUTH_TOKEN_REVOKED" {
		t.Errorf("revoked: %s", value)
	}
	if a := s.refresh(); a.status != 400 || a.raw != `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}` {
		t.Errorf("revoked, refreshed: %s", a.raw)
	}
}

// TestConsent: the person's agreement, with PKCE, gives a refresh token; a code works once.
func TestConsent(t *testing.T) {
	s := start(t)
	back, verifier := "http://127.0.0.1:9/callback", strings.Repeat("v", 50)
	q := url.Values{
		"client_id": {DefaultClientID}, "redirect_uri": {back}, "response_type": {"code"}, "scope": {scope}, "state": {"xyz"}, "access_type": {"offline"},
		"code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"},
	}
	agree := func() string {
		a := s.do(httptest.NewRequest(http.MethodGet, "/o/oauth2/v2/auth?"+q.Encode(), nil))
		to, err := url.Parse(a.header.Get("Location"))
		if err != nil || a.status != http.StatusFound || to.Query().Get("state") != "xyz" {
			t.Fatalf("dialog: %d %s", a.status, a.header.Get("Location"))
		}
		return to.Query().Get("code")
	}
	exchange := func(code, verifier string) answer {
		return s.form("grant_type", "authorization_code", "client_id", DefaultClientID, "client_secret", DefaultClientSecret, "code", code, "redirect_uri", back, "code_verifier", verifier)
	}
	if a := exchange(agree(), "wrong"); a.status != 400 {
		t.Errorf("another verifier: %s", a.raw)
	}
	code := agree()
	a := exchange(code, verifier)
	token, _ := a.body["refresh_token"].(string)
	if a.status != 200 || token == "" {
		t.Fatalf("code: %s", a.raw)
	}
	if a := exchange(code, verifier); a.status != 400 {
		t.Errorf("a code works twice: %s", a.raw)
	}
	if a := s.form("grant_type", "refresh_token", "client_id", DefaultClientID, "client_secret", DefaultClientSecret, "refresh_token", token); a.status != 200 {
		t.Errorf("the new refresh token: %s", a.raw)
	}
}

// TestServiceAccount: a signed assertion gives an access token; one that is wrong anywhere does not.
func TestServiceAccount(t *testing.T) {
	s := start(t)
	file, err := s.ServiceAccount("http://example.com")
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		Key   string `json:"private_key"`
		Email string `json:"client_email"`
		URI   string `json:"token_uri"`
	}
	if err := json.Unmarshal(file, &k); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(k.Key))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(claims map[string]any) string {
		b, _ := json.Marshal(claims)
		text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(b)
		sum := sha256.Sum256([]byte(text))
		sig, err := rsa.SignPKCS1v15(rand.Reader, parsed.(*rsa.PrivateKey), crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	now := date.Unix()
	claims := func(change map[string]any) map[string]any {
		m := map[string]any{"iss": k.Email, "scope": scope, "aud": k.URI, "iat": now, "exp": now + 3600}
		for key, v := range change {
			m[key] = v
		}
		return m
	}
	const grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	a := s.form("grant_type", grant, "assertion", sign(claims(nil)))
	s.token, _ = a.body["access_token"].(string)
	if a.status != 200 || s.search(account1, facts, "").status != 200 {
		t.Fatalf("a good assertion: %s", a.raw)
	}
	for key, v := range map[string]any{"iss": "x", "scope": "x", "aud": "https://example.org/token", "iat": now + 600, "exp": now + 7200, "sub": "user@example.com"} {
		if a := s.form("grant_type", grant, "assertion", sign(claims(map[string]any{key: v}))); a.status != 400 || a.body["error"] != "invalid_grant" {
			t.Errorf("another %s: %s", key, a.raw)
		}
	}
	good := sign(claims(nil))
	if a := s.form("grant_type", grant, "assertion", good[:len(good)-4]+"AAAA"); a.status != 400 {
		t.Errorf("another signature: %s", a.raw)
	}
}

// TestOperations: a day's operations, of which further pages are none, and the wait that is told.
func TestOperations(t *testing.T) {
	s := start(t, func(c *Config) { c.Operations, c.PageRows = 3, 2 })
	if n := len(s.all(account1, "SELECT campaign.id FROM campaign")); n != 10 {
		t.Fatalf("%d rows", n)
	}
	for range 2 {
		if a := s.search("4000000002", facts, ""); a.status != 200 {
			t.Fatal(a.raw)
		}
	}
	a := s.search("4000000003", facts, "")
	if _, value, rpc := a.fault(); a.status != 429 || value != "RESOURCE_EXHAUSTED" || rpc != "RESOURCE_EXHAUSTED" {
		t.Fatalf("beyond the quota: %s", a.raw)
	}
	var told struct {
		Error struct {
			Details []struct {
				Errors []struct {
					Details struct {
						Quota struct {
							Scope string `json:"rateScope"`
							Delay string `json:"retryDelay"`
						} `json:"quotaErrorDetails"`
					} `json:"details"`
				} `json:"errors"`
			} `json:"details"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(a.raw), &told); err != nil {
		t.Fatal(err)
	}
	q := told.Error.Details[0].Errors[0].Details.Quota
	wait, err := time.ParseDuration(q.Delay)
	if err != nil || q.Scope != "DEVELOPER" || wait < 24*time.Hour || wait > 25*time.Hour {
		t.Fatalf("told: %+v", q)
	}
	s.clock.now = s.clock.now.Add(wait)
	s.refresh()
	if a := s.search("4000000003", facts, ""); a.status != 200 {
		t.Errorf("after the wait: %s", a.raw)
	}
}

func TestPace(t *testing.T) {
	s := start(t, func(c *Config) { c.QPS = 0.5 })
	for range burst {
		if a := s.search(account1, facts, ""); a.status != 200 {
			t.Fatal(a.raw)
		}
	}
	a := s.search(account1, facts, "")
	if _, value, _ := a.fault(); value != "RESOURCE_TEMPORARILY_EXHAUSTED" || !strings.Contains(a.raw, `"rateScope":"ACCOUNT"`) || !strings.Contains(a.raw, `"retryDelay":"2s"`) {
		t.Fatalf("too fast: %s", a.raw)
	}
	if a := s.search("4000000002", facts, ""); a.status != 200 {
		t.Errorf("another customer: %s", a.raw)
	}
	s.clock.now = s.clock.now.Add(2 * time.Second)
	if a := s.search(account1, facts, ""); a.status != 200 {
		t.Errorf("after the wait: %s", a.raw)
	}
}

func TestAccessLevels(t *testing.T) {
	s := start(t, func(c *Config) { c.Access = "test" })
	if _, value, _ := s.search(account1, facts, "").fault(); value != "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION" {
		t.Errorf("test access: %q", value)
	}
	s = start(t, func(c *Config) { c.DeveloperToken = "dev" })
	if _, value, _ := s.search(account1, facts, "").fault(); value != "DEVELOPER_TOKEN_PARAMETER_MISSING" {
		t.Errorf("no developer token: %q", value)
	}
}

// TestFaults: each fault shows as it should, and is counted.
func TestFaults(t *testing.T) {
	const figures = "SELECT campaign.id, segments.date, metrics.clicks FROM campaign" + days
	for fault, check := range map[string]func(s *sim) string{
		"throttle:on=1,wait=5s,scope=DEVELOPER": func(s *sim) string {
			_, first, _ := s.search(account1, facts, "").fault()
			_, other, _ := s.search("4000000002", facts, "").fault()
			s.clock.now = s.clock.now.Add(5 * time.Second)
			return fmt.Sprint(first, other, s.search(account1, facts, "").status) + ""
		},
		"transient:on=1": func(s *sim) string { _, v, _ := s.search(account1, facts, "").fault(); return v },
		"deadline:on=1":  func(s *sim) string { _, v, _ := s.search(account1, facts, "").fault(); return v },
		"permission:account=4000000001": func(s *sim) string {
			_, v, _ := s.search(account1, facts, "").fault()
			return v + fmt.Sprint(s.search("4000000002", facts, "").status)
		},
		"token-expired:on=1": func(s *sim) string { _, v, _ := s.search(account1, facts, "").fault(); return v },
		"version-sunset":     func(s *sim) string { _, v, _ := s.search(account1, facts, "").fault(); return v },
		"service-disabled": func(s *sim) string {
			return fmt.Sprint(strings.Contains(s.search(account1, facts, "").raw, `"SERVICE_DISABLED"`))
		},
		"bad-gateway-html:on=1": func(s *sim) string {
			a := s.search(account1, facts, "")
			return fmt.Sprint(a.status, strings.HasPrefix(a.raw, "<!DOCTYPE"))
		},
		"stream-cut": func(s *sim) string {
			rows, raw := s.stream(account1, figures)
			again, _ := s.stream(account1, figures)
			return fmt.Sprint(rows == nil, strings.HasSuffix(raw, "}"), len(again) > 0)
		},
		"stream-error": func(s *sim) string {
			rows, raw := s.stream(account1, figures)
			return fmt.Sprint(rows == nil, strings.Contains(raw, "INTERNAL_ERROR"))
		},
		"token-expired-page": func(s *sim) string {
			token, _ := s.search(account1, figures, "").body["nextPageToken"].(string)
			_, v, _ := s.search(account1, figures, token).fault()
			return v
		},
		"duplicate:rows=2": func(s *sim) string {
			seen, twice := map[string]bool{}, 0
			for _, r := range s.all(account1, "SELECT campaign.id FROM campaign") {
				id := at(r, "campaign.id").(string)
				if seen[id] {
					twice++
				}
				seen[id] = true
			}
			return fmt.Sprint(len(seen), twice)
		},
		"totals-disagree": func(s *sim) string {
			truth := s.Figures(account1, "customer", "2026-11-05", "2026-11-05")[0].Impressions
			got := count(at(s.all(account1, "SELECT customer.id, segments.date, metrics.impressions FROM customer WHERE segments.date = '2026-11-05'")[0], "metrics.impressions"))
			return fmt.Sprint(got == truth*900/1000)
		},
		"restated:on=2": func(s *sim) string {
			const day = "SELECT customer.id, segments.date, metrics.impressions FROM customer WHERE segments.date = '2026-09-25'"
			a := count(at(s.all(account1, day)[0], "metrics.impressions"))
			b := count(at(s.all(account1, day)[0], "metrics.impressions"))
			return fmt.Sprint(b > a)
		},
		"too-expensive:on=1": func(s *sim) string { _, v, _ := s.search(account1, figures, "").fault(); return v },
	} {
		want := map[string]string{
			"throttle:on=1,wait=5s,scope=DEVELOPER": "RESOURCE_TEMPORARILY_EXHAUSTEDRESOURCE_TEMPORARILY_EXHAUSTED200", "transient:on=1": "TRANSIENT_ERROR", "deadline:on=1": "DEADLINE_EXCEEDED",
			"permission:account=4000000001": "USER_PERMISSION_DENIED200", "token-expired:on=1": "OAUTH_TOKEN_EXPIRED", "version-sunset": "UNSUPPORTED_VERSION", "service-disabled": "true",
			"bad-gateway-html:on=1": "502 true", "stream-cut": "true true true", "stream-error": "true true", "token-expired-page": "EXPIRED_PAGE_TOKEN", "duplicate:rows=2": "10 2",
			"totals-disagree": "true", "restated:on=2": "true", "too-expensive:on=1": "EXCESSIVE_SHORT_TERM_QUERY_RESOURCE_CONSUMPTION",
		}[fault]
		s := start(t, func(c *Config) { c.Faults, c.PageRows = []string{fault}, 6 })
		if got := check(s); got != want {
			t.Errorf("%s: %q, want %q", fault, got, want)
		}
		name, _, _ := strings.Cut(fault, ":")
		if name != "totals-disagree" && s.Stats().FaultsPlayed[name] == 0 {
			t.Errorf("%s is not counted as played", fault)
		}
	}
}

func TestControl(t *testing.T) {
	s := start(t)
	name := "Renamed"
	if err := s.Control(Command{Edit: []Edit{{Account: account1, Campaign: "20000100000", Name: &name, Status: "REMOVED"}}, Add: []Addition{{account1, "Added"}}}); err != nil {
		t.Fatal(err)
	}
	rows := s.all(account1, "SELECT campaign.name, campaign.status FROM campaign")
	if len(rows) != 11 || at(rows[0], "campaign.name") != name || at(rows[0], "campaign.status") != "REMOVED" || at(rows[10], "campaign.name") != "Added" {
		t.Errorf("after edits: %v", rows)
	}
	for _, c := range []Command{{Edit: []Edit{{Account: account1, Campaign: "5"}}}, {Add: []Addition{{"5", "x"}}}, {Restate: []Restating{{Since: "x"}}}, {FaultsOn: []string{"none-such"}}, {Advance: -1}} {
		if s.Control(c) == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// TestDeterminism: the same seed tells the same, another one something else.
func TestDeterminism(t *testing.T) {
	tell := func(seed uint64) string {
		s := start(t, func(c *Config) { c.Seed = seed })
		return s.search(account1, "SELECT ad_group_ad.ad.id, campaign.name, segments.date, metrics.clicks FROM ad_group_ad"+days, "").raw
	}
	first := tell(1)
	if again := tell(1); again != first || tell(2) == first {
		t.Error("the seed does not decide")
	}
}
