package config

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/joho/godotenv"
	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/quota"
	"adsync/internal/secret"
)

// needed are the variables without which there is no configuration.
var needed = []string{"AD_PLATFORM_API_URL=http://localhost:3001", "AD_PLATFORM_EMAIL=user@example.com", "AD_PLATFORM_PASSWORD=c4n4ry-pw"}

// fromEnv loads the environment, without any file but dotenv.
func fromEnv(t *testing.T, dotenv string, environ ...string) (*Config, error) {
	t.Helper()
	files := map[string]string{}
	if dotenv != "" {
		files[".env"] = dotenv
	}
	return Load(Options{Dir: dirWith(t, files), Environ: environ})
}

// The .env of the first deployment works unchanged.
func TestFirstDeployment(t *testing.T) {
	got, err := fromEnv(t, `AD_PLATFORM_API_URL=http://localhost:3001
AD_PLATFORM_EMAIL=admin@mixoads.example
AD_PLATFORM_PASSWORD=SuperSecret$123#x

DB_HOST=localhost
DB_PORT=5432
DB_NAME=mixoads
DB_USER=postgres
DB_PASSWORD=p@ss/w:rd?#%
USE_MOCK_DB=false
`)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Web:      Web{Listen: DefaultListen},
		Database: Database{Engine: Postgres, DSN: secret.New("postgres://postgres:p%40ss%2Fw%3Ard%3F%23%25@localhost:5432/mixoads"), Display: "postgres://postgres@localhost:5432/mixoads"},
		Connections: []Connection{{
			Ref: ads.Ref{ClientID: "default", Connection: "adplatform"}, Platform: AdPlatform, URL: "http://localhost:3001",
			Email: secret.New("admin@mixoads.example"), Password: secret.New("SuperSecret$123#x"), CredentialSource: "env AD_PLATFORM_PASSWORD, from .env",
			Quota: []quota.Limit{{N: 10, Window: time.Minute}}, PageSize: 10, PerCampaignSync: true, Timeout: 30 * time.Second, MaxElapsed: 10 * time.Minute,
			MaxListingSlack: 20, Schedule: Schedule{Text: "every 15m", Every: 15 * time.Minute},
		}},
		Source: "environment",
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEnvExampleLoads(t *testing.T) {
	c, err := fromEnv(t, EnvExample)
	if err != nil || c.Database.Display != DefaultDatabase || c.Connections[0].SendXClientID || len(c.Warnings) != 0 {
		t.Errorf("got %+v, %v", c, err)
	}
	// So does everything that it has in comments.
	all := strings.NewReplacer("# AD_", "AD_", "# DB_", "DB_", "USE_MOCK_DB=true", "").Replace(EnvExample)
	c, err = fromEnv(t, all)
	if err != nil || c.Database.Display != "postgres://adsync@localhost:5432/adsync" || len(c.Warnings) != 0 {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestNoFiles(t *testing.T) {
	dir := dirWith(t, map[string]string{DefaultFile: "broken: [", ".env": "AD_PLATFORM_PAGE_SIZE=x"})
	c, err := Load(Options{Dir: dir, NoFiles: true, Environ: needed})
	if err != nil || c.Source != "environment" || c.Connections[0].PageSize != 10 {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestEnvironmentSettings(t *testing.T) {
	c, err := fromEnv(t, "AD_PLATFORM_QUOTA=5/1s\nAD_PLATFORM_TIMEOUT=\nAD_PLATFORM_PAGE_SIZE=7\n", append(needed,
		"AD_PLATFORM_CLIENT_ID=acme", "AD_PLATFORM_QUOTA=none", "AD_PLATFORM_PAGE_SIZE=", "AD_PLATFORM_PER_CAMPAIGN_SYNC=0", "AD_PLATFORM_MAX_ELAPSED=90s")...)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Connections[0]
	if got.XClientID != "acme" || !got.SendXClientID || len(got.Quota) != 0 || got.PageSize != 10 || got.PerCampaignSync || got.MaxElapsed != 90*time.Second || got.Timeout != 30*time.Second {
		t.Errorf("got %+v", got)
	}
	if got.CredentialSource != "env AD_PLATFORM_PASSWORD" {
		t.Errorf("source %q", got.CredentialSource)
	}
	// A password of the environment is taken as it is: it is no reference and has no variables.
	for _, pw := range []string{"vault:x#y", "env:HOME", "${HOME}", "$${x}", " a b ", "123"} {
		c, err := fromEnv(t, "", append(needed[:2:2], "AD_PLATFORM_PASSWORD="+pw)...)
		if err != nil || c.Connections[0].Password.Reveal() != pw {
			t.Errorf("%q: %v", pw, err)
		}
	}
}

// Everything that is wrong with the environment is said at once, and nothing of its secrets (faults 132, 133, 139).
func TestBrokenEnvironment(t *testing.T) {
	_, err := Load(Options{
		Dir: dirWith(t, map[string]string{".env": "AD_PLATFORM_TIMEOUT=5\nthis line holds c4n4ry\nAD_PLATFORM_QUOTA='10 per minute'\nDB_PASSWORD=\"c4n4ry\n"}),
		Environ: []string{
			"AD_PLATFORM_API_URL=https://u:c4n4ry@h", "AD_PLATFORM_EMAIL=", "AD_PLATFORM_PAGE_SIZE=0", "AD_PLATFORM_MAX_ELAPSED=-1s", "AD_PLATFORM_PER_CAMPAIGN_SYNC=perhaps",
			"AD_PLATFORM_CLIENT_ID=a\nb", "DATABASE_URL=postgres://u:c4n4ry/x@h/db", "USE_MOCK_DB=ture", "AD_PLATFORM_QOUTA=1/1s",
		},
	})
	ps := problems(t, err)
	wellFormed(t, ps)
	e, _ := errors.AsType[*Error](err)
	if len(e.Warnings) != 1 || e.Warnings[0].Path != "AD_PLATFORM_QOUTA" || e.Warnings[0].Cure != "did you mean AD_PLATFORM_QUOTA?" {
		t.Errorf("warnings %v", e.Warnings)
	}
	golden(t, "testdata/environment.golden", []byte(err.Error()+"\n"))
}

// Fault 133: what is missing is named, all at once.
func TestMissingVariables(t *testing.T) {
	_, err := fromEnv(t, "")
	ps := problems(t, err)
	want := "environment: there is no adsync.yaml, and AD_PLATFORM_API_URL, AD_PLATFORM_EMAIL and AD_PLATFORM_PASSWORD are not set"
	if len(ps) != 1 || !strings.HasPrefix(ps[0].String(), want) || !strings.Contains(ps[0].Cure, ".env.example") {
		t.Errorf("got %v", err)
	}
	_, err = fromEnv(t, "", needed[0], needed[2])
	if ps := problems(t, err); len(ps) != 1 || !strings.Contains(ps[0].Message, "and AD_PLATFORM_EMAIL is not set") {
		t.Errorf("got %v", err)
	}
	wellFormed(t, problems(t, err))
}

func TestFileWinsOverEnvironment(t *testing.T) {
	c, err := loadYAML(t, one(""), append(needed, "P=x", "DATABASE_URL=postgres://u:c4n4ry@h/db", "AD_PLATFORM_QUOTA=nonsense")...)
	if err != nil {
		t.Fatal(err)
	}
	if c.Connections[0].URL != "https://ads.example.com" || c.Database.Display != DefaultDatabase || len(c.Notes) != 2 {
		t.Errorf("got %+v", c)
	}
	notes := strings.Join(c.Notes, "\n")
	if !strings.Contains(notes, "AD_PLATFORM_API_URL, AD_PLATFORM_EMAIL, AD_PLATFORM_PASSWORD and AD_PLATFORM_QUOTA: not used") || !strings.Contains(notes, "DATABASE_URL is not used") || strings.Contains(notes, canary) {
		t.Errorf("notes:\n%s", notes)
	}
	c, err = loadYAML(t, "database: ${DATABASE_URL}\n"+one(""), "P=x", "DATABASE_URL=postgres://u:c4n4ry@h/db")
	if err != nil || len(c.Notes) != 0 || c.Database.Display != "postgres://u@h/db" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestDatabaseOfTheEnvironment(t *testing.T) {
	parts := []string{"DB_HOST=db", "DB_NAME=n", "DB_USER=u", "DB_PASSWORD=c4n4ry"}
	for _, tt := range []struct {
		dotenv  string
		environ []string
		want    string // Display, or a part of the error
	}{
		{"", nil, "sqlite:adsync.db"},
		{"", []string{"USE_MOCK_DB=true"}, "sqlite:adsync.db"},
		{"", []string{"USE_MOCK_DB=maybe"}, `environment: USE_MOCK_DB: "maybe" is neither true nor false`},
		{"", parts, "postgres://u@db:5432/n"},
		{"", append(parts, "DB_PORT=6000"), "postgres://u@db:6000/n"},
		{"", append(parts, "DB_PORT=x"), `DB_PORT: "x" is not a whole number`},
		{"", append(parts, "DB_PORT=65536"), "is not between 1 and 65535"},
		{"", append(parts, "USE_MOCK_DB=true"), "sqlite:adsync.db"},
		{"", append(parts, "USE_MOCK_DB=1"), "sqlite:adsync.db"},
		{"", append(parts, "USE_MOCK_DB=false"), "postgres://u@db:5432/n"},
		{"", append(parts, "USE_MOCK_DB="), "postgres://u@db:5432/n"},
		{"", append(parts, "DATABASE_URL=postgres://x@y/z"), "postgres://x@y/z"},
		{"", append(parts, "DATABASE_URL=sqlite:other.db"), "sqlite:other.db"},
		{"", append(parts, "DATABASE_URL="), "postgres://u@db:5432/n"},
		{"", []string{"DATABASE_URL=postgres://x@y/z", "USE_MOCK_DB=true"}, "sqlite:adsync.db"},
		{"", []string{"DATABASE_URL=sqlite:other.db", "USE_MOCK_DB=true"}, "sqlite:other.db"},
		{"USE_MOCK_DB=true", []string{"DATABASE_URL=postgres://x@y/z"}, "postgres://x@y/z"},
		{"USE_MOCK_DB=true\nDATABASE_URL=postgres://x@y/z", nil, "sqlite:adsync.db"},
		{"DATABASE_URL=postgres://x@y/z", []string{"USE_MOCK_DB=true"}, "sqlite:adsync.db"},
		{"", []string{"DB_NAME=n"}, "DB_HOST: is not set, though other variables name a PostgreSQL database (DB_NAME)"},
		{"", []string{"DB_HOST=h"}, "DB_NAME: is not set"},
		{"", []string{"DB_HOST=h", "DB_NAME=n", "DB_PASSWORD=c4n4ry"}, "DB_USER: is not set, though DB_PASSWORD is"},
		{"", []string{"DB_HOST=h", "DB_NAME=n"}, "postgres://h:5432/n"},
		{"", []string{"DB_HOST=::1", "DB_NAME=n"}, "postgres://[::1]:5432/n"},
		{"", []string{"DB_HOST=[::1]", "DB_NAME=n"}, "postgres://[::1]:5432/n"},
		{"", []string{"DB_HOST=a b", "DB_NAME=n"}, "DB_HOST: \"a b\" is not the name or address of a host"},
		{"", []string{"DB_HOST=h@c4n4ryx", "DB_NAME=n"}, "DB_HOST:"},
		{"", []string{"DB_HOST=h\nx", "DB_NAME=n"}, "DB_HOST: holds a control character"},
		{"", []string{"DB_HOST=/var/run/postgresql", "DB_NAME=n", "DB_USER=u"}, "postgres://u@/n?host=%2Fvar%2Frun%2Fpostgresql&port=5432"},
		{"", []string{"DATABASE_URL=mysql://u:c4n4ry@h/db"}, `environment: DATABASE_URL: "mysql:…" names a kind of database that is not known`},
		{"", []string{"DATABASE_URL=host=h password=c4n4ry"}, "key=value pairs"},
	} {
		c, err := fromEnv(t, tt.dotenv, append(needed, tt.environ...)...)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "c4n4ry\"") || strings.Contains(err.Error(), "c4n4ry@") {
				t.Errorf("%q %q: %v, want %s", tt.dotenv, tt.environ, err, tt.want)
			}
			continue
		}
		if c.Database.Display != tt.want {
			t.Errorf("%q %q: %s, want %s", tt.dotenv, tt.environ, c.Database.Display, tt.want)
		}
	}
}

// PostgreSQL's own client reads out of an address made of parts exactly those parts, whatever is in them.
func TestPostgresParts(t *testing.T) {
	part := rapid.StringOfN(rapid.OneOf(rapid.RuneFrom([]rune("ab:/?#[]@!$&'()*+,;=%\"<>\\^`{|}~ é🎯")), rapid.Rune()), 1, 12, -1).Filter(func(s string) bool { return !strings.ContainsFunc(s, unicode.IsControl) })
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.SampledFrom([]string{"localhost", "10.0.0.1", "::1", "db.example.com", "/tmp/a b"}).Draw(t, "host")
		name, user, password := part.Draw(t, "name"), part.Draw(t, "user"), part.Draw(t, "password")
		dsn := postgresParts(host, "5433", name, user, password)
		d, f := parseDatabase(dsn)
		if f != nil {
			t.Fatalf("%s: %v", dsn, f)
		}
		if shown, f := parseDatabase(d.Display); f != nil || hasPassword(shown) {
			t.Fatalf("%s is shown as %s: %v", dsn, d.Display, f)
		}
		c, err := pgconn.ParseConfig(d.DSN.Reveal())
		if err != nil {
			t.Fatalf("%s: %v", dsn, err)
		}
		if c.Host != host || c.Port != 5433 || c.Database != name || c.User != user || c.Password != password {
			t.Fatalf("%s reads as %q %d %q %q %q", dsn, c.Host, c.Port, c.Database, c.User, c.Password)
		}
	})
}

func TestParseDatabase(t *testing.T) {
	for in, want := range map[string]string{
		"sqlite:adsync.db":                        "sqlite:adsync.db",
		"SQLite:a b/c.db":                         "sqlite:a b/c.db",
		"sqlite:/abs/x.db":                        "sqlite:/abs/x.db",
		"sqlite:///abs/x.db":                      "sqlite:/abs/x.db",
		"sqlite:./x.db":                           "sqlite:./x.db",
		`sqlite:C:\x\y.db`:                        `sqlite:C:\x\y.db`,
		"sqlite:///C:/x/y.db":                     "sqlite:C:/x/y.db",
		"sqlite:100%.db":                          "sqlite:100%.db",
		"postgres://h/db":                         "postgres://h/db",
		"postgresql://u:c4n4ry@h:5/db":            "postgres://u@h:5/db",
		"POSTGRES://u@h/db":                       "postgres://u@h/db",
		"postgres://u:c4n4ry@@h/db":               "postgres://u@h/db",
		"postgres://u:c4n4ry%2F@h/db":             "postgres://u@h/db",
		"postgres://h1:5432,h2:5433/db":           "postgres://h1:5432,h2:5433/db",
		"postgres://[::1]:5432/db":                "postgres://[::1]:5432/db",
		"postgres:///db?host=/tmp&user=u":         "postgres:///db?host=%2Ftmp&user=u",
		"postgres://h/db?password=c4n4ry":         "postgres://h/db",
		"postgres://h/db?sslpassword=c4n4ry&x=y":  "postgres://h/db",
		"postgres://h/db?search_path=a&sslmode=x": "postgres://h/db?search_path=a&sslmode=x",
		"postgres://h":                            "postgres://h",
	} {
		d, f := parseDatabase(in)
		if f != nil || d.Display != want || (d.Engine == SQLite) != d.DSN.Empty() {
			t.Errorf("%s: %+v, %v; want %s", in, d, f, want)
		}
	}
	for _, in := range []string{
		"", "adsync.db", "/abs/adsync.db", "sqlite:", "sqlite://adsync.db", "sqlite://", "sqlite:///", "sqlite::memory:", "sqlite:file:x.db", "sqlite:x.db?mode=ro", "sqlite:dir/", "sqlite:a\x00b",
		"postgres:", "postgres:h/db", "postgres:/db", "postgres://", "postgres:///db", "postgres://u:12/c4n4ry@h/db", "postgres://u:c4n4ry?x@h/db", "postgres://u:c4n4ry#x@h/db", "postgres://u:c4n4ry/x",
		"postgres://u:c4n4ry@h:0/db", "postgres://u:c4n4ry@h:99999/db", "postgres://u:c4n4ry@:5432/db", "postgres://u:c4n4ry%zz@h/db", "postgres://u:c4n4ry @h/db", "postgres://h/db?%zz=c4n4ry", "postgres://h/db?a=c4n4ry;b",
		"mysql://u:c4n4ry@h/db", "host=h password=c4n4ry", "http://h", "c4n4ry",
	} {
		d, f := parseDatabase(in)
		if f == nil {
			t.Errorf("%q is taken as %s", in, d.Display)
			continue
		}
		if strings.Contains(f.message+f.cure, canary) || f.cure == "" {
			t.Errorf("%q: %v", in, f)
		}
	}
	if _, err := ParseDatabase("c4n4ry"); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("got %v", err)
	}
}

func FuzzDatabase(f *testing.F) {
	for _, s := range []string{"sqlite:a.db", "sqlite:///a", "postgres://u:p@h:1/db?x=y", "postgres:///db?host=/tmp", "postgres://a,b/c", "postgresql://[::1]/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, flt := parseDatabase(s)
		if flt != nil {
			if d.Engine != "" || d.Path != "" || !d.DSN.Empty() || d.Display != "" || flt.cure == "" {
				t.Fatalf("%q: %+v, %v", s, d, flt)
			}
			return
		}
		again, flt := parseDatabase(d.Display)
		if flt != nil || again.Display != d.Display {
			t.Fatalf("%q is shown as %q, which reads as %q, %v", s, d.Display, again.Display, flt)
		}
		if hasPassword(again) {
			t.Fatalf("%q shows a password: %q", s, d.Display)
		}
	})
}

