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
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// sent is a request as it goes out with credentials.
func sent(r platform.Request, s secrets) platform.Request {
	r.Header = r.Header.Clone()
	r.Seal(s, &r)
	return r
}

func TestTokenRequest(t *testing.T) {
	p := made(t, Options{OAuthURL: "https://oauth2.example.com/"})
	r := sent(p.TokenRequest(), secrets{"client_id": "id-1", "client_secret": "s&ecret", "refresh_token": "1//r"})
	form, err := url.ParseQuery(string(r.Body))
	if err != nil || r.Method != http.MethodPost || r.Origin != "https://oauth2.example.com" || r.Path != "/token" || r.Query != "" || r.Basic || !r.NoAuth || !r.Uncounted || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("%+v, %v", r, err)
	}
	if len(form) != 4 || form.Get("grant_type") != "refresh_token" || form.Get("client_id") != "id-1" || form.Get("client_secret") != "s&ecret" || form.Get("refresh_token") != "1//r" {
		t.Errorf("form %v", form)
	}
	if bare := p.TokenRequest(); len(bare.Body) > 0 || len(p.Spec().Origins) != 1 || p.Spec().Origins[0] != r.Origin {
		t.Errorf("before it is sealed: %q; origins %v", bare.Body, p.Spec().Origins)
	}
}

func keyFile(t *testing.T, k any, change func(map[string]string)) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{
		"type": "service_account", "client_email": "robot@example.iam.gserviceaccount.com", "private_key_id": "kid-1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://elsewhere.example/token",
	}
	if change != nil {
		change(m)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The assertion of a service account is signed, short, about Google Ads, and goes to the token endpoint whatever the key names.
func TestAssertion(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := keyFile(t, k, nil)
	r := sent(made(t, Options{}).TokenRequest(), secrets{"service_account": file, "refresh_token": "1//r"})
	form, _ := url.ParseQuery(string(r.Body))
	if r.Origin != OAuthURL || len(form) != 2 || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		t.Errorf("%s: %v", r.Origin, form)
	}
	parts := strings.Split(form.Get("assertion"), ".")
	if len(parts) != 3 {
		t.Fatalf("%q", form.Get("assertion"))
	}
	var raw [3][]byte
	for i := range parts {
		if raw[i], err = base64.RawURLEncoding.DecodeString(parts[i]); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], raw[2]); err != nil {
		t.Error(err)
	}
	var head, claims map[string]any
	if json.Unmarshal(raw[0], &head) != nil || json.Unmarshal(raw[1], &claims) != nil {
		t.Fatalf("%s %s", raw[0], raw[1])
	}
	iat, exp, now := int64(claims["iat"].(float64)), int64(claims["exp"].(float64)), time.Now().Unix()
	if head["alg"] != "RS256" || head["kid"] != "kid-1" || claims["iss"] != "robot@example.iam.gserviceaccount.com" || claims["aud"] != OAuthURL+"/token" || claims["scope"] != Scope || claims["sub"] != nil {
		t.Errorf("%v %v", head, claims)
	}
	if iat > now || exp <= now || exp-iat > 3600 {
		t.Errorf("from %d to %d, it is %d", iat, exp, now)
	}
}

func TestCheckServiceAccount(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	old := keyFile(t, k, func(m map[string]string) {
		m["private_key"] = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))
	})
	for name, x := range map[string]struct{ key, want string }{
		"good":         {keyFile(t, k, nil), ""},
		"older form":   {old, ""},
		"a path":       {"/etc/key.json", "whole file"},
		"empty":        {"", "whole file"},
		"another kind": {keyFile(t, k, func(m map[string]string) { m["type"] = "authorized_user" }), "something else"},
		"no email":     {keyFile(t, k, func(m map[string]string) { delete(m, "client_email") }), "client_email"},
		"no key":       {keyFile(t, k, func(m map[string]string) { m["private_key"] = "c4n4ry" }), "private_key"},
		"broken key": {keyFile(t, k, func(m map[string]string) {
			m["private_key"] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("c4n4ry")}))
		}), "cannot be read"},
	} {
		err := CheckServiceAccount(x.key)
		if (err == nil) != (x.want == "") || err != nil && (!strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "c4n4ry")) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
		form, _ := url.ParseQuery(string(sent(made(t, Options{}).TokenRequest(), secrets{"service_account": x.key}).Body))
		if x.key != "" && form.Has("assertion") != (err == nil) {
			t.Errorf("%s: %v", name, form)
		}
	}
}

func TestParseToken(t *testing.T) {
	for body, want := range map[string]platform.Token{
		`{"access_token":"a.b","expires_in":3599,"scope":"s","token_type":"Bearer"}`: {Value: "a.b", Life: 3599 * time.Second, Scope: "s"},
		`{"access_token":"a","expires_in":"3599","refresh_token":"1//n"}`:            {Value: "a", Life: 3599 * time.Second, Refresh: "1//n"},
		`{"access_token":"a","token_type":"bearer","expires_in":-1}`:                 {Value: "a"},
		`{"access_token":"a","expires_in":99999999999999}`:                           {Value: "a", Life: 100 * 365 * day},
		`{"access_token":"a","expires_in":{}}`:                                       {Value: "a"},
		`{"access_token":"a","token_type":"mac"}`:                                    {},
		`{"access_token":7}`:  {},
		`{"access_token":""}`: {},
		`{}`:                  {},
		`[]`:                  {},
		``:                    {},
	} {
		got, err := ParseToken(text(200, body))
		if got != want || (err != nil) != (want.Value == "") || err != nil && ads.ClassOf(err) != ads.ClassBadReply {
			t.Errorf("%s: value %q, life %s, %v", body, got.Value, got.Life, err)
		}
	}
}

// Each call carries the token, the root without dashes, and the developer token only where there is one.
func TestSeal(t *testing.T) {
	p := made(t, Options{LoginCustomerID: "123-456-7890"})
	r := p.ask(endpointReport, "search", "4", p.root(ads.Account{ID: "4"}), "SELECT 1", "", false)
	for _, s := range []secrets{{}, {"developer_token": "dev-1"}} {
		h := sent(r, s).Header
		if h.Get("Authorization") != "Bearer token-1" || h.Get("Login-Customer-Id") != "1234567890" || h.Get("Developer-Token") != s["developer_token"] || (len(h.Values("Developer-Token")) > 0) != (len(s) > 0) {
			t.Errorf("%v", h)
		}
	}
	if r.Header.Get("Authorization") != "" || r.Path != "/"+DefaultVersion+"/customers/4/googleAds:search" || r.Scope != "account 4" || !r.Repeatable || strings.Contains(string(r.Body), "pageSize") {
		t.Errorf("%+v %s", r, r.Body)
	}
}
