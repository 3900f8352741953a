// Package google reads secrets from Google Secret Manager by the vendor's client, over HTTP, with application default credentials.
//
// The client's retries and its log of requests, which a variable can switch on and which would show secrets, are switched off.
package google

import (
	"cmp"
	"context"
	"errors"
	"hash/crc32"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"unicode/utf8"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/httptransport"
	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/secret"
	"adsync/internal/vaults/internal/source"
)

const scope = "https://www.googleapis.com/auth/cloud-platform"

// Store is Google Secret Manager. It asks nobody before Fetch.
type Store struct {
	set    config.Google
	getenv func(string) string

	turn      chan struct{} // who holds it may use what follows
	creds     *auth.Credentials
	clients   map[string]*secretmanager.Client // by location; "": everywhere
	transport *http.Transport
	closing   sync.Once
}

// New gives the store that the settings and Google's variables name.
func New(s config.Secrets) *Store {
	return &Store{set: s.Google, getenv: s.Getenv, turn: make(chan struct{}, 1), clients: map[string]*secretmanager.Client{}}
}

const form = "write gcp:projects/P/secrets/S/versions/V#KEY; versions/V may be left away for the newest, and projects/P/secrets/ where the project is configured"

// wanted is a reference taken apart.
type wanted struct{ project, location, name, version string }

// Parse reads projects/P/secrets/S/versions/V and its short forms, and #KEY.
func (s *Store) Parse(ref string) (source.Reference, error) {
	doc, key, err := source.Cut(ref)
	if err != nil {
		return source.Reference{}, err
	}
	if _, ok := parse(doc); !ok {
		return source.Reference{}, source.Malformed("does not hold the name of a secret", form)
	}
	return source.Reference{Doc: doc, Key: key}, nil
}

// isProject, isName and isVersion know the characters that Google allows.
func isProject(s string) bool { return source.Of(s, 100, ".:-") }
func isName(s string) bool    { return source.Of(s, 255, "_-") }
func isVersion(s string) bool { return source.Of(s, 100, "_-") }

func parse(doc string) (w wanted, ok bool) {
	p := strings.Split(doc, "/")
	if len(p) > 3 && p[0] == "projects" {
		if w.project, p = p[1], p[2:]; !isProject(w.project) {
			return wanted{}, false
		}
		if len(p) > 3 && p[0] == "locations" {
			if w.location, p = p[1], p[2:]; !source.Of(w.location, 40, "-") {
				return wanted{}, false
			}
		}
		if p[0] != "secrets" {
			return wanted{}, false
		}
		p = p[1:]
	}
	w.name, w.version = p[0], "latest"
	if len(p) == 3 && p[1] == "versions" {
		w.version, p = p[2], p[:1]
	}
	return w, len(p) == 1 && isName(w.name) && isVersion(w.version)
}

