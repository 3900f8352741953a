package amazon

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"adsync/internal/config"
	"adsync/internal/vaults/fakeaws"
	"adsync/internal/vaults/internal/source"
)

// TestMain makes sure that nothing of the machine's own is found, and that nobody asks for an instance's metadata.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		_ = os.Setenv(name, os.DevNull)
	}
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	goleak.VerifyTestMain(m)
}

const (
	region    = "eu-central-1"
	keyID     = "AKIAFAKE00000000"
	secretKey = "fake/secret+access/key/0123456789"
)

func fake() *fakeaws.Manager { return fakeaws.New(region, keyID, fakeaws.Key{Secret: secretKey}) }

func open(t testing.TB, set config.AWS, env map[string]string) *Store {
	t.Helper()
	s := New(config.Secrets{AWS: set, Getenv: func(name string) string {
		if v, ok := env[name]; ok {
			return v
		}
		return os.Getenv(name)
	}})
	t.Cleanup(s.Close)
	return s
}

// static are the variables for the fake and its key.
func static(url string) map[string]string {
	return map[string]string{"AWS_REGION": region, "AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_ENDPOINT_URL": url}
}

func get(ctx context.Context, s *Store, ref string) (string, error) {
	r, err := s.Parse(ref)
	if err != nil {
		return "", err
	}
	d, err := s.Fetch(ctx, r.Doc)
	if err != nil {
		return "", err
	}
	v, err := d.Pick(r.Key)
	return v.Reveal(), err
}

func wants(t testing.TB, err error, kind source.Kind, words ...string) {
	t.Helper()
	e, ok := errors.AsType[*source.Error](err)
	if !ok || e.Kind != kind || e.Hint == "" {
		t.Errorf("got %#v, want an error of kind %q with a hint", err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(e.Message+" | "+e.Hint, w) {
			t.Errorf("%q (%s) does not hold %q", e.Message, e.Hint, w)
		}
	}
}

func TestParse(t *testing.T) {
	s := open(t, config.AWS{}, nil)
	const arn = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:prod/acme-AbCdEf"
	for ref, want := range map[string]source.Reference{
		"prod/acme":                            {Doc: "prod/acme"},
		"prod/acme#password":                   {Doc: "prod/acme", Key: "password"},
		"prod/acme?stage=AWSPREVIOUS#password": {Doc: "prod/acme?stage=AWSPREVIOUS", Key: "password"},
		arn + "?version=1-2#a b":               {},
		arn + "?version=1-2#key":               {Doc: arn + "?version=1-2", Key: "key"},
	} {
		got, err := s.Parse(ref)
		if strings.HasSuffix(ref, " b") {
			continue // a key may hold a blank
		}
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", ref, got, err)
		}
	}
	if w, err := parse(arn + "?version=1-2"); err != nil || w != (wanted{id: arn, region: "cn-north-1", version: "1-2"}) {
		t.Errorf("got %+v, %v", w, err)
	}
	for _, ref := range []string{
		"", "#", "a#", "a b", "a?b", "a?stage=", "a?stage=x y", "a?version", "hunter2!", "arn:aws:s3:::bucket", "arn:aws:secretsmanager:eu-central-1:123:secret:x",
		"arn:aws:secretsmanager:EU.evil.example.com/:123456789012:secret:x", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:", strings.Repeat("a", 600), "a\x00",
	} {
		_, err := s.Parse(ref)
		wants(t, err, source.BadReference)
	}
}

func TestReads(t *testing.T) {
	m := fake()
	m.Put("prod/acme", `{"password": "c4n4ry-old"}`)
	m.Put("prod/acme", `{"password": "c4n4ry-new", "port": 5432, "deep": {"a": "c4n4ry"}, "password2": "x"}`)
	m.Put("plain", "c4n4ry-plain\n")
	m.Put("broken", `{"password": "c4n4ry`)
	m.PutBinary("binary", []byte("c4n4ry-bytes"))
	m.PutBinary("noise", []byte{0xff, 0xfe})
	m.Put("gone", "c4n4ry")
	m.Delete("gone")
	s := open(t, config.AWS{}, static(m.Serve(t).URL))
	for ref, want := range map[string]string{
		"prod/acme#password":                   "c4n4ry-new",
		"prod/acme#port":                       "5432",
		"prod/acme?stage=AWSPREVIOUS#password": "c4n4ry-old",
		"prod/acme?version=00000000-0000-4000-8000-000000000001#password": "c4n4ry-old",
		m.ARN("prod/acme") + "#password":                                  "c4n4ry-new",
		"plain":                                                           "c4n4ry-plain",
		"binary":                                                          "c4n4ry-bytes",
	} {
		if got, err := get(t.Context(), s, ref); err != nil || got != want {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
	}
	for ref, want := range map[string]struct {
		kind  source.Kind
		words string
	}{
		"prod/acme#nope":               {source.NoKey, "there are: deep, password, password2, port"},
		"prod/acme#deep":               {source.NoKey, "an object"},
		"plain#password":               {source.NoKey, "not a JSON object"},
		"broken#password":              {source.NoKey, "not a JSON object"},
		"noise":                        {source.BadAnswer, "not a text"},
		"nope":                         {source.NoSecret, "ResourceNotFoundException"},
		"prod/acme?stage=NOPE#x":       {source.NoSecret, "staging label"},
		"gone":                         {source.NoSecret, "marked for deletion"},
		m.ARN("nope") + "#password":    {source.NoSecret, "ResourceNotFoundException"},
		"prod/acme?version=nope#x":     {source.NoSecret, "ResourceNotFoundException"},
		"prod/acme?stage=AWSPENDING#x": {source.NoSecret, "ResourceNotFoundException"},
	} {
		_, err := get(t.Context(), s, ref)
		wants(t, err, want.kind, want.words)
		if err != nil && strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: a value is said: %v", ref, err)
		}
	}
	for _, r := range m.Requests() {
		if r.Target != "secretsmanager.GetSecretValue" || r.KeyID != keyID || r.Region != region {
			t.Errorf("%+v", r)
		}
	}
}

