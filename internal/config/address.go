package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"adsync/internal/secret"
)

var baseURL = &kind{
	name: "URL", allowed: "a URL such as https://ads.example.com",
	schema: map[string]any{"type": "string", "pattern": `^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\s]+(/[^?#\s]*)?$`},
	parse: func(s string) (any, *fault) {
		v, f := normaliseURL(s)
		if f != nil {
			return nil, f
		}
		return v, nil
	},
}

// normaliseURL gives the one form of a base URL: lower-case scheme and host, no default port, no trailing slash. Two spellings of one
// server share one quota.
func normaliseURL(s string) (string, *fault) {
	const cure = "write a URL such as https://ads.example.com"
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return "", faultf(cure, "holds a blank, a backslash or a control character")
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", faultf(cure, "is not a URL") // the error repeats the value
	}
	switch {
	case u.User != nil || strings.Contains(s, "@"):
		return "", faultf("leave them out of the URL; they are given apart, under credentials: or as AD_PLATFORM_EMAIL and AD_PLATFORM_PASSWORD", "holds a name or a password (user:password@)")
	case u.Scheme != "http" && u.Scheme != "https":
		return "", faultf(cure, "does not begin with https:// or http://")
	case u.Opaque != "" || u.Hostname() == "":
		return "", faultf(cure, "names no host")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return "", faultf("write the URL up to its path only", "holds a ? or a #")
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.ContainsAny(host, `"<>^|{}%$'()*,;!`+"`") {
		return "", faultf(cure, "names a host that cannot be one")
	}
	if port != "" {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return "", faultf(cure, "has a port that is not between 1 and 65535")
		}
		port = strconv.Itoa(n)
	}
	if strings.HasSuffix(u.Host, ":") || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = ""
	}
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		if err != nil || addr.Zone() != "" {
			return "", faultf(cure, "names a host that cannot be one")
		}
		host = "[" + addr.String() + "]"
	}
	if port != "" {
		host += ":" + port
	}
	return u.Scheme + "://" + host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// PlainBeyondLoopback reports whether what is sent to a URL crosses a network in clear.
func PlainBeyondLoopback(base string) bool {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" {
		return false
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err != nil || !addr.Unmap().IsLoopback()
}

