// Package authorize walks a person through giving adsync access to a platform: the platform's own dialog in a browser, a redirect to this machine,
// and the exchange of what it brings for credentials that last.
//
// It imports secret and ads, knows no connector and no configuration, and must not print.
package authorize

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/oauth2"

	"adsync/internal/ads"
	"adsync/internal/secret"
)

// Provider is a platform that people give access to.
type Provider struct {
	Title  string // "Meta"
	Host   string // of the redirect: "localhost" or "127.0.0.1", as the platform allows
	Dialog string // address of the dialog
	Token  string // address where a code is exchanged
	Scopes []string
	Asks   map[string]string // more parameters of the dialog
	PKCE   bool

	// Exchange makes a token of a code, where the platform does it in a way of its own; nil: as the standard says.
	Exchange func(ctx context.Context, c *http.Client, app App, code, redirect string) (*oauth2.Token, error)
	// Finish makes of the first token what is kept.
	Finish func(ctx context.Context, c *http.Client, app App, t *oauth2.Token) (Result, error)
}

// App is the program that access is given to, as the platform knows it.
type App struct {
	ID     string
	Secret secret.Text
}

// Result is what was given.
type Result struct {
	Values []Value
	Said   []string // for people, without secrets
}

// Value is one credential, under the name of the variable that it goes into.
type Value struct {
	Name  string
	Value secret.Text
}

// Options are about this machine.
type Options struct {
	Port int                  // of the redirect; 0: any that is free
	Ask  func(address string) // shows a person where to go
	Wait time.Duration        // for the person; 0: 10 minutes
	HTTP *http.Client         // nil: one that waits for 30 s and follows no redirect
}

// Error is why access was not given. Every text in it is safe to print.
type Error struct {
	Refused bool // by the person, or the platform
	Message string
	Hint    string
}

func (e *Error) Error() string { return e.Message }

const (
	maxStrays = 50 // requests with another state, before it is given up
	maxAnswer = 1 << 20
)

// Run does all of it. It listens on loopback only, and only until one answer has come.
func Run(ctx context.Context, p Provider, app App, o Options) (Result, error) {
	if o.Wait <= 0 {
		o.Wait = 10 * time.Minute
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port)))
	if err != nil {
		return Result{}, &Error{Message: fmt.Sprintf("cannot listen on port %d of this machine: %s", o.Port, err), Hint: "choose another with --port, and allow it as a redirect address where the platform wants that"}
	}
	defer ln.Close()
	conf := &oauth2.Config{
		ClientID: app.ID, ClientSecret: app.Secret.Reveal(), Scopes: p.Scopes,
		Endpoint:    oauth2.Endpoint{AuthURL: p.Dialog, TokenURL: p.Token, AuthStyle: oauth2.AuthStyleInParams},
		RedirectURL: fmt.Sprintf("http://%s/", net.JoinHostPort(p.Host, strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))),
	}
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	asks := []oauth2.AuthCodeOption{}
	for k, v := range p.Asks {
		asks = append(asks, oauth2.SetAuthURLParam(k, v))
	}
	gives := []oauth2.AuthCodeOption{}
	if p.PKCE {
		asks, gives = append(asks, oauth2.S256ChallengeOption(verifier)), append(gives, oauth2.VerifierOption(verifier))
	}
	o.Ask(conf.AuthCodeURL(state, asks...))

	code, err := await(ctx, ln, p, state, o.Wait)
	if err != nil {
		return Result{}, err
	}
	var t *oauth2.Token
	if p.Exchange != nil {
		t, err = p.Exchange(ctx, o.HTTP, app, code, conf.RedirectURL)
	} else {
		t, err = conf.Exchange(context.WithValue(ctx, oauth2.HTTPClient, o.HTTP), code, gives...)
	}
	if err != nil {
		return Result{}, failed(p.Title, "the exchange of the code", err, app, code)
	}
	return p.Finish(ctx, o.HTTP, app, t)
}

type answer struct {
	code string
	err  error
}

// await serves the redirect's address until the person comes back by it.
func await(ctx context.Context, ln net.Listener, p Provider, state string, wait time.Duration) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, wait, &Error{Message: fmt.Sprintf("nobody came back from the dialog of %s within %s", p.Title, wait), Hint: "try again, and agree in the browser"})
	defer cancel()
	answers := make(chan answer, 1)
	give := func(a answer) {
		select {
		case answers <- a:
		default:
		}
	}
	strays := 0
	turn := make(chan struct{}, 1)
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			turn <- struct{}{}
			defer func() { <-turn }()
			h := w.Header()
			h.Set("Content-Type", "text/html; charset=utf-8")
			h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-store")
			q := r.URL.Query()
			switch {
			case r.Method != http.MethodGet || r.URL.Path != "/":
				http.NotFound(w, r)
			case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1:
				w.WriteHeader(http.StatusBadRequest)
				page(w, "This is not the answer to the question that adsync has asked", "Go back to the address that adsync shows, and begin there.")
				if strays++; strays >= maxStrays {
					give(answer{err: &Error{Message: "too many answers came that belong to no question of this run", Hint: "something on this machine knocks at the port: choose another with --port"}})
				}
			case q.Get("error") != "":
				page(w, "No access was given", "adsync has been told. You can close this window.")
				give(answer{err: &Error{
					Refused: true, Message: fmt.Sprintf("%s says that no access was given: %s", p.Title, ads.Printable(q.Get("error")+" "+q.Get("error_description"), 200)), Hint: "run it again, and agree in the dialog",
				}})
			case q.Get("code") == "":
				w.WriteHeader(http.StatusBadRequest)
				page(w, "The answer has no code in it", "Try again.")
				give(answer{err: &Error{Refused: true, Message: p.Title + " came back without a code"}})
			default:
				page(w, "adsync has what it needs", "You can close this window and go back to the terminal.")
				give(answer{code: q.Get("code")})
			}
		}),
	}
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			give(answer{err: &Error{Message: "the redirect could not be served: " + err.Error()}})
		}
	}()
	defer func() {
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer stop()
		_ = srv.Shutdown(last) // the page that says so is still on its way
		_ = srv.Close()
	}()
	select {
	case a := <-answers:
		return a.code, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func page(w http.ResponseWriter, title, text string) {
	_, _ = fmt.Fprintf(w, "<!doctype html><html lang=en><meta charset=utf-8><title>adsync</title><style>body{font:1.1rem/1.6 system-ui;max-width:34rem;margin:18vh auto;padding:0 1rem;color-scheme:light dark}</style><h1>%s</h1><p>%s</p></html>",
		html.EscapeString(title), html.EscapeString(text))
}

// failed puts a refusal in the platform's own words, without what was sent.
func failed(title, what string, err error, app App, hidden ...string) error {
	e := &Error{Message: fmt.Sprintf("%s of %s failed", what, title)}
	words := ""
	if r, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		e.Refused = r.Response == nil || r.Response.StatusCode < 500
		words = r.ErrorCode + " " + r.ErrorDescription
		var x struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if json.Unmarshal(r.Body, &x) == nil && x.Error.Message != "" {
			words = x.Error.Message
		}
		e.Hint = "check the app's id and secret, and that the redirect address is allowed for it"
	} else {
		words = err.Error()
		e.Hint = "check the network and its proxies, and try again"
	}
	secrets := []secret.Text{app.Secret}
	for _, h := range hidden {
		secrets = append(secrets, secret.New(h))
	}
	e.Message += ": " + ads.Printable(secret.Clean(words, secrets...), 300)
	return e
}