func (w wanted) resource() string {
	r := "projects/" + w.project
	if w.location != "" {
		r += "/locations/" + w.location
	}
	return r + "/secrets/" + w.name + "/versions/" + w.version
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Fetch reads one version of a secret.
func (s *Store) Fetch(ctx context.Context, doc string) (*source.Document, error) {
	w, ok := parse(doc)
	if !ok {
		return nil, source.Malformed("does not hold the name of a secret", form)
	}
	c, creds, err := s.client(ctx, &w)
	if err != nil {
		return nil, err
	}
	// Getting the token apart tells trouble with it from trouble with the secret.
	token, err := creds.Token(ctx)
	if err != nil {
		return nil, s.noToken(ctx, err)
	}
	ctx, answer := source.Watch(ctx)
	out, err := c.AccessSecretVersion(ctx, &secretmanagerpb.AccessSecretVersionRequest{Name: w.resource()})
	if err != nil {
		e := failure(err, answer, secret.New(token.Value))
		if e.Kind == source.Expired {
			s.forget()
		}
		return nil, e
	}
	p := out.GetPayload()
	switch {
	case p == nil:
		return nil, &source.Error{Kind: source.BadAnswer, Message: "Google Secret Manager gave an answer without a payload", Hint: "check secrets: gcp: endpoint:, and what stands between"}
	case p.DataCrc32C != nil && int64(crc32.Checksum(p.GetData(), castagnoli)) != p.GetDataCrc32C():
		return nil, &source.Error{Kind: source.Unavailable, Message: "what Google Secret Manager sent was damaged on the way", Hint: "run again; if it lasts, look at what stands between"}
	case !utf8.Valid(p.GetData()):
		return nil, &source.Error{Kind: source.BadAnswer, Message: "what is kept there is not a text", Hint: "store the secret as a text"}
	}
	return source.Whole(p.GetData()), nil
}

// client gives the client for where w is kept, and fills in w's project.
func (s *Store) client(ctx context.Context, w *wanted) (*secretmanager.Client, *auth.Credentials, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, nil, source.Network("Google", ctx.Err(), "others are logging in at the same time; run again")
	}
	if s.creds == nil {
		if err := s.open(); err != nil {
			return nil, nil, err
		}
	}
	if w.project == "" {
		w.project = cmp.Or(s.set.Project, s.getenv("GOOGLE_CLOUD_PROJECT"), s.getenv("GCLOUD_PROJECT"))
	}
	if w.project == "" {
		w.project, _ = s.creds.ProjectID(ctx)
	}
	if !isProject(w.project) {
		return nil, nil, &source.Error{Kind: source.Misconfigured, Message: "the reference names no project, and none is configured", Hint: "write projects/P/secrets/S, or set GOOGLE_CLOUD_PROJECT or secrets: gcp: project:"}
	}
	if c := s.clients[w.location]; c != nil {
		return c, s.creds, nil
	}
	hc, err := httptransport.NewClient(&httptransport.Options{
		Credentials: s.creds, BaseRoundTripper: source.Transport{Base: s.transport}, DisableTelemetry: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, &source.Error{Kind: source.Misconfigured, Message: "the credentials for Google cannot be used", Hint: "check GOOGLE_APPLICATION_CREDENTIALS"}
	}
	hc.CheckRedirect = source.Stay
	opts := []option.ClientOption{option.WithHTTPClient(hc), option.WithLogger(slog.New(slog.DiscardHandler))}
	switch {
	case s.set.Endpoint != "":
		opts = append(opts, option.WithEndpoint(s.set.Endpoint))
	case w.location != "":
		opts = append(opts, option.WithEndpoint("https://secretmanager."+w.location+".rep.googleapis.com"))
	}
	c, err := secretmanager.NewRESTClient(context.WithoutCancel(ctx), opts...)
	if err != nil {
		return nil, nil, &source.Error{Kind: source.Misconfigured, Message: "the client for Google Secret Manager cannot be set up", Hint: "check secrets: gcp: endpoint:, and Google's variables"}
	}
	c.CallOptions.AccessSecretVersion = nil
	s.clients[w.location] = c
	return c, s.creds, nil
}

// open finds the credentials; the turn is held. Where there are none at all it asks whether this is a machine of Google's.
func (s *Store) open() error {
	if s.transport == nil {
		s.transport = http.DefaultTransport.(*http.Transport).Clone()
		s.transport.DialContext = (&net.Dialer{Timeout: source.DialWithin}).DialContext
		source.Bound(s.transport)
	}
	opts := &credentials.DetectOptions{
		Scopes: []string{scope}, Logger: slog.New(slog.DiscardHandler),
		Client: &http.Client{Transport: source.Transport{Base: s.transport}, CheckRedirect: source.Stay},
	}
	file := cmp.Or(s.set.Credentials, s.getenv("GOOGLE_APPLICATION_CREDENTIALS"))
	//lint:ignore SA1019 the file is named by the operator, and may be of any type that Google issues
	opts.CredentialsFile = file
	creds, err := credentials.DetectDefault(opts)
	if err != nil {
		e := &source.Error{Kind: source.LoginRefused, Message: "there are no credentials for Google", Hint: "set GOOGLE_APPLICATION_CREDENTIALS, run gcloud auth application-default login, or run on a machine of Google's"}
		if file != "" {
			e.Kind, e.Message, e.Hint = source.Misconfigured, "the credentials for Google cannot be read from "+ads.Printable(file, 200), "the file must exist, be readable by this user, and hold credentials as Google issues them"
		}
		return e
	}
	s.creds = creds
	return nil
}

// noToken explains why Google gives no token. Of a refusal only its code is told: credentials may be a part of its words.
func (s *Store) noToken(ctx context.Context, err error) *source.Error {
	e, ok := errors.AsType[*auth.Error](err)
	if !ok || e.Response == nil {
		return source.Network("what gives out Google's tokens", cmp.Or(ctx.Err(), err), "check what stands between (proxy, firewall), and the credentials")
	}
	status := e.Response.StatusCode
	if status >= 500 || status == http.StatusTooManyRequests {
		return source.Server("what gives out Google's tokens", status, "", 0)
	}
	s.forget()
	return &source.Error{Kind: source.LoginRefused, Status: status, Message: "Google gives no token for these credentials", Hint: "check that they have not ended or been taken back: gcloud auth application-default login, or a new key"}
}

// forget has the credentials read anew the next time: the file may have been changed, or the token taken back.
func (s *Store) forget() {
	s.turn <- struct{}{} // whoever has it is bounded by its own context
	defer func() { <-s.turn }()
	s.creds, s.clients = nil, map[string]*secretmanager.Client{} // not closed: others may be using them
}

// failure makes an error of ours from one of the client's.
func failure(err error, answer *source.Answer, token secret.Text) *source.Error {
	const where = "Google Secret Manager"
	status := answer.Status()
	g, ok := errors.AsType[*googleapi.Error](err)
	said := ""
	if ok {
		said = source.Said(g.Message, token)
	}
	says := func(kind source.Kind, hint string) *source.Error {
		m := where + " refuses"
		if said != "" {
			m = where + " says: " + said
		}
		return &source.Error{Kind: kind, Status: status, Message: m, Hint: hint}
	}
	switch {
	case status == 0:
		return source.Network(where, err, "check secrets: gcp: endpoint:, and what stands between (proxy, firewall)")
	case status >= 200 && status < 300:
		return &source.Error{Kind: source.BadAnswer, Status: status, Message: where + " gave an answer that is not its own", Hint: "check secrets: gcp: endpoint:, and what stands between"}
	case status >= 300 && status < 400:
		to := "elsewhere"
		if u, err := url.Parse(answer.Header("Location")); err == nil && u.Host != "" {
			to = "to " + ads.Printable(u.Host, 100)
		}
		return &source.Error{Kind: source.Misconfigured, Status: status, Message: where + " sends its callers " + to + ", and the token goes to no host that was not named", Hint: "check secrets: gcp: endpoint:"}
	case status >= 500 || status == http.StatusTooManyRequests:
		return source.Server(where, status, said, answer.Wait())
	case status == http.StatusNotFound:
		return says(source.NoSecret, "check project, name and version")
	case status == http.StatusForbidden:
		return says(source.Denied, "the identity needs the role Secret Manager Secret Accessor on the secret, and the API must be enabled in the project")
	case status == http.StatusUnauthorized:
		return says(source.Expired, "get new credentials: gcloud auth application-default login, or a new key; check this machine's clock")
	case status == http.StatusBadRequest && (strings.Contains(said, "DESTROYED") || strings.Contains(said, "DISABLED")):
		return says(source.NoSecret, "enable the version, or refer to another")
	}
	return says(source.BadAnswer, "check the reference")
}

// Close lets go of connections.
func (s *Store) Close() {
	s.closing.Do(func() {
		s.turn <- struct{}{} // whoever has it is bounded by its own context
		defer func() { <-s.turn }()
		if s.transport != nil {
			s.transport.CloseIdleConnections()
		}
	})
}
