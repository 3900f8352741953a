package config

import (
	"cmp"
	"maps"
	"strings"
	"time"

	"adsync/internal/secret"
)

// Secrets says how the stores of secrets are reached.
type Secrets struct {
	Cache  time.Duration // how long what was read may be used without asking again
	Vault  Vault
	AWS    AWS
	Google Google

	// Getenv gives variables as adsync sees them: those of the environment, then those of the .env file; empty where there is none.
	Getenv func(name string) string
}

// Vault are the settings for vault:. What is empty is left to the VAULT_ variables.
type Vault struct {
	Address, Namespace, CACert string
	Auth                       string // AuthToken, AuthAppRole or AuthKubernetes; never empty
	Mount                      string // where the way to log in is mounted; never empty
	Role, JWTFile              string // of Kubernetes
	Token, RoleID, SecretID    Kept
}

// The ways to log in to Vault.
const (
	AuthToken      = "token"
	AuthAppRole    = "approle"
	AuthKubernetes = "kubernetes"
)

// AWS are the settings for aws:. What is empty is left to the SDK's own variables and files.
type AWS struct{ Region, Profile string }

// Google are the settings for gcp:. What is empty is left to the application default credentials.
type Google struct{ Project, Credentials, Endpoint string }

// Kept reads a secret that this machine keeps, each time anew. Nil where none is named.
type Kept func() (secret.Text, error)

// DefaultCache is how long a secret may be used without asking the store again.
const DefaultCache = 5 * time.Minute

// ownSecret is a credential for a store of secrets.
var ownSecret = func() *kind {
	k := *credential
	k.name, k.allowed = "text or local reference", "${NAME}, env:NAME or file:PATH"
	return &k
}()

var (
	fileName  = text("path", "the path of a file", 1000, nil)
	storeName = text("text", "a name of up to 200 bytes", 200, nil)
)

// secretFields are the settings below secrets:.
var secretFields = []Field{
	field(Field{
		Name: "cache", Default: "5m", Example: "1m",
		Help: "How long what a store said is used without asking again. Credentials that a platform refuses are asked for at once.",
	}, duration(time.Second, time.Hour), nil),
	field(Field{
		Name: "vault.address", Implied: "`VAULT_ADDR`, else `https://127.0.0.1:8200`", Example: "https://vault.example.com:8200",
		Help: "Where Vault is. Plain http beyond this machine draws a warning.",
	}, baseURL, nil),
	field(Field{
		Name: "vault.namespace", Implied: "`VAULT_NAMESPACE`", Example: "marketing",
		Help: "The namespace in which login and secrets are.",
	}, storeName, nil),
	field(Field{
		Name: "vault.ca_cert", Implied: "`VAULT_CACERT`, `VAULT_CACERT_BYTES`, `VAULT_CAPATH`, else the system's", Example: "/etc/ssl/vault-ca.pem",
		Help: "The authorities (PEM) that Vault's certificate is checked against. It is always checked.",
	}, fileName, nil),
	field(Field{
		Name: "vault.auth", Implied: "the one whose settings are given, else `token`", Example: "approle",
		Help: "How adsync logs in.",
	}, word(AuthToken, AuthAppRole, AuthKubernetes), nil),
	field(Field{
		Name: "vault.mount", Implied: "the name of the way to log in", Example: "approle-prod",
		Help: "Where that way to log in is mounted, without `auth/`.",
	}, storeName, nil),
	field(Field{
		Name: "vault.token", Implied: "`VAULT_TOKEN`, else the file `~/.vault-token`", Secret: true, Example: "file:/run/secrets/vault-token",
		Help: "The token, for `auth: token`.",
	}, ownSecret, nil),
	field(Field{
		Name: "vault.role_id", Secret: true, clear: true, Example: "env:VAULT_ROLE_ID",
		Help: "Who logs in, for `auth: approle`.",
	}, ownSecret, nil),
	field(Field{
		Name: "vault.secret_id", Implied: "none is sent", Secret: true, Example: "file:/run/secrets/vault-secret-id",
		Help: "The secret id that goes with it.",
	}, ownSecret, nil),
	field(Field{
		Name: "vault.role", Example: "adsync",
		Help: "The role to log in as, for `auth: kubernetes`.",
	}, storeName, nil),
	field(Field{
		Name: "vault.jwt_file", Implied: "the pod's service account token", Example: "/var/run/secrets/tokens/vault",
		Help: "The file with the service account token. It is read at each login.",
	}, fileName, nil),
	field(Field{
		Name: "aws.region", Implied: "`AWS_REGION`, else the profile's; an ARN names its own", Example: "eu-central-1",
		Help: "The region of Secrets Manager.",
	}, storeName, nil),
	field(Field{
		Name: "aws.profile", Implied: "`AWS_PROFILE`", Example: "marketing",
		Help: "The profile of the shared configuration files.",
	}, storeName, nil),
	field(Field{
		Name: "gcp.project", Implied: "`GOOGLE_CLOUD_PROJECT`, else the credentials' own", Example: "marketing-prod",
		Help: "The project of references that name none.",
	}, storeName, nil),
	field(Field{
		Name: "gcp.credentials", Implied: "`GOOGLE_APPLICATION_CREDENTIALS`, else what the machine offers", Example: "/run/secrets/google.json",
		Help: "The file with the credentials: a service account's key, or a federation's settings.",
	}, fileName, nil),
	field(Field{
		Name: "gcp.endpoint", Implied: "Google's", Example: "https://secretmanager.internal.example.com",
		Help: "Where Secret Manager is reached, for private endpoints. Plain http beyond this machine draws a warning.",
	}, baseURL, nil),
}

