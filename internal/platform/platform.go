// Package platform is the contract between the engine and the connectors. A connector describes requests and reads answers;
// the engine owns every loop, the client (package apiclient) every wait, token, time-out and try.
//
// A connector imports this package and ads, and nothing else of adsync.
package platform

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"time"

	"adsync/internal/ads"
)

// Platform is one ad platform as one connection sees it. Spec and Classify are pure; Accounts and Step do I/O, and only
// through the Caller. A Platform is used by many goroutines at once.
type Platform interface {
	Spec() Spec

	// Classify is called for every answer, good or bad, before anybody reads its body as data.
	Classify(Reply) Verdict

	// Accounts yields the ad accounts that the connection can read. A platform without that notion yields one.
	// An error alone ends the listing. One that comes with an account is about that account, or what is below it: it is kept as a failure, and the others go on.
	Accounts(ctx context.Context, api Caller) iter.Seq2[ads.Account, error]

	// Step reads one page of a listing, from the place that t.Cursor names (empty: the beginning), and calls emit once for
	// each item of the page in its order. It keeps nothing between calls: a step done twice emits the same page.
	// An error of emit is returned as it is.
	Step(ctx context.Context, api Caller, t Task, emit func(ads.Record) error) (Next, error)
}

// Follower is a Platform that needs one more call per listed record. The record counts as synced, and is stored, only when
// Follow has returned nil. Follow may be called twice for one record when a process dies in between.
type Follower interface {
	Platform
	Follow(ctx context.Context, api Caller, t Task, id string) error
}

// Decoder is a Platform without ad accounts of its own that can read one record again from the JSON kept with a failure, so that it can be retried alone.
// With accounts, the account is read again: what a record means depends on it.
type Decoder interface {
	Platform
	Decode(t Task, raw []byte) ads.Record
}

// Authenticator is a Platform whose credentials are exchanged for a token first. The client keeps the token, shares it and renews it.
type Authenticator interface {
	Platform
	// TokenRequest describes the exchange. The client sends it outside the quota.
	TokenRequest() Request
	// ParseToken reads a good answer to it. Life ≤ 0 means that the platform did not say.
	ParseToken(Reply) (Token, error)
}

// Spec is what a connector declares about itself and its connection: data.
type Spec struct {
	Name        string        // "adplatform"
	Streams     []Stream      // in the order in which they are synced
	IdleTimeout time.Duration // close idle connections before the platform does; 0: 30 s
	HealthPath  string        // a path that is neither authenticated nor counted, asked when an outage is suspected; empty: none
	Origins     []string      // other origins ("https://oauth2.example.com") that its requests may name
	Accounts    bool          // it has ad accounts of its own: they are read side by side, and one that fails does not stop the others
	Reports     Reports       // what daily figures it gives; zero: none
	Version     Version       // of the API, as this connection asks for it; zero: it has no versions
}

// Version is a version of an API: data.
type Version struct {
	Name     string   // "v26.0"
	Released ads.Date // zero: not known
	Sunset   ads.Date // the day from which it no longer works; zero: not known yet
}

// VersionWarning is how many days before its end a version is warned about.
const VersionWarning = 60

// Ending says, of a version that is switched off soon or has been, what there is to say; nothing of others.
func (v Version) Ending(now time.Time) string {
	if v.Sunset.IsZero() {
		return ""
	}
	switch days := v.Sunset.Sub(ads.DateOf(now.UTC())); {
	case days <= 0:
		return fmt.Sprintf("version %s of the platform's API was switched off on %s", v.Name, v.Sunset)
	case days <= VersionWarning:
		return fmt.Sprintf("version %s of the platform's API is switched off on %s, in %d days", v.Name, v.Sunset, days)
	}
	return ""
}

// VersionNamed finds a version; one that is not in the list is known by its name alone.
func VersionNamed(list []Version, name string) Version {
	for _, v := range list {
		if v.Name == name {
			return v
		}
	}
	return Version{Name: name}
}

// Stream is a kind of record of an account.
type Stream struct {
	Name       string // a stream of ads: "campaigns"
	FollowUps  bool   // each record needs Follow
	PageRows   int    // rows that a page is asked for
	RecordName string // for people: "campaign"
}

// Task is what one Step works on.
type Task struct {
	Account ads.Account
	Stream  string
	RunID   string // the same for all lives of a run; the ground of idempotency keys
	Cursor  string // where to read on: written by the connector, opaque to the engine, small, without secrets
}

// Next is what a Step learnt about its place in the listing. The platform's claims may contradict each other: the engine decides.
type Next struct {
	Cursor   string           // the next page; empty where the platform has no further page to name
	More     ads.Opt[bool]    // the platform's own word on whether more follows; unset where it does not say
	Total    ads.Opt[int64]   // how many records the platform says there are
	Page     int              // counted from 1; 0 where pages have no number
	Findings []ads.Problem    // what did not add up on this page, for the run's notes (EntityID is not used)
	Echo     ads.Opt[EchoErr] // the answer is about another page than the one asked for
}

