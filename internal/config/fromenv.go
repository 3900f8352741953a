package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"adsync/internal/ads"
)

// The names of what the environment describes.
const (
	DefaultClient     = "default"
	DefaultConnection = AdPlatform
)

// Variables of the database.
var databaseVars = []string{"DATABASE_URL", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "USE_MOCK_DB"}

// fromEnvironment fills the Config from the AD_PLATFORM_ variables: one client on adplatform.
func (l *loader) fromEnvironment() {
	l.databaseFromEnvironment()
	l.cfg.Connections = append(l.cfg.Connections, Connection{Ref: ads.Ref{ClientID: DefaultClient, Connection: DefaultConnection}, Platform: AdPlatform})
	c := &l.cfg.Connections[0]
	var known, absent []string
	platform := adplatform()
	for i := range platform.Fields {
		f := &platform.Fields[i]
		if f.Env == "" {
			l.fallback(f, 0, input{})
			continue
		}
		known = append(known, f.Env)
		value, given := l.env.get(f.Env)
		if !given {
			if f.Required {
				absent = append(absent, f.Env)
			} else {
				l.fallback(f, 0, input{})
			}
			continue
		}
		in := input{text: value, written: value, at: l.env.place(f.Env), path: f.Env}
		l.noteDotenv(f, f.Env)
		v, ok := l.take(f, in, 0)
		if ok && f.kind.list {
			v, ok = l.joined(f, in, []any{v})
		}
		if ok {
			f.set(c, v)
			l.judge(f, in, c)
		}
		if f.Secret && !f.clear {
			c.CredentialSource = l.env.source(f.Env)
		}
	}
	if len(absent) > 0 {
		verb := "is"
		if len(absent) > 1 {
			verb = "are"
		}
		l.r.at(place{file: environmentName}, "", "", fmt.Sprintf("there is no %s, and %s %s not set", DefaultFile, names(absent), verb),
			"copy .env.example to .env and fill it in, write a configuration file with `adsync init`, or see it work with `adsync demo`")
	}
	for _, name := range slices.Sorted(maps.Keys(l.env.vars)) {
		if strings.HasPrefix(name, "AD_PLATFORM_") && !slices.Contains(known, name) {
			cure := "known: " + strings.Join(known, ", ")
			if n := nearest(name, known); n != "" {
				cure = "did you mean " + n + "?"
			}
			l.r.warn(l.env.place(name), name, "", "is not a variable that is read", cure)
		}
	}
}

// databaseFromEnvironment finds the database. DATABASE_URL comes before the DB_ variables; without any of them it is the default.
// USE_MOCK_DB=true wants no PostgreSQL: it leaves a DATABASE_URL that names SQLite as it is and makes any PostgreSQL void, unless it stands
// in the .env file only and the real environment, which wins, names the PostgreSQL.
func (l *loader) databaseFromEnvironment() {
	url, hasURL := l.env.get("DATABASE_URL")
	parts := map[string]string{}
	postgresAt := ""
	for _, name := range databaseVars[1:6] {
		if v, set := l.env.get(name); set {
			parts[name] = v
			if postgresAt == "" {
				postgresAt = name
			}
		}
	}
	if hasURL {
		postgresAt = "DATABASE_URL"
		if d, f := parseDatabase(url); f == nil && d.Engine == SQLite {
			l.cfg.Database = d
			return
		}
	}
	if postgresAt == "" {
		l.mock() // blames a value that is neither true nor false
		l.setDefaultDatabase()
		return
	}
	if l.mock() {
		if l.env.place("USE_MOCK_DB").line == 0 || l.env.place(postgresAt).line > 0 {
			l.cfg.Notes = append(l.cfg.Notes, fmt.Sprintf("USE_MOCK_DB=true: the database is %s, and %s is not used", DefaultDatabase, postgresAt))
			l.setDefaultDatabase()
			return
		}
		l.cfg.Notes = append(l.cfg.Notes, fmt.Sprintf("%s is set in the environment and wins over USE_MOCK_DB=true of %s", postgresAt, l.env.file))
	}
	if hasURL {
		f := byName(rootFields, "database")
		in := input{text: url, written: url, at: l.env.place("DATABASE_URL"), path: "DATABASE_URL"}
		if v, ok := l.take(f, in, ofDatabase); ok {
			l.cfg.Database = v.(Database)
			if hasPassword(l.cfg.Database) {
				l.noteDotenv(f, "DATABASE_URL")
			}
		}
		return
	}
	l.databaseFromParts(parts)
}

func (l *loader) databaseFromParts(parts map[string]string) {
	cure := "set it, give the whole address as DATABASE_URL, or set USE_MOCK_DB=true to store in " + DefaultDatabase
	bad := false
	need := func(name, why string) {
		if parts[name] == "" {
			bad = true
			l.r.at(l.env.place(name), name, "", "is not set, though "+why, cure)
		}
	}
	var given []string
	for _, name := range databaseVars[1:6] {
		if parts[name] != "" {
			given = append(given, name)
		}
	}
	need("DB_HOST", "other variables name a PostgreSQL database ("+names(given)+")")
	need("DB_NAME", "other variables name a PostgreSQL database ("+names(given)+")")
	if parts["DB_PASSWORD"] != "" {
		need("DB_USER", "DB_PASSWORD is")
	}
	port := parts["DB_PORT"]
	if port == "" {
		port = "5432"
	}
	f := Field{Name: "DB_PORT", kind: wholeNumber(1, 65535)}
	if _, ok := l.take(&f, input{text: port, written: port, at: l.env.place("DB_PORT"), path: "DB_PORT"}, -1); !ok {
		bad = true
	}
	for name, v := range parts {
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			bad = true
			l.r.at(l.env.place(name), name, "", "holds a control character", "check where it comes from")
		}
	}
	if bad {
		return
	}
	l.noteDotenv(byName(rootFields, "database"), "DB_PASSWORD")
	d, flt := parseDatabase(postgresParts(parts["DB_HOST"], port, parts["DB_NAME"], parts["DB_USER"], parts["DB_PASSWORD"]))
	if flt != nil {
		// Everything else is escaped, so only the host can be at fault.
		l.r.at(l.env.place("DB_HOST"), "DB_HOST", parts["DB_HOST"], "is not the name or address of a host", "write db.example.com, 127.0.0.1 or the folder of a socket")
		return
	}
	l.cfg.Database = d
}

// mock reads USE_MOCK_DB.
func (l *loader) mock() bool {
	v, set := l.env.get("USE_MOCK_DB")
	if !set {
		return false
	}
	f := Field{Name: "USE_MOCK_DB", kind: boolean}
	on, ok := l.take(&f, input{text: v, written: v, at: l.env.place("USE_MOCK_DB"), path: "USE_MOCK_DB"}, -1)
	return ok && on.(bool)
}

func (l *loader) setDefaultDatabase() {
	if d, f := parseDatabase(DefaultDatabase); f == nil {
		l.cfg.Database = d
	}
}
