package apiclient_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/platform"
	"adsync/internal/secret"
)

// signed is a platform whose token is got at another origin and whose requests are completed with secrets.
type signed struct{ origins []string }

func (p signed) Spec() platform.Spec { return platform.Spec{Name: "signed", Origins: p.origins} }

func (p signed) Classify(r platform.Reply) platform.Verdict {
	switch r.Status {
	case 200:
		return platform.Verdict{}
	case 429:
		return platform.Verdict{Class: ads.ClassThrottled, Code: "slow", Message: "slow down", Wait: ads.Some(300 * time.Millisecond)}
	}
	return platform.Verdict{Class: ads.ClassPermanent, Code: "no", Message: "no: " + string(r.Body)}
}

func (p signed) Accounts(context.Context, platform.Caller) iter.Seq2[ads.Account, error] { return nil }

func (p signed) Step(context.Context, platform.Caller, platform.Task, func(ads.Record) error) (platform.Next, error) {
	return platform.Next{}, nil
}

func (p signed) TokenRequest() platform.Request {
	return platform.Request{
		Endpoint: "token", Method: "POST", Origin: p.origins[0], Path: "/token", NoAuth: true, Uncounted: true, Repeatable: true,
		Seal: func(s platform.Secrets, r *platform.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Body = []byte(url.Values{"refresh_token": {s.Credential("refresh_token")}}.Encode())
			r.Path = "/elsewhere" // is not its to change
		},
	}
}

func (p signed) ParseToken(r platform.Reply) (platform.Token, error) {
	return platform.Token{Value: string(r.Body), Life: time.Hour}, nil
}

func seal(s platform.Secrets, r *platform.Request) {
	r.Header.Set("Authorization", "Bearer "+s.Token())
	m := hmac.New(sha256.New, []byte(s.Credential("app_secret")))
	m.Write([]byte(s.Token()))
	r.Query = "proof=" + hex.EncodeToString(m.Sum(nil))
}

func TestOtherOriginAndSeal(t *testing.T) {
	var tokens atomic.Int64
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens.Add(1)
		if r.URL.Path != "/token" || r.FormValue("refresh_token") != "refresh-1" || r.Header.Get("Authorization") != "" {
			http.Error(w, "bad", 400)
			return
		}
		_, _ = w.Write([]byte("tok-1"))
	}))
	defer login.Close()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := hmac.New(sha256.New, []byte("app-1"))
		m.Write([]byte("tok-1"))
		if r.Header.Get("Authorization") != "Bearer tok-1" || r.URL.Query().Get("proof") != hex.EncodeToString(m.Sum(nil)) {
			http.Error(w, "not signed: "+r.Header.Get("Authorization")+" app-1", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte("{}"))
	}))
	defer api.Close()
	c, err := apiclient.New(apiclient.Config{
		Platform: signed{[]string{login.URL}}, Ref: ads.Ref{ClientID: "acme", Connection: "signed"}, BaseURL: api.URL,
		Credentials: secret.Bag{}.With("refresh_token", secret.New("refresh-1")).With("app_secret", secret.New("app-1")),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := c.Do(t.Context(), platform.Request{Endpoint: "read", Method: "GET", Path: "/x", Seal: seal}); err != nil {
			t.Fatal(err)
		}
	}
	if n := tokens.Load(); n != 1 {
		t.Errorf("%d tokens fetched", n)
	}
	_, err = c.Do(t.Context(), platform.Request{Endpoint: "read", Method: "GET", Origin: "http://127.0.0.1:1", Path: "/x"})
	if e, ok := err.(*ads.Error); !ok || e.Code != "foreign_link" {
		t.Errorf("an origin that the platform has not named: %v", err)
	}
	_, err = c.Do(t.Context(), platform.Request{Endpoint: "read", Method: "GET", Path: "/x", Seal: func(s platform.Secrets, r *platform.Request) {
		r.Header.Set("Authorization", "Bearer "+s.Token()+"x")
	}})
	if err == nil || strings.Contains(err.Error(), "tok-1") || strings.Contains(err.Error(), "app-1") {
		t.Errorf("an error repeats secrets: %v", err)
	}
}

func TestOneScopeWaitsAlone(t *testing.T) {
	first := make(chan time.Time, 1)
	var again atomic.Int64 // nanoseconds between the refusal and the next request
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a" {
			return
		}
		select {
		case first <- time.Now():
			w.WriteHeader(429)
		default:
			again.Store(int64(time.Since(<-first)))
		}
	}))
	defer api.Close()
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("t")) }))
	defer login.Close()
	c, err := apiclient.New(apiclient.Config{Platform: signed{[]string{login.URL}}, BaseURL: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/a", "/b"} {
		if _, err := c.Do(t.Context(), platform.Request{Endpoint: "read", Method: "GET", Path: path, Scope: "account " + path}); err != nil {
			t.Fatal(err)
		}
	}
	if again.Load() < int64(300*time.Millisecond) {
		t.Errorf("asked again after %s", time.Duration(again.Load()))
	}
	if s := c.Stats(); s.Throttled != 1 {
		t.Errorf("%d refusals counted", s.Throttled)
	}
}
