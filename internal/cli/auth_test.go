package cli

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"adsync/internal/simulator/googleads"
	"adsync/internal/simulator/meta"
)

// A person is walked through to a file that only they can read, which the configuration can name; the secrets stand nowhere else.
func TestAuth(t *testing.T) {
	m, err := meta.New(meta.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	g, err := googleads.New(googleads.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ms, gs := httptest.NewServer(m), httptest.NewServer(g)
	defer ms.Close()
	defer gs.Close()
	for platform, x := range map[string]struct {
		url, stdin, secret, token string
		env                       []string
	}{
		"meta":   {ms.URL, meta.DefaultAppID + "\n" + meta.DefaultAppSecret + "\n", meta.DefaultAppSecret, "META_ACCESS_TOKEN=EAA", nil},
		"google": {gs.URL, "", googleads.DefaultClientSecret, "GOOGLE_REFRESH_TOKEN=1//", []string{"GOOGLE_CLIENT_ID=" + googleads.DefaultClientID, "GOOGLE_CLIENT_SECRET=" + googleads.DefaultClientSecret}},
	} {
		t.Run(platform, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "out.env")
			told, tell := io.Pipe()
			var said strings.Builder
			done := make(chan struct{})
			go func() {
				defer close(done)
				address := regexp.MustCompile(`\n  (http://\S+)\n`)
				buf := make([]byte, 4096)
				went := false
				for {
					n, err := told.Read(buf)
					said.Write(buf[:n])
					if found := address.FindStringSubmatch(said.String()); found != nil && !went {
						went = true
						resp, err := http.Get(found[1])
						if err != nil {
							t.Error(err)
							return
						}
						resp.Body.Close()
					}
					if err != nil {
						return
					}
				}
			}()
			args := []string{"auth", platform, "--dialog-url", x.url, "--token-url", x.url, "--no-browser", "--write", file, "--wait", "30s"}
			var out strings.Builder
			code := Main(context.Background(), args, x.env, strings.NewReader(x.stdin), &out, tell)
			_ = tell.Close()
			<-done
			if code != 0 {
				t.Fatalf("exit %d: %s", code, said.String())
			}
			text, err := os.ReadFile(file)
			info, err2 := os.Stat(file)
			if err != nil || err2 != nil || info.Mode().Perm() != 0o600 || !strings.Contains(string(text), x.token) || !strings.Contains(string(text), x.secret) {
				t.Errorf("%v %v\n%s", err, info, text)
			}
			for line := range strings.Lines(string(text)) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				if !strings.HasSuffix(name, "_ID") && strings.Contains(said.String()+out.String(), value) {
					t.Errorf("%s is told", name)
				}
			}
			// What is there is never overwritten, and nobody is asked in vain.
			if code := Main(context.Background(), args, x.env, strings.NewReader(x.stdin), io.Discard, io.Discard); code != 2 {
				t.Errorf("over a file that is there: exit %d", code)
			}
		})
	}
}