func TestDotenv(t *testing.T) {
	for src, want := range map[string]map[string]string{
		"A=1\nB = two words \n":        {"A": "1", "B": "two words"},
		"export A=1\nexport\tB=2":      {"A": "1", "B": "2"},
		"# c\n\n  # d\nA=x # comment":  {"A": "x"},
		"A=x#y\nB=#z\nC= # only":       {"A": "x#y", "B": "", "C": ""},
		`A='lit $X \n # no'`:           {"A": `lit $X \n # no`},
		`A="a\nb\t\"q\" \$X \\ \q" #c`: {"A": "a\nb\t\"q\" $X \\ \\q"},
		"A=\"two\nlines\"\nB=2":        {"A": "two\nlines", "B": "2"},
		"A='two\n\nlines' # c\nB=2":    {"A": "two\n\nlines", "B": "2"},
		"A=$HOME\nB=pa$$w0rd":          {"A": "$HOME", "B": "pa$$w0rd"},
		"\uFEFFA=1\r\nB=2\rC=3":        {"A": "1", "B": "2", "C": "3"},
		"A=a=b=c":                      {"A": "a=b=c"},
		"A=1\nA=2":                     {"A": "2"},
		"exportA=1":                    {"exportA": "1"},
		"A=''":                         {"A": ""},
	} {
		vars, mistakes := parseDotenv([]byte(src))
		got := map[string]string{}
		for _, v := range vars {
			got[v.name] = v.value
		}
		if diff := cmp.Diff(want, got); diff != "" || len(mistakes) > 0 {
			t.Errorf("%q: %v\n%s", src, mistakes, diff)
		}
	}
	for src, want := range map[string]dotenvMistake{
		"A=1\nb c4n4ry":            {2, "is not NAME=value"},
		"1A=c4n4ry":                {1, "is not NAME=value"},
		"A-B=c4n4ry":               {1, "is not NAME=value"},
		"=c4n4ry":                  {1, "is not NAME=value"},
		"A=1\nB='c4n4ry\nC=2\n":    {2, "opens a quote that is never closed"},
		"A='x\ny' c4n4ry\nB=1":     {2, "has text behind the closing quote"},
		"A=\"c4n4ry\\":             {1, "opens a quote that is never closed"},
		"A=\x00c4n4ry":             {0, "is not a text file in UTF-8"},
		"A=\"x\\\ny\"\nB c4n4ry\n": {3, "is not NAME=value"},
	} {
		if _, got := parseDotenv([]byte(src)); len(got) != 1 || got[0] != want {
			t.Errorf("%q: got %v, want %v", src, got, want)
		}
	}
}

