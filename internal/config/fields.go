package config

import (
	"strings"
	"time"

	"adsync/internal/quota"
	"adsync/internal/secret"
)

// Field is one setting: what it is called, means and may be. Validation, schema and reference are made from it.
type Field struct {
	Name     string // in the file; a dot descends: "credentials.email"
	Env      string // the variable that gives it where there is no file; empty: none
	Type     string // for people
	Allowed  string // for people
	Default  string // as one would write it; empty: none
	Implied  string // for people: what stands in where Default cannot say it
	Required bool
	Secret   bool // never shown
	Help     string
	Example  string

	kind  *kind
	clear bool // though secret, it may stand in the file in clear
	set   func(*Connection, any)
}

// PlatformOptions are the settings that connections to one platform have, in the order in which they are documented.
type PlatformOptions struct {
	Name   string // what `platform:` says
	Title  string
	Fields []Field

	// missing says what is wrong where no field alone is required: the field, what, and the cure; an empty name where all is well.
	missing func(given func(name string) bool) (name, message, cure string)
}

// Platforms are those of this build.
func Platforms() []PlatformOptions { return []PlatformOptions{adplatform(), meta(), googleads()} }

func field(f Field, k *kind, set func(*Connection, any)) Field {
	f.kind, f.Type, f.Allowed, f.set = k, k.name, k.allowed, set
	return f
}

// caFile is a setting that any platform's connections may have.
const caFile = "ca_file"

// AdPlatform is the name of the first platform, and of the connection that the environment describes.
const AdPlatform = "adplatform"

func adplatform() PlatformOptions {
	return PlatformOptions{Name: AdPlatform, Title: "Ad Platform API", Fields: []Field{
		field(Field{
			Name: "url", Env: "AD_PLATFORM_API_URL", Required: true, Example: "https://ads.example.com",
			Help: "Where the API is. A path is kept and goes in front of every request's. Plain http beyond this machine draws a warning, since it carries the password in clear.",
		}, baseURL, func(c *Connection, v any) { c.URL = v.(string) }),
		field(Field{
			Name: caFile, Env: "AD_PLATFORM_CA_FILE", Implied: "the system's authorities", Example: "/etc/ssl/ads-ca.pem",
			Help: "A file (PEM) with the authorities that the platform's certificate is checked against, instead of the system's. It is always checked. Under `defaults:` it holds for all connections; a relative path begins at the configuration file's folder. The file is read at the start and at SIGHUP.",
		}, fileName, func(*Connection, any) {}), // what the file holds is set by who reads it
		field(Field{
			Name: "credentials.email", Env: "AD_PLATFORM_EMAIL", Required: true, Secret: true, clear: true, Example: "${ACME_EMAIL}",
			Help: "Who logs in.",
		}, login, func(c *Connection, v any) { c.Email = secret.New(v.(string)) }),
		field(Field{
			Name: "credentials.password", Env: "AD_PLATFORM_PASSWORD", Required: true, Secret: true, Example: "${ACME_PASSWORD}",
			Help: "The password that goes with it. Written in clear it draws a warning.",
		}, credential, func(c *Connection, v any) { c.Password = secret.New(v.(string)) }),
		field(Field{
			Name: "x_client_id", Env: "AD_PLATFORM_CLIENT_ID", Implied: "the client's id; by environment: not sent", Example: "acme",
			Help: "The `X-Client-ID` header: the platform counts its quota per URL and this name. Empty: not sent.",
		}, headerValue, func(c *Connection, v any) { c.XClientID = v.(string); c.SendXClientID = c.XClientID != "" }),
		field(Field{
			Name: "quota", Env: "AD_PLATFORM_QUOTA", Default: "10/1m", Example: "[10/1m, 5000/1d]",
			Help: "How many requests are allowed in any window of that length. Several hold together. `none`: no limit is known.",
		}, quotas, func(c *Connection, v any) { c.Quota = v.([]quota.Limit) }),
		field(Field{
			Name: "page_size", Env: "AD_PLATFORM_PAGE_SIZE", Default: "10", Example: "100",
			Help: "How many campaigns a page is asked for. The server may give other pages; what it gives counts.",
		}, wholeNumber(1, 10_000), func(c *Connection, v any) { c.PageSize = v.(int) }),
		field(Field{
			Name: "per_campaign_sync", Env: "AD_PLATFORM_PER_CAMPAIGN_SYNC", Default: "true", Example: "false",
			Help: "Whether each listed campaign is synced by a call of its own before it is stored. `false` lists and stores only.",
		}, boolean, func(c *Connection, v any) { c.PerCampaignSync = v.(bool) }),
		field(Field{
			Name: "timeout", Env: "AD_PLATFORM_TIMEOUT", Default: "30s", Example: "1m",
			Help: "How long one attempt of a request may take, its answer's body included.",
		}, duration(100*time.Millisecond, 10*time.Minute), func(c *Connection, v any) { c.Timeout = v.(time.Duration) }),
		field(Field{
			Name: "max_elapsed", Env: "AD_PLATFORM_MAX_ELAPSED", Default: "10m", Example: "30m",
			Help: "How long one request may be retried. Waits for a quota, and waits that the server asked for, are not counted.",
		}, duration(100*time.Millisecond, 24*time.Hour), func(c *Connection, v any) { c.MaxElapsed = v.(time.Duration) }),
		field(Field{
			Name: "concurrency", Default: "auto", Example: "8",
			Help: "How many requests are in flight at most. `auto` takes as many as quota and latency call for.",
		}, autoOr(wholeNumber(1, 256)), func(c *Connection, v any) { c.Concurrency = v.(int) }),
		field(Field{
			Name: "max_listing_slack", Default: "20", Example: "100",
			Help: "How many pages are read beyond the end that a listing promised, while the platform contradicts itself.",
		}, wholeNumber(1, 10_000), func(c *Connection, v any) { c.MaxListingSlack = v.(int) }),
		field(Field{
			Name: "schedule", Default: "every 15m", Example: `"*/15 * * * *"`,
			Help: "How often `adsync serve` syncs the connection. Cron times are UTC.",
		}, schedules, func(c *Connection, v any) { c.Schedule = v.(Schedule) }),
	}}
}

