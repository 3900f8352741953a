package simulator

import (
	"go/parser"
	gotoken "go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The simulator shares no code with what it tests.
func TestImportsNothingOfTheClient(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") {
			continue
		}
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		seen++
		for _, imp := range parsed.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); strings.HasPrefix(path, "adsync") && path != "adsync/internal/ads" {
				t.Errorf("%s imports %s", f.Name(), path)
			}
		}
	}
	if seen < 10 {
		t.Fatalf("only %d files read", seen)
	}
}

// Faults pile up in any combination of endpoints without a panic, and whoever asks from nowhere is refused.
func TestFaultsOnEveryEndpoint(t *testing.T) {
	for _, f := range Catalogue() {
		if f.expand != nil || f.Name == "endless-body" || f.Name == "gzip-bomb" {
			continue
		}
		cfg := quick(f.Name + ":endpoint=any,on=1-,times=0")
		if f.Name == "outage" || f.Name == "revoked" {
			cfg.Faults = []string{f.Name + ":endpoint=any,after=0"}
		}
		cfg.Clients, cfg.Quota = []string{"acme"}, Quota{N: 3, Window: 1e9}
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close() // nothing waits
		token := "none"
		for _, id := range []string{"acme", "nobody", strings.Repeat("x", 300), ""} {
			for _, c := range []struct{ method, path, body string }{
				{"POST", "/auth/token", ""},
				{"GET", "/api/campaigns", ""},
				{"GET", "/api/campaigns?page=3&limit=3", ""},
				{"POST", "/api/campaigns/campaign_7/sync", `{"campaign_id":"campaign_7"}`},
				{"GET", "/health", ""},
				{"GET", "/__truth", ""},
			} {
				r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
				r.Header.Set("X-Client-ID", id)
				r.Header.Set("Authorization", "Bearer "+token)
				if c.path == "/auth/token" {
					r.SetBasicAuth(DefaultEmail, DefaultPassword)
				}
				w := httptest.NewRecorder()
				func() {
					defer func() {
						if p := recover(); p != nil && p != http.ErrAbortHandler {
							t.Errorf("%s on %s for %.10q: %v", f.Name, c.path, id, p)
						}
					}()
					s.ServeHTTP(w, r)
				}()
				if tokens := s.IssuedTokens(); len(tokens) > 0 {
					token = tokens[len(tokens)-1]
				}
				if strings.HasPrefix(c.path, "/api") && w.Code == 200 && len(id) > 10 && strings.Contains(w.Body.String(), "campaign_1") {
					t.Errorf("%s: data for a client that does not exist", f.Name)
				}
			}
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("POST", "/api/campaigns/campaign_1/sync", "acme", "Bearer x", `{"campaign_id":"campaign_1"}`)
	f.Add("GET", "/api/campaigns?page=2&limit=0x10", "", "Bearer ", "")
	f.Add("GET", "/api/campaigns/%2e%2e/sync", "\x00", "Basic Og==", "{")
	f.Add("POST", "/__control", "", "", `{"add":[{"id":"x","budget":1e5,"at":-3}],"faults_on":["page-empty:at=0"]}`)
	f.Fuzz(func(t *testing.T, method, target, clientID, auth, body string) {
		r, err := http.NewRequest(method, "http://localhost"+target, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(target, "/") || strings.Contains(body, "slow") || strings.Contains(body, "hang") {
			t.Skip("no request that can be made, or one that is asked to take its time")
		}
		cfg := quick("id-hostile", "page-empty", "numbers")
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		ask(s, http.MethodPost, "/auth/token", "", "")
		if auth == "Bearer x" {
			auth = "Bearer " + s.IssuedTokens()[0]
		}
		r.Header.Set("X-Client-ID", clientID)
		r.Header.Set("Authorization", auth)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 {
			t.Fatalf("status %d", w.Code)
		}
		for _, c := range s.Truth(clientID) {
			if c.ID == "" {
				t.Fatal("a campaign without an id")
			}
		}
	})
}