// On what every reader of such files agrees, this one agrees with the usual one.
func TestDotenvIsUsual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "lines") {
			b.WriteString(rapid.SampledFrom([]string{"", "export "}).Draw(t, "export"))
			b.WriteString(rapid.StringMatching(`[A-Z][A-Z0-9_]{0,5}`).Draw(t, "name") + "=")
			b.WriteString(rapid.OneOf(rapid.StringMatching(`[a-z0-9/.@%+-]{1,12}`), rapid.StringMatching(`'[a-z0-9 #=:"]{0,12}'`), rapid.StringMatching(`"[a-z0-9 #=:']{0,12}"`)).Draw(t, "value"))
			b.WriteString(rapid.SampledFrom([]string{"\n", "\n\n", " # comment\n", "\r\n"}).Draw(t, "end"))
		}
		want, err := godotenv.Unmarshal(b.String())
		if err != nil {
			t.Skip("the usual reader does not take this file, so there is nothing to compare with")
		}
		vars, mistakes := parseDotenv([]byte(b.String()))
		got := map[string]string{}
		for _, v := range vars {
			got[v.name] = v.value
		}
		if diff := cmp.Diff(want, got); diff != "" || len(mistakes) > 0 {
			t.Fatalf("%q: %v\n%s", b.String(), mistakes, diff)
		}
	})
}