// harmless is an address in which no part can be a password.
var harmless = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*:/{0,3})?[A-Za-z0-9._-]*(:[0-9]{0,5})?(/[^?#@:\s]*)?$`)

// showURL is what may be shown of something that was meant to be a base URL: nothing from where a secret may begin.
func showURL(s string) string {
	if harmless.MatchString(s) {
		return s
	}
	scheme := schemeForm.FindString(s)
	if scheme == "" {
		return ""
	}
	if i := strings.LastIndex(s, "@"); i >= 0 {
		rest := s[i+1:]
		if j := strings.IndexAny(rest, "?#"); j >= 0 {
			rest = rest[:j] + "…"
		}
		if harmless.MatchString(strings.TrimSuffix(rest, "…")) {
			return scheme + "//***@" + rest
		}
	}
	if i := strings.IndexAny(s, "?#"); i >= 0 && harmless.MatchString(s[:i]) {
		return s[:i] + "…"
	}
	return scheme + "…"
}

var databases = &kind{
	name: "database", allowed: "sqlite:PATH, or postgres://user@host:5432/name", refs: true,
	schema: map[string]any{"type": "string", "pattern": "^(sqlite|postgres|postgresql|env|file|vault|aws|gcp):"},
	parse: func(s string) (any, *fault) {
		d, f := parseDatabase(s)
		if f != nil {
			return nil, f
		}
		return d, nil
	},
}

var (
	schemeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
	driveForm  = regexp.MustCompile(`^/[A-Za-z]:[/\\]`)
)

// ParseDatabase reads the address of a database as `database:` and DATABASE_URL give it. The error never holds a part of it.
func ParseDatabase(s string) (Database, error) {
	d, f := parseDatabase(s)
	if f != nil {
		return Database{}, &Error{Problems: []Problem{{Message: "the database's address " + f.message, Cure: f.cure}}}
	}
	return d, nil
}

func parseDatabase(s string) (Database, *fault) {
	const cure = "write sqlite:PATH, or postgres://user@host:5432/name"
	scheme := strings.ToLower(strings.TrimSuffix(schemeForm.FindString(s), ":"))
	switch scheme {
	case SQLite:
		return parseSQLite(s[len("sqlite:"):])
	case Postgres, "postgresql":
		return parsePostgres(s, cure)
	case "":
		if strings.Contains(s, "=") {
			return Database{}, faultf(cure, "is not of a form that is read here (key=value pairs?)")
		}
		return Database{}, faultf(cure, "does not begin with sqlite: or postgres://")
	}
	return Database{}, faultf(cure, "names a kind of database that is not known")
}

func parseSQLite(path string) (Database, *fault) {
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		if !strings.HasPrefix(rest, "/") {
			return Database{}, faultf("write sqlite:PATH, or sqlite:///PATH for an absolute one", "has two slashes behind sqlite:, so that its first folder reads as a host")
		}
		path = "/" + strings.TrimLeft(rest, "/") // more of them say nothing more
	}
	if driveForm.MatchString(path) {
		path = path[1:]
	}
	switch {
	case path == "":
		return Database{}, faultf("write sqlite:PATH, such as "+DefaultDatabase, "names no file")
	case strings.HasPrefix(path, ":memory:") || strings.HasPrefix(path, "file:"):
		return Database{}, faultf("write sqlite:PATH with the path of a file", "must name a plain file, so that what is synced outlives the process")
	case strings.ContainsAny(path, "?#"):
		return Database{}, faultf("write sqlite:PATH with nothing behind the path", "holds a ? or a #")
	case strings.HasSuffix(path, "/"):
		return Database{}, faultf("add the name of a file", "names a folder")
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Database{}, faultf("write sqlite:PATH", "holds a control character")
	case len(path) > 4096:
		return Database{}, faultf("write sqlite:PATH", "is longer than any path")
	}
	return Database{Engine: SQLite, Path: path, Display: "sqlite:" + path}, nil
}

// shownParameters of a PostgreSQL URL; any other may hold a secret.
var shownParameters = []string{"host", "port", "dbname", "user", "sslmode", "search_path", "application_name", "target_session_attrs"}

const encodeCure = "percent-encode special characters in the user's name and the password: %40 for @, %2F for /, %3A for :, %3F for ?, %23 for #, %25 for %"

func parsePostgres(s, cure string) (Database, *fault) {
	if len(s) > 8192 {
		return Database{}, faultf(cure, "is longer than 8192 bytes")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return Database{}, faultf(encodeCure, "holds a blank or a control character")
	}
	_, rest, ok := strings.Cut(s, ":")
	if !ok || !strings.HasPrefix(rest, "//") {
		return Database{}, faultf(cure, "has no // behind its first colon")
	}
	u, err := url.Parse("postgres:" + rest)
	if err != nil {
		return Database{}, faultf(encodeCure, "is not a URL that can be read")
	}
	// A password with a bare /, ? or # ends the host too early; what follows would be shown, or sent, as something that it is not.
	if strings.Contains(u.EscapedPath(), "@") || strings.Contains(u.RawQuery, "@") || strings.Contains(rest, "#") {
		return Database{}, faultf(encodeCure, "has an @ or a # where none can be")
	}
	q, err := url.ParseQuery(strings.ReplaceAll(u.RawQuery, "+", "%2B"))
	if err != nil {
		return Database{}, faultf(encodeCure, "has parameters that cannot be read")
	}
	if u.Host == "" && q.Get("host") == "" {
		return Database{}, faultf(cure+", or postgres:///name?host=/var/run/postgresql for a socket", "names no host")
	}
	for h := range strings.SplitSeq(u.Host, ",") {
		if f := checkHostPort(h, u.Host == "", cure); f != nil {
			return Database{}, f
		}
	}
	show := url.URL{Scheme: Postgres, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	if name := u.User.Username(); name != "" {
		show.User = url.User(name)
	}
	kept := url.Values{}
	for _, p := range shownParameters {
		if q.Has(p) {
			kept.Set(p, q.Get(p))
		}
	}
	show.RawQuery = encodeQuery(kept)
	return Database{Engine: Postgres, DSN: secret.New("postgres:" + rest), Display: display(show)}, nil
}

// display writes an address; url.URL leaves out the // in front of a host that is empty.
func display(u url.URL) string {
	s := u.String()
	if rest, ok := strings.CutPrefix(s, u.Scheme+":"); ok && !strings.HasPrefix(rest, "//") {
		return u.Scheme + "://" + rest
	}
	return s
}

// encodeQuery writes a blank as %20: to PostgreSQL's clients a + is a +.
func encodeQuery(q url.Values) string { return strings.ReplaceAll(q.Encode(), "+", "%20") }

func checkHostPort(h string, none bool, cure string) *fault {
	if none {
		return nil
	}
	host, port := h, ""
	if i := strings.LastIndex(h, ":"); i >= 0 && !strings.HasSuffix(h, "]") {
		host, port = h[:i], h[i+1:]
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return faultf(cure+"; "+encodeCure, "has a port that is not between 1 and 65535")
		}
	}
	if host == "" || strings.Contains(strings.Trim(host, "[]"), ":") && !strings.HasPrefix(host, "[") {
		return faultf(cure, "names a host that cannot be one")
	}
	return nil
}

// hasPassword reports whether an address that parseDatabase accepted carries a password.
func hasPassword(d Database) bool {
	u, err := url.Parse(d.DSN.Reveal())
	if err != nil || d.Engine != Postgres {
		return false
	}
	_, set := u.User.Password()
	return set || u.Query().Get("password") != "" || u.Query().Get("sslpassword") != ""
}

// postgresParts makes an address of its parts, which may hold anything: nothing in them can become another part.
func postgresParts(host, port, name, user, password string) string {
	// An @ may stand bare in a path; here it is taken as the sign of a password that was not encoded.
	u := url.URL{Scheme: Postgres, Path: "/" + name, RawPath: "/" + strings.ReplaceAll(url.PathEscape(name), "@", "%40")}
	switch {
	case password != "":
		u.User = url.UserPassword(user, password)
	case user != "":
		u.User = url.User(user)
	}
	q := url.Values{}
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
		q.Set("host", host) // a socket's directory
		q.Set("port", port)
	} else {
		u.Host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	u.RawQuery = encodeQuery(q)
	return u.String()
}
