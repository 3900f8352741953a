package cli

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"adsync/internal/simulator/googleads"
	"adsync/internal/simulator/meta"
)

// TestSimulatePlatforms: each simulator says where it listens and with what it can be asked; that is enough to ask it.
func TestSimulatePlatforms(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key.json")
	ask := func(t *testing.T, r *http.Request) string {
		t.Helper()
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d, %v: %s", r.URL.Path, res.StatusCode, err, b)
		}
		return string(b)
	}
	for _, c := range []struct {
		platform string
		args     []string
		says     []string
		use      func(t *testing.T, base string)
	}{
		{"meta", []string{"--accounts", "2", "--date", "2026-11-22"}, []string{meta.DefaultToken, "2 accounts, 20 campaigns each"}, func(t *testing.T, base string) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v26.0/me/adaccounts", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+meta.DefaultToken)
			if body := ask(t, r); strings.Count(body, `"account_id"`) != 2 {
				t.Errorf("accounts: %s", body)
			}
		}},
		{"google_ads", []string{"--campaigns", "5", "--service-account", key}, []string{googleads.DefaultRefreshToken, "3 accounts, 5 campaigns each", key}, func(t *testing.T, base string) {
			form := url.Values{
				"grant_type": {"refresh_token"}, "client_id": {googleads.DefaultClientID}, "client_secret": {googleads.DefaultClientSecret}, "refresh_token": {googleads.DefaultRefreshToken},
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/token", strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if body := ask(t, r); !strings.Contains(body, `"access_token":"ya29.`) {
				t.Errorf("token: %s", body)
			}
			if b, err := os.ReadFile(key); err != nil || !strings.Contains(string(b), base+"/token") {
				t.Errorf("the service account's key: %v: %.60s", err, b)
			}
		}},
	} {
		t.Run(c.platform, func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ready := make(chan struct{})
			var stdout, stderr safeBuffer
			stdout.on = func(all string) {
				if strings.Contains(all, "Ctrl-C ends it.") {
					stdout.mu.Lock()
					stdout.on = nil
					stdout.mu.Unlock()
					close(ready)
				}
			}
			ended := make(chan int, 1)
			go func() {
				ended <- Main(ctx, append([]string{"simulate", "--platform", c.platform, "--listen", "127.0.0.1:0"}, c.args...), nil, strings.NewReader(""), &stdout, &stderr)
			}()
			select {
			case code := <-ended:
				t.Fatalf("it ended with %d: %s", code, stderr.String())
			case <-ready:
			}
			for _, text := range c.says {
				if !strings.Contains(stdout.String(), text) {
					t.Errorf("it does not say %q: %s", text, stdout.String())
				}
			}
			c.use(t, regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(stdout.String()))
			stop()
			<-ended
		})
	}
}