func FuzzDotenv(f *testing.F) {
	for _, s := range []string{"A=1\n", "export A='x\ny' # z\nB=\"\\n\"", "A", "=", "A=\"", "\uFEFFA=b#c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		lines := strings.Count(strings.ReplaceAll(strings.ReplaceAll(string(src), "\r\n", "\n"), "\r", "\n"), "\n") + 1
		vars, mistakes := parseDotenv(src)
		last := 0
		for _, v := range vars {
			if !isName(v.name) || v.line <= last || v.line > lines {
				t.Fatalf("%q: %q on line %d of %d after %d", src, v.name, v.line, lines, last)
			}
			last = v.line
		}
		for _, m := range mistakes {
			if m.line < 0 || m.line > lines {
				t.Fatalf("%q: a mistake on line %d of %d", src, m.line, lines)
			}
		}
	})
}

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "EMPTY": "", "REF": "${A}", "YAML": "x: [y\n# z"}
	lookup := func(n string) (string, bool) { v, ok := env[n]; return v, ok }
	for in, want := range map[string]expanded{
		"plain":       {text: "plain", literal: true},
		"${A}":        {text: "1", names: []string{"A"}},
		"${A}${A}":    {text: "11", names: []string{"A"}},
		"x${A}y":      {text: "x1y", names: []string{"A"}, literal: true},
		"${A:-d}":     {text: "1", names: []string{"A"}, literal: true},
		"${N:-d}":     {text: "d", names: []string{"N"}, literal: true},
		"${EMPTY:-d}": {text: "d", names: []string{"EMPTY"}, literal: true},
		"${EMPTY}":    {text: "", names: []string{"EMPTY"}},
		"${N:-}":      {text: "", names: []string{"N"}},
		"${N:-a:-b}":  {text: "a:-b", names: []string{"N"}, literal: true},
		"${N}":        {text: "", names: []string{"N"}, missing: []string{"N"}},
		"${REF}":      {text: "${A}", names: []string{"REF"}},
		"${YAML}":     {text: "x: [y\n# z", names: []string{"YAML"}},
		"$${A}":       {text: "${A}", literal: true},
		"$$${A}":      {text: "$${A}", literal: true},
		"a$${b}${A}$": {text: "a${b}1$", names: []string{"A"}, literal: true},
		"$A $ {A} }":  {text: "$A $ {A} }", literal: true},
		"":            {},
		"${A":         {broken: "has a ${ without its }"},
		"${}":         {broken: "has a ${…} that does not hold the name of a variable"},
		"${A-B}":      {broken: "has a ${…} that does not hold the name of a variable"},
		"${N:-${A}}":  {broken: "has a ${…} inside the default of another"},
		"${ A }":      {broken: "has a ${…} that does not hold the name of a variable"},
	} {
		got := expand(in, lookup)
		if want.broken != "" {
			got = expanded{broken: got.broken}
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(expanded{})); diff != "" {
			t.Errorf("%q:\n%s", in, diff)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"${A}", "$${A}", "a${B:-c}d", "${", "$$$${A}}", "${A:-$${}"} {
		f.Add(s, "v${A}$${x}")
	}
	f.Fuzz(func(t *testing.T, s, value string) {
		e := expand(s, func(string) (string, bool) { return value, true })
		if e.broken != "" {
			return
		}
		if len(e.missing) > 0 {
			t.Fatalf("%q: all are set, and %v are missing", s, e.missing)
		}
		if !e.literal && len(e.names) == 0 && s != "" {
			t.Fatalf("%q is neither text nor variable", s)
		}
		// Escaping makes any text mean itself.
		escaped := strings.ReplaceAll(s, "${", "$${")
		if got := expand(escaped, nil); !strings.Contains(s, "$${") && got.text != s {
			t.Fatalf("%q escaped as %q reads as %q", s, escaped, got.text)
		}
	})
}