// stores reads secrets: and opens the stores.
func (l *loader) stores(n *node) {
	s := Secrets{Cache: DefaultCache, Getenv: l.getenv()}
	given := map[string]setting{}
	if n != nil && n.kind != nullNode {
		given = l.settings(setting{n, "secrets"}, secretFields)
	}
	text := map[string]string{}
	kept := map[string]Kept{}
	for i := range secretFields {
		f := &secretFields[i]
		at, has := given[f.Name]
		if !has {
			continue
		}
		v, in, ok := l.read(f, at, ofStore)
		if !ok {
			continue
		}
		switch {
		case f.Name == "cache":
			s.Cache = v.(time.Duration)
		case f.Secret:
			if in.scheme == "" && in.literal && !f.clear {
				l.clear(in)
			}
			value := secret.New(v.(string))
			kept[f.Name] = func() (secret.Text, error) { return value, nil }
			if in.scheme == "file" {
				kept[f.Name] = func() (secret.Text, error) {
					v, _, err := l.files.read(in.text)
					return v, err
				}
			}
		default:
			text[f.Name] = v.(string)
			if f.kind == baseURL && PlainBeyondLoopback(v.(string)) {
				l.r.warn(in.at, in.path, showURL(in.written), "sends secrets in clear: http, to another machine", "write https://")
			}
		}
	}
	s.Vault = Vault{
		Address: text["vault.address"], Namespace: text["vault.namespace"], CACert: text["vault.ca_cert"], Auth: text["vault.auth"], Mount: strings.Trim(text["vault.mount"], "/"),
		Role: text["vault.role"], JWTFile: text["vault.jwt_file"], Token: kept["vault.token"], RoleID: kept["vault.role_id"], SecretID: kept["vault.secret_id"],
	}
	l.vaultLogin(&s.Vault, given)
	s.AWS = AWS{Region: text["aws.region"], Profile: text["aws.profile"]}
	s.Google = Google{Project: text["gcp.project"], Credentials: text["gcp.credentials"], Endpoint: text["gcp.endpoint"]}
	if l.opts.Stores != nil {
		maps.Copy(l.cfg.resolvers, l.opts.Stores(s))
	}
}

// ways are the ways to log in to Vault, with the settings that belong to each; the first of them is what it cannot do without.
var ways = []struct {
	name string
	keys []string
}{
	{AuthAppRole, []string{"vault.role_id", "vault.secret_id"}},
	{AuthKubernetes, []string{"vault.role", "vault.jwt_file"}},
	{AuthToken, []string{"vault.token"}},
}

// vaultLogin finds out how to log in to Vault, and blames settings that contradict each other.
func (l *loader) vaultLogin(v *Vault, given map[string]setting) {
	path := func(key string) string { return "secrets." + key }
	if _, said := given["vault.auth"]; !said {
		for _, w := range ways {
			if _, has := given[w.keys[0]]; has && v.Auth == "" {
				v.Auth = w.name
			}
		}
		v.Auth = cmp.Or(v.Auth, AuthToken)
	}
	for _, w := range ways {
		for i, key := range w.keys {
			at, has := given[key]
			switch {
			case v.Auth == "": // not readable, which was said
			case has && w.name != v.Auth && at.node != nil:
				l.r.at(at.node.at, path(key), "", "is for auth: "+w.name+", and the login is by "+v.Auth, "remove it, or write auth: "+w.name)
			case !has && i == 0 && w.name == v.Auth && w.name != AuthToken:
				l.r.at(given["vault.auth"].node.at, path(key), "", "is missing", "auth: "+w.name+" needs it")
			}
		}
	}
	v.Mount = cmp.Or(v.Mount, v.Auth)
}

// getenv gives the variables to the stores, and notes for none of them that it was used.
func (l *loader) getenv() func(string) string {
	return func(name string) string {
		if v := l.env.vars[name]; v != nil {
			return v.value
		}
		return ""
	}
}

// blamePlainStores warns, once a reference makes use of them, of variables that lead to a store without encryption.
func (l *loader) blamePlainStores(scheme string) {
	if l.plain[scheme] {
		return
	}
	if l.plain == nil {
		l.plain = map[string]bool{}
	}
	l.plain[scheme] = true
	for _, name := range map[string][]string{"vault": {"VAULT_ADDR", "VAULT_AGENT_ADDR"}, "aws": {"AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"}}[scheme] {
		v := l.env.vars[name]
		if v == nil || !PlainBeyondLoopback(v.value) {
			continue
		}
		l.r.warn(v.at, name, showURL(v.value), "sends secrets in clear: http, to another machine", "write https://")
	}
}
