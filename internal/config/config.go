package config

import (
	"time"

	"adsync/internal/ads"
	"adsync/internal/quota"
	"adsync/internal/secret"
)

// Config is everything that a command needs to know about what to sync and where to.
type Config struct {
	Database    Database
	Web         Web
	Notify      Notify
	TokenKeys   []secret.Text // what tokens are sealed with: the first seals, all open; none: they are kept in memory
	Connections []Connection  // in the order of the file; never empty
	Environment string        // of the file: "production", …; empty where it does not say
	Source      string        // the configuration file as it was named, or "environment"
	Warnings    []Problem     // for the user; under Strict and in production they are errors instead
	Notes       []string      // worth an info line: what was set and not used

	strict    bool            // a warning is an error
	late      []lateSecret    // in the order of their connections
	index     map[ads.Ref]int // of Connections
	resolvers map[string]Resolver
}

// Production is the environment in which warnings are errors.
const Production = "production"

// Database says where the records go.
type Database struct {
	Engine  string      // "sqlite" or "postgres"; empty until Resolve where the address is a remote secret
	Path    string      // sqlite: the file, relative to the working directory
	DSN     secret.Text // postgres: the URL with everything in it
	Display string      // for people: never with a password
}

// The engines.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Connection is one client's way into one platform, complete: every default is filled in.
type Connection struct {
	Ref      ads.Ref
	Platform string
	URL      string // normalised: lower-case scheme and host, no default port, no trailing slash

	CA string // PEM: the authorities that the platform's certificate is checked against; empty: the system's

	Email, Password  secret.Text
	Credentials      secret.Bag // what else the platform logs in with, by the names of its settings: "access_token"
	CredentialSource string     // of the password: "env ACME_PASSWORD", "adsync.yaml line 9", "file /run/secrets/acme"

	XClientID     string // the X-Client-ID, where it is sent
	SendXClientID bool

	Quota           []quota.Limit // none: the platform is believed to have no limit
	PageSize        int
	PerCampaignSync bool
	Timeout         time.Duration // per attempt
	MaxElapsed      time.Duration // of retries of one request, waits for quotas and waits that the server asked for not counted
	Concurrency     int           // requests in flight; 0: found out automatically
	MaxListingSlack int           // pages read past the promised end of a listing
	Schedule        Schedule

	Network Network // of a platform with ad accounts
}

// SameLogin says that both log in with the same credentials.
func (c Connection) SameLogin(d Connection) bool {
	return c.Email.Equal(d.Email) && c.Password.Equal(d.Password) && c.Credentials.Equal(d.Credentials)
}

// Logins are the secrets that the connection logs in with, in a fixed order; the e-mail address, which is none, is the first.
func (c Connection) Logins() []secret.Text {
	return append([]secret.Text{c.Email, c.Password}, c.Credentials.All()...)
}

// Limits of what a configuration may hold. They are far above any real use and keep a broken or hostile file from costing time or memory.
const (
	maxFile        = 4 << 20
	maxEnvFile     = 1 << 20
	maxSecretFile  = 64 << 10
	maxCAFile      = 1 << 20
	maxConnections = 100_000
	maxProblems    = 1000
)