// EchoErr names what was asked and what the answer says it is.
type EchoErr struct{ Asked, Got string }

// Caller sends requests. Authentication, quota, retries, time-outs, caps and metrics are behind it.
// The error is an *ads.Error or the context's.
type Caller interface {
	Do(ctx context.Context, r Request) (Reply, error)
}

// Priority orders the waiters of one quota bucket.
type Priority int

// Listing goes first: follow-ups can only be found by it.
const (
	PriorityListing Priority = iota
	PriorityFollowUp
	PriorityBackfill
)

// Request is one logical request. Whether it may be repeated is its own property, not its method's.
type Request struct {
	Endpoint   string      // a label for logs and metrics, from a small fixed set: "list campaigns"
	Method     string      // "GET"
	Origin     string      // one of the Spec's Origins; empty: the connection's own URL
	Path       string      // below the base URL, already percent-encoded, with one slash in front: "/api/campaigns". A link is none: it is refused
	Query      string      // already encoded
	Header     http.Header // without Authorization
	Body       []byte      // nil: none
	Repeatable bool        // sending it twice does no harm
	Critical   bool        // the run cannot do without it: up to 8 tries instead of 5 while its endpoint answers nobody
	NoAuth     bool        // carries no bearer token
	Basic      bool        // carries the credentials as HTTP Basic instead of a token
	Uncounted  bool        // draws from no quota
	Priority   Priority
	// Scope names what a throttle of this request is about where that is less than the whole connection: "account 123". Small and bounded in number.
	Scope string

	// Seal, where given, completes a copy of the request with secrets, right before each attempt: headers, query and body are its to change, method,
	// origin and path are not. Nothing of the copy is logged or kept.
	Seal func(s Secrets, r *Request)

	// Parse, where given, reads the body of an answer that Classify found good, inside the attempt: an *ads.Error of class
	// bad_reply that it returns is retried like any other failure. It is called once per good answer, so it starts from
	// nothing each time; what the last call kept is the result.
	Parse func(Reply) error
}

// Secrets are what a request may be completed with.
type Secrets interface {
	// Credential is the connection's credential of that name ("client_secret"), empty where it has none.
	Credential(name string) string
	// Token is the token that the request goes out with, empty where it has none.
	Token() string
}

// Reply is an answer whose body was read whole (decompressed, capped at 32 MiB). The body belongs to the receiver.
type Reply struct {
	Endpoint string
	Status   int
	Header   http.Header
	Body     []byte
}

// Verdict is what an answer means.
type Verdict struct {
	Class   ads.Class
	Wait    ads.Opt[time.Duration] // what the body asks for; headers (Retry-After, RateLimit-*) are read by the client
	Code    string
	Message string // safe to print
	Hint    string
	// RequestID is the platform's own id of the request, for its support.
	RequestID string
	// NotCounted says that the platform does not count this answer against the quota (a refusal, as a rule).
	NotCounted bool
	// Whole says that a throttled answer is about everything that the connection asks, not only the request's Scope.
	Whole bool
	// Usage is the share of a quota that the platform says is used, 0 to 1 and above; unset where it does not say.
	Usage ads.Opt[float64]
	// Hold asks, with a good answer, that requests of the same Scope stay away for so long, since almost all of its quota is used.
	Hold time.Duration
}

// Token is a bearer token as the platform gave it.
type Token struct {
	Value       string
	Life        time.Duration // from receipt; ≤ 0: unknown
	Refresh     string        // what the next one is had with; empty in an answer: the one before still holds
	RefreshLife time.Duration // from receipt; ≤ 0: unknown, or as before
	Scope       string        // what it is good for, in the platform's words
}

// Format hides the values, however a token is printed.
func (Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("***")) }

// The credentials that a Refresher begins with, by their names in the configuration.
const (
	CredentialAccessToken  = "access_token"
	CredentialRefreshToken = "refresh_token"
)

// Refresher is a Platform whose tokens are had from earlier ones: by a refresh token, or by an exchange of a token that still is good. The first comes
// from the configuration (CredentialAccessToken, CredentialRefreshToken); those that follow are kept, and beat the configured one that they were made from.
//
// A Refresher that is an Authenticator too logs in where it has no earlier token, or one that is refused.
type Refresher interface {
	Platform
	// RefreshRequest describes how current is renewed; one without a method says that it cannot be, or need not be. What else goes into it
	// (a client's secret) is put in by its Seal. It may name one of the Spec's Origins. The client sends it outside the quota, and repeats it
	// only where it is Repeatable: one that rotates the refresh token is not.
	RefreshRequest(current Token) Request
	// ParseToken reads a good answer to it.
	ParseToken(Reply) (Token, error)
}