// The settings around the connections, by level of the file.
var (
	rootFields = []Field{
		field(Field{
			Name: "database", Default: DefaultDatabase, Example: "postgres://adsync@db.example.com:5432/ads", Secret: true,
			Help: "Where the records go: `sqlite:PATH`, or a `postgres://` URL with any parameters. A relative path begins at the working directory.",
		}, databases, nil),
		field(Field{
			Name: "environment", Example: Production,
			Help: "`production` makes errors of all warnings, as `--strict` does.",
		}, word(Production, "staging", "development", "test"), nil),
		field(Field{
			Name: "secrets",
			Help: "How the stores that `vault:`, `aws:` and `gcp:` name are reached, where their own variables do not say it.",
		}, structure("settings of the stores of secrets"), nil),
		field(Field{
			Name: "token_key", Secret: true, Implied: "tokens are kept in memory, by each process for itself", Example: "${ADSYNC_TOKEN_KEY}",
			Help: "The key that access and refresh tokens are sealed with in the database, so that all processes share them: `openssl rand -base64 32`. In a list the first seals and all open, which is how a key is replaced ([secrets.md](secrets.md#tokens)).",
		}, tokenKey, nil),
		field(Field{
			Name: "web",
			Help: "Where the dashboard of `adsync serve` is, and what it takes to look at it.",
		}, structure("settings of the dashboard"), nil),
		field(Field{
			Name: "notify",
			Help: "Who is told of trouble while `adsync serve` is at work.",
		}, structure("settings of notifications"), nil),
		field(Field{
			Name: "defaults",
			Help: "Any setting of a connection, for all connections that do not say otherwise themselves.",
		}, structure("settings of a connection"), nil),
		field(Field{
			Name: "clients", Required: true,
			Help: "Whose campaigns are synced.",
		}, structure("a list of clients"), nil),
	}
	clientFields = []Field{
		field(Field{
			Name: "id", Required: true, Example: "acme",
			Help: "The client's id, of your choosing. It is stored with every record, so it must not change. Two clients may not differ by case alone.",
		}, clientID, nil),
		field(Field{
			Name: "connections", Required: true,
			Help: "The client's ways into ad platforms.",
		}, structure("a list of connections"), nil),
	}
	connectionFields = []Field{
		field(Field{
			Name: "platform", Required: true, Example: AdPlatform,
			Help: "Which platform the connection is for.",
		}, text("platform", "the name of a platform", 100, nil), nil),
		field(Field{
			Name: "name", Implied: "the platform's name", Example: "adplatform-eu",
			Help: "The connection's name, unique within the client. Needed where a client has two connections to one platform.",
		}, connectionName, nil),
	}
)

// structure is what is not a value: its own code walks it.
func structure(allowed string) *kind { return &kind{name: "structure", allowed: allowed} }

// byName finds a field of a table; the tables are fixed, so a name that is not there is a bug.
func byName(fields []Field, name string) *Field {
	for i := range fields {
		if fields[i].Name == name {
			return &fields[i]
		}
	}
	panic("config: no field " + name)
}

// DefaultDatabase is used where none is named.
const DefaultDatabase = "sqlite:adsync.db"

// keysBelow are the keys that fields have at one level: prefix "" or "credentials.".
func keysBelow(fields []Field, prefix string) []string {
	var keys []string
	for _, f := range fields {
		rest, ok := strings.CutPrefix(f.Name, prefix)
		if !ok {
			continue
		}
		key, _, _ := strings.Cut(rest, ".")
		if len(keys) == 0 || keys[len(keys)-1] != key {
			keys = append(keys, key)
		}
	}
	return keys
}