// Where credentials and region come from: the SDK's own chain.
func TestChain(t *testing.T) {
	m := fake()
	m.Put("acme", "c4n4ry")
	m.Key("AKIASESSION00000", fakeaws.Key{Secret: "session-secret-key", Session: "session-token-c4n4ry2"})
	url := m.Serve(t).URL
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	shared := file("config", "[default]\nregion = us-east-1\n[profile marketing]\nregion = "+region+"\naws_access_key_id = "+keyID+"\naws_secret_access_key = "+secretKey+"\n")
	works := func(name string, set config.AWS, env map[string]string) {
		t.Helper()
		if got, err := get(t.Context(), open(t, set, env), "acme"); err != nil || got != "c4n4ry" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	works("variables", config.AWS{}, static(url))
	works("a session", config.AWS{Region: region}, map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIASESSION00000", "AWS_SECRET_ACCESS_KEY": "session-secret-key", "AWS_SESSION_TOKEN": "session-token-c4n4ry2", "AWS_ENDPOINT_URL_SECRETS_MANAGER": url,
		"AWS_ENDPOINT_URL": "http://127.0.0.1:1",
	})
	t.Run("environment", func(t *testing.T) {
		for k, v := range static(url) {
			t.Setenv(k, v)
		}
		if got, err := get(t.Context(), open(t, config.AWS{}, nil), "acme"); err != nil || got != "c4n4ry" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("profile", func(t *testing.T) {
		t.Setenv("AWS_CONFIG_FILE", shared)
		t.Setenv("AWS_ENDPOINT_URL", url)
		for name, s := range map[string]*Store{"set": open(t, config.AWS{Profile: "marketing"}, nil), "variable": open(t, config.AWS{}, map[string]string{"AWS_PROFILE": "marketing"})} {
			if got, err := get(t.Context(), s, "acme"); err != nil || got != "c4n4ry" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		_, err := get(t.Context(), open(t, config.AWS{Profile: "nope"}, nil), "acme")
		wants(t, err, source.Misconfigured, "no profile nope")
	})
	t.Run("web identity", func(t *testing.T) {
		const token = "web-identity-token-c4n4ry3"
		m.Identity(token)
		t.Setenv("AWS_ENDPOINT_URL", url)
		t.Setenv("AWS_ENDPOINT_URL_STS", url)
		t.Setenv("AWS_REGION", region)
		t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/fake")
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file("token", token))
		if got, err := get(t.Context(), open(t, config.AWS{}, nil), "acme"); err != nil || got != "c4n4ry" {
			t.Errorf("got %q, %v", got, err)
		}
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file("token2", "another-"+token))
		_, err := get(t.Context(), open(t, config.AWS{}, nil), "acme")
		wants(t, err, source.LoginRefused, "InvalidIdentityToken")
		if strings.Contains(err.Error(), token) {
			t.Errorf("the token is said: %v", err)
		}
		t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
		_, err = get(t.Context(), open(t, config.AWS{}, nil), "acme")
		wants(t, err, source.Unreachable, "what gives out AWS's credentials cannot be reached")
	})
	t.Run("instance", func(t *testing.T) {
		t.Setenv("AWS_ENDPOINT_URL", url)
		t.Setenv("AWS_REGION", region)
		t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
		if got, err := get(t.Context(), open(t, config.AWS{}, nil), "acme"); err != nil || got != "c4n4ry" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	_, err := get(t.Context(), open(t, config.AWS{Region: region}, map[string]string{"AWS_ENDPOINT_URL": url}), "acme")
	wants(t, err, source.LoginRefused, "no credentials", "AWS_ACCESS_KEY_ID")
	env := static(url)
	delete(env, "AWS_REGION")
	_, err = get(t.Context(), open(t, config.AWS{}, env), "acme")
	wants(t, err, source.Misconfigured, "AWS_REGION")
	if got, err := get(t.Context(), open(t, config.AWS{}, env), m.ARN("acme")); err != nil || got != "c4n4ry" {
		t.Errorf("a region by the ARN: %q, %v", got, err)
	}
}

func TestFailures(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect is followed") }))
	defer other.Close()
	m := fake()
	m.Put("acme", "c4n4ry")
	srv := m.Serve(t)
	s := open(t, config.AWS{}, static(srv.URL))
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		kind   source.Kind
		wait   time.Duration
		words  string
	}{
		"throttled":     {fakeaws.Fail(400, "ThrottlingException", "Rate exceeded"), source.Throttled, 0, "too often"},
		"429":           {fakeaws.Answer(429, `{}`, "Retry-After", "9"), source.Throttled, 9 * time.Second, ""},
		"internal":      {fakeaws.Fail(500, "InternalServiceError", "An error occurred on the server side."), source.Unavailable, 0, "InternalServiceError"},
		"namespaced":    {fakeaws.Fail(400, "com.amazonaws.secretsmanager#ResourceNotFoundException", "no"), source.NoSecret, 0, "ResourceNotFoundException"},
		"denied":        {fakeaws.Fail(400, "AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized"), source.Denied, 0, "user/x is not authorized"},
		"decryption":    {fakeaws.Fail(400, "DecryptionFailure", "can't decrypt"), source.Denied, 0, "kms:Decrypt"},
		"parameter":     {fakeaws.Fail(400, "InvalidParameterException", "no"), source.BadReference, 0, ""},
		"expired":       {fakeaws.Fail(400, "ExpiredTokenException", "The security token included in the request is expired"), source.Expired, 0, "get new credentials"},
		"says its keys": {fakeaws.Fail(400, "Odd", "key "+secretKey+" of "+keyID), source.BadAnswer, 0, "key *** of ***"},
		"proxy's page":  {fakeaws.Answer(502, `<html>c4n4ry</html>`), source.Unavailable, 0, "HTTP 502"},
		"redirect":      {fakeaws.Answer(302, ``, "Location", other.URL), source.Misconfigured, 0, "elsewhere"},
		"no JSON":       {fakeaws.Answer(200, `c4n4ry`), source.BadAnswer, 0, ""},
		"half":          {fakeaws.Answer(200, `{"SecretString": "c4n4ry`), source.BadAnswer, 0, ""},
		"nothing":       {fakeaws.Answer(200, `{}`), source.NoKey, 0, "empty"},
		"huge":          {fakeaws.Answer(200, `{"SecretString": "`+strings.Repeat("c4n4ry", 1<<20)+`"}`), source.BadAnswer, 0, ""},
		"closed": {func(http.ResponseWriter, *http.Request) bool {
			panic(http.ErrAbortHandler)
		}, source.Unreachable, 0, "check the region"},
	} {
		t.Run(name, func(t *testing.T) {
			m.Next(c.answer, c.answer) // net/http itself repeats what a closed connection swallowed
			defer m.Forget()
			n := len(m.Requests())
			_, err := get(t.Context(), s, "acme")
			wants(t, err, c.kind, c.words)
			if e, ok := errors.AsType[*source.Error](err); ok && e.Wait != c.wait {
				t.Errorf("waits %s, want %s", e.Wait, c.wait)
			}
			if err != nil && (strings.Contains(err.Error(), "c4n4ry") || strings.Contains(err.Error(), secretKey)) {
				t.Errorf("a secret is said: %v", err)
			}
			if len(m.Requests()) != n+1 && name != "closed" {
				t.Errorf("%d requests, want one: tries are the caller's", len(m.Requests())-n)
			}
		})
	}
	if got, err := get(t.Context(), s, "acme"); err != nil || got != "c4n4ry" {
		t.Errorf("after all that: %q, %v", got, err)
	}
	for name, key := range map[string]fakeaws.Key{"wrong": {Secret: "another"}, "expired": {Secret: secretKey, Expired: true}, "denied": {Secret: secretKey, Denied: true}} {
		m.Key(keyID, key)
		_, err := get(t.Context(), s, "acme")
		wants(t, err, map[string]source.Kind{"wrong": source.LoginRefused, "expired": source.Expired, "denied": source.Denied}[name])
	}
	srv.Close()
	_, err := get(t.Context(), s, "acme")
	wants(t, err, source.Unreachable, "check the region")
}

// Credentials that were refused are read anew: a file may have been changed since.
func TestRotatedFile(t *testing.T) {
	m := fake()
	m.Put("acme", "c4n4ry")
	url := m.Serve(t).URL
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(key string) {
		if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = "+keyID+"\naws_secret_access_key = "+key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("stale-key")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	s := open(t, config.AWS{Region: region}, map[string]string{"AWS_ENDPOINT_URL": url})
	_, err := get(t.Context(), s, "acme")
	wants(t, err, source.LoginRefused, "InvalidSignatureException")
	write(secretKey)
	if got, err := get(t.Context(), s, "acme"); err != nil || got != "c4n4ry" {
		t.Errorf("got %q, %v", got, err)
	}
}