// A file with secrets that everybody can read draws a warning, which is an error where it matters (fault 136).
func TestOpenFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps no such bits")
	}
	open := func(mode os.FileMode, files map[string]string) string {
		dir := dirWith(t, files)
		for name := range files {
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	inClear := strings.ReplaceAll(one(""), "${P}", canary)
	fromFile := strings.ReplaceAll(one(""), "${P}", "file:pw")
	for name, tt := range map[string]struct {
		files   map[string]string
		environ []string
		want    []string // of the warnings
	}{
		"config with a secret":    {map[string]string{DefaultFile: inClear}, nil, []string{"adsync.yaml: warning: holds a secret", "adsync.yaml:6:63: warning:"}},
		"config without a secret": {map[string]string{DefaultFile: one("")}, []string{"P=x"}, nil},
		"secret file":             {map[string]string{DefaultFile: fromFile, "pw": canary}, nil, []string{`"file:pw" everybody on this machine can read`}},
		".env with a secret":      {map[string]string{".env": strings.Join(needed, "\n")}, nil, []string{".env: warning: holds a secret"}},
		".env for the file":       {map[string]string{DefaultFile: one(""), ".env": "P=c4n4ry"}, nil, []string{".env: warning: holds a secret"}},
		".env by reference":       {map[string]string{DefaultFile: strings.ReplaceAll(one(""), "${P}", "env:P"), ".env": "P=c4n4ry"}, nil, []string{".env: warning: holds a secret"}},
		".env without a secret":   {map[string]string{".env": "AD_PLATFORM_PAGE_SIZE=7"}, needed, nil},
		".env DB_PASSWORD":        {map[string]string{".env": "DB_PASSWORD=c4n4ry\nDB_HOST=h\nDB_USER=u\nDB_NAME=n"}, needed, []string{".env: warning: holds a secret"}},
	} {
		c, err := Load(Options{Dir: open(0o604, tt.files), Environ: tt.environ})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wellFormed(t, c.Warnings)
		if len(c.Warnings) != len(tt.want) {
			t.Errorf("%s: %v", name, c.Warnings)
			continue
		}
		for i, w := range c.Warnings {
			if !strings.Contains(w.String(), tt.want[i]) {
				t.Errorf("%s: got %s, want %s", name, w, tt.want[i])
			}
		}
		if _, err := Load(Options{Dir: open(0o604, tt.files), Environ: tt.environ, Strict: true}); (err != nil) != (len(tt.want) > 0) {
			t.Errorf("%s, strict: %v", name, err)
		}
		// Where only the group can read it, what is left is the secret in clear itself.
		private := 0
		if name == "config with a secret" {
			private = 1
		}
		if c, err := Load(Options{Dir: open(0o640, tt.files), Environ: tt.environ}); err != nil || len(c.Warnings) != private {
			t.Errorf("%s, private: %v, %v", name, c.Warnings, err)
		}
	}
}
