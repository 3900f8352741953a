package google

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
	"adsync/internal/vaults/fakegoogle"
	"adsync/internal/vaults/internal/source"
)

// TestMain makes sure that nothing of the machine's own is found, and that nobody asks whether this is a machine of Google's.
func TestMain(m *testing.M) {
	for _, name := range []string{"GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CONFIG", "HOME", "APPDATA"} {
		_ = os.Unsetenv(name)
	}
	_ = os.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
	goleak.VerifyTestMain(m)
}

const project = "projects/fake-project"

func keyFile(t testing.TB, m *fakegoogle.Manager, base string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(name, m.KeyFile(base), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t testing.TB, set config.Google, env map[string]string) *Store {
	t.Helper()
	s := New(config.Secrets{Google: set, Getenv: func(name string) string { return env[name] }})
	t.Cleanup(s.Close)
	return s
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
	s := open(t, config.Google{}, nil)
	for ref, want := range map[string]wanted{
		"projects/p/secrets/s/versions/7":                        {"p", "", "s", "7"},
		"projects/p/secrets/s":                                   {"p", "", "s", "latest"},
		"projects/example.com:p/secrets/s":                       {"example.com:p", "", "s", "latest"},
		"projects/p/locations/europe-west3/secrets/s":            {"p", "europe-west3", "s", "latest"},
		"projects/p/locations/europe-west3/secrets/s/versions/a": {"p", "europe-west3", "s", "a"},
		"s":            {"", "", "s", "latest"},
		"s/versions/2": {"", "", "s", "2"},
		"projects":     {"", "", "projects", "latest"},
	} {
		got, ok := parse(ref)
		if !ok || got != want {
			t.Errorf("%s: %+v", ref, got)
		}
		if r, err := s.Parse(ref + "#k"); err != nil || r.Doc != ref || r.Key != "k" {
			t.Errorf("%s#k: %+v, %v", ref, r, err)
		}
	}
	for _, ref := range []string{
		"", "#", "s#", "a b", "a/b", "s/versions/", "s/versions/2/x", "projects/p", "projects/p/secrets", "projects/p/secrets/", "projects/p/locations/l", "projects/p/secrets/s/versions",
		"projects/p/locations/evil.example.com:1/secrets/s", "projects//secrets/s", "projects/p/secrets/s/x/7", "hunter2!", "s:access", "projects/p/locations/l/x/s/versions/2", strings.Repeat("s", 300),
	} {
		_, err := s.Parse(ref)
		wants(t, err, source.BadReference)
	}
}

func TestReads(t *testing.T) {
	m := fakegoogle.New(t)
	m.Put(project, "acme", []byte(`{"password": "c4n4ry-old"}`))
	m.Put(project, "acme", []byte(`{"password": "c4n4ry-new", "n": 1}`))
	m.Put(project, "plain", []byte("c4n4ry-plain\r\n"))
	m.Put(project, "noise", []byte{0xff})
	m.Put(project, "off", []byte("c4n4ry"))
	m.State(project, "off", "DISABLED")
	m.Put(project, "burnt", []byte("c4n4ry"))
	m.State(project, "burnt", "DESTROYED")
	m.Put(project, "secret", []byte("c4n4ry"))
	m.Deny(project, "secret")
	m.Put("projects/other", "acme", []byte("c4n4ry-other"))
	m.Put(project+"/locations/europe-west3", "acme", []byte("c4n4ry-there"))
	srv := m.Serve(t)
	s := open(t, config.Google{Endpoint: srv.URL}, map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": keyFile(t, m, srv.URL)})
	for ref, want := range map[string]string{
		project + "/secrets/acme/versions/1#password":    "c4n4ry-old",
		project + "/secrets/acme/versions/latest#n":      "1",
		project + "/secrets/acme#password":               "c4n4ry-new",
		"acme#password":                                  "c4n4ry-new", // the project is the key's own
		"plain":                                          "c4n4ry-plain",
		"projects/other/secrets/acme":                    "c4n4ry-other",
		project + "/locations/europe-west3/secrets/acme": "c4n4ry-there",
	} {
		if got, err := get(t.Context(), s, ref); err != nil || got != want {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
	}
	if m.Count("/token") != 1 {
		t.Errorf("%d tokens", m.Count("/token"))
	}
	for ref, want := range map[string]struct {
		kind  source.Kind
		words string
	}{
		"acme#nope":       {source.NoKey, "there are: n, password"},
		"plain#x":         {source.NoKey, "not a JSON object"},
		"noise":           {source.BadAnswer, "not a text"},
		"off":             {source.NoSecret, "DISABLED"},
		"burnt":           {source.NoSecret, "DESTROYED"},
		"secret":          {source.Denied, "Secret Accessor"},
		"nope":            {source.NoSecret, "not found"},
		"acme/versions/9": {source.NoSecret, "not found"},
	} {
		_, err := get(t.Context(), s, ref)
		wants(t, err, want.kind, want.words)
		if err != nil && strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: a value is said: %v", ref, err)
		}
	}
	m.Damage(true)
	_, err := get(t.Context(), s, "plain")
	wants(t, err, source.Unavailable, "damaged")
	m.Damage(false)
	for _, env := range []map[string]string{{"GOOGLE_CLOUD_PROJECT": "other"}, {}} {
		set := config.Google{Endpoint: srv.URL, Credentials: keyFile(t, m, srv.URL)}
		if env["GOOGLE_CLOUD_PROJECT"] == "" {
			set.Project = "other"
		}
		if got, err := get(t.Context(), open(t, set, env), "acme"); err != nil || got != "c4n4ry-other" {
			t.Errorf("%v: %q, %v", env, got, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	m := fakegoogle.New(t)
	m.Put(project, "acme", []byte("c4n4ry"))
	srv := m.Serve(t)
	_, err := get(t.Context(), open(t, config.Google{Endpoint: srv.URL, Credentials: "/nowhere/key.json"}, nil), "acme")
	wants(t, err, source.Misconfigured, "/nowhere/key.json")
	broken := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(broken, []byte(`{"type": "service_account", "private_key": "c4n4ry`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = get(t.Context(), open(t, config.Google{Endpoint: srv.URL, Credentials: broken}, nil), "acme")
	wants(t, err, source.Misconfigured, "hold credentials as Google issues them")
	if strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("the file's content is said: %v", err)
	}

	// A key that was taken back, and another one in its place.
	file := keyFile(t, m, srv.URL)
	s := open(t, config.Google{Endpoint: srv.URL, Credentials: file}, nil)
	m.RefuseTokens(true)
	_, err = get(t.Context(), s, "acme")
	wants(t, err, source.LoginRefused, "no token")
	m.RefuseTokens(false)
	if got, err := get(t.Context(), s, "acme"); err != nil || got != "c4n4ry" {
		t.Errorf("got %q, %v", got, err)
	}
	// The token is taken back while the client holds it for good.
	m.RefuseTokens(true)
	_, err = get(t.Context(), s, "acme")
	wants(t, err, source.Expired, "invalid authentication credentials")
	m.RefuseTokens(false)
	if got, err := get(t.Context(), s, "acme"); err != nil || got != "c4n4ry" {
		t.Errorf("with a new token: %q, %v", got, err)
	}
}

func TestFailures(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect is followed") }))
	defer other.Close()
	m := fakegoogle.New(t)
	m.Put(project, "acme", []byte("c4n4ry"))
	srv := m.Serve(t)
	s := open(t, config.Google{Endpoint: srv.URL, Credentials: keyFile(t, m, srv.URL)}, nil)
	if _, err := get(t.Context(), s, "acme"); err != nil {
		t.Fatal(err)
	}
	token := m.Requests()[len(m.Requests())-1].Token
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		kind   source.Kind
		wait   time.Duration
		words  string
	}{
		"exhausted":      {fakegoogle.Answer(429, `{"error":{"code":429,"message":"Quota exceeded for quota metric 'Access requests'","status":"RESOURCE_EXHAUSTED"}}`, "Retry-After", "5"), source.Throttled, 5 * time.Second, "Quota exceeded"},
		"unavailable":    {fakegoogle.Answer(503, `{"error":{"code":503,"message":"The service is currently unavailable.","status":"UNAVAILABLE"}}`), source.Unavailable, 0, "currently unavailable"},
		"proxy's page":   {fakegoogle.Answer(502, `<html>c4n4ry</html>`, "Content-Type", "text/html"), source.Unavailable, 0, "HTTP 502"},
		"redirect":       {fakegoogle.Answer(302, ``, "Location", other.URL+"/x?c4n4ry"), source.Misconfigured, 0, strings.TrimPrefix(other.URL, "http://")},
		"no JSON":        {fakegoogle.Answer(200, `c4n4ry`), source.BadAnswer, 0, ""},
		"half":           {fakegoogle.Answer(200, `{"payload": {"data": "c4n4ry`), source.BadAnswer, 0, ""},
		"nothing":        {fakegoogle.Answer(200, `{}`), source.BadAnswer, 0, "without a payload"},
		"no data":        {fakegoogle.Answer(200, `{"payload": {}}`), source.NoKey, 0, "empty"},
		"says the token": {fakegoogle.Answer(400, `{"error":{"code":400,"message":"bad `+token+`","status":"INVALID_ARGUMENT"}}`), source.BadAnswer, 0, "bad ***"},
		"huge":           {fakegoogle.Answer(200, `{"name": "`+strings.Repeat("c4n4ry", 1<<20)+`"}`), source.BadAnswer, 0, ""},
		"closed": {func(http.ResponseWriter, *http.Request) bool {
			panic(http.ErrAbortHandler)
		}, source.Unreachable, 0, "check"},
	} {
		t.Run(name, func(t *testing.T) {
			m.Next(c.answer, c.answer) // net/http itself repeats what a closed connection swallowed
			defer m.Forget()
			n := m.Count(":access")
			_, err := get(t.Context(), s, "acme")
			wants(t, err, c.kind, c.words)
			if e, ok := errors.AsType[*source.Error](err); ok && e.Wait != c.wait {
				t.Errorf("waits %s, want %s", e.Wait, c.wait)
			}
			if err != nil && (strings.Contains(err.Error(), "c4n4ry") || strings.Contains(err.Error(), token)) {
				t.Errorf("a secret is said: %v", err)
			}
			if m.Count(":access") != n+1 && name != "closed" {
				t.Errorf("%d requests, want one: tries are the caller's", m.Count(":access")-n)
			}
		})
	}
	if got, err := get(t.Context(), s, "acme"); err != nil || got != "c4n4ry" {
		t.Errorf("after all that: %q, %v", got, err)
	}
	srv.Close()
	_, err := get(t.Context(), s, "acme")
	wants(t, err, source.Unreachable, "check")
}
