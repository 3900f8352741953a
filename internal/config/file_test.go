package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"adsync/internal/ads"
	"adsync/internal/quota"
	"adsync/internal/secret"
)

var compare = cmp.Options{
	cmp.Comparer(func(a, b secret.Text) bool { return a.Reveal() == b.Reveal() }),
	cmpopts.IgnoreUnexported(Config{}, Schedule{}),
}

const whole = `
database: postgres://adsync:${DB_PW}@db.example.com:5432/ads?sslmode=require&search_path=marketing
environment: staging
defaults:
  quota: [10/1m, 5000/1d]
  timeout: 1m
  credentials:
    email: shared@example.com
clients:
  - id: acme
    connections:
      - platform: adplatform
        url: HTTPS://Ads.Example.com:443/base/
        credentials:
          email: ${ACME_EMAIL:-nobody@example.com}
          password: env:ACME_PASSWORD
        x_client_id: ACME-${REGION:-eu}
        quota: none
        page_size: 250
        per_campaign_sync: false
        timeout: 1m30s
        max_elapsed: ${ELAPSED}
        concurrency: 8
        max_listing_slack: 3
        schedule: "*/5 6-18 * * mon-fri"
      - platform: adplatform
        name: second
        url: http://127.0.0.1:3001
        credentials: {password: "file:globex.pw"}
        x_client_id: ""
  - id: 0042
    connections:
      - platform: adplatform
        url: http://[::1]:3001/
        credentials:
          email: c@example.com
          password: 'it''s $${literal} and $5'
`

func TestWholeFile(t *testing.T) {
	dir := dirWith(t, map[string]string{
		DefaultFile: whole, "globex.pw": "  pw with blanks \n",
		".env": "DB_PW=p%40ss\nACME_PASSWORD='from dotenv'\nELAPSED=20m\n",
	})
	got, err := Load(Options{Dir: dir, Environ: []string{"ELAPSED=1h", "ACME_EMAIL="}})
	if err != nil {
		t.Fatal(err)
	}
	base := Connection{Platform: AdPlatform, PageSize: 10, PerCampaignSync: true, Timeout: time.Minute, MaxElapsed: 10 * time.Minute, MaxListingSlack: 20, Schedule: Schedule{Text: "every 15m", Every: 15 * time.Minute}}
	first, second, third := base, base, base
	first.Ref = ads.Ref{ClientID: "acme", Connection: "adplatform"}
	first.URL = "https://ads.example.com/base"
	first.Email, first.Password, first.CredentialSource = secret.New("nobody@example.com"), secret.New("from dotenv"), "env ACME_PASSWORD, from .env"
	first.XClientID, first.SendXClientID = "ACME-eu", true
	first.Quota, first.PageSize, first.PerCampaignSync, first.Timeout, first.MaxElapsed = []quota.Limit{}, 250, false, 90*time.Second, time.Hour
	first.Concurrency, first.MaxListingSlack, first.Schedule = 8, 3, Schedule{Text: "*/5 6-18 * * mon-fri"}
	second.Ref = ads.Ref{ClientID: "acme", Connection: "second"}
	second.URL, second.Email, second.Password, second.CredentialSource = "http://127.0.0.1:3001", secret.New("shared@example.com"), secret.New("  pw with blanks "), "file globex.pw"
	second.Quota = []quota.Limit{{N: 10, Window: time.Minute}, {N: 5000, Window: 24 * time.Hour}}
	third.Ref = ads.Ref{ClientID: "0042", Connection: "adplatform"}
	third.URL, third.Email, third.Password, third.CredentialSource = "http://[::1]:3001", secret.New("c@example.com"), secret.New("it's ${literal} and $5"), "adsync.yaml line 37"
	third.XClientID, third.SendXClientID, third.Quota = "0042", true, second.Quota
	want := &Config{
		Web: Web{Listen: DefaultListen},
		Database: Database{
			Engine: Postgres, DSN: secret.New("postgres://adsync:p%40ss@db.example.com:5432/ads?sslmode=require&search_path=marketing"),
			Display: "postgres://adsync@db.example.com:5432/ads?search_path=marketing&sslmode=require",
		},
		Connections: []Connection{first, second, third}, Environment: "staging", Source: DefaultFile,
		Warnings: []Problem{{
			File: DefaultFile, Line: 37, Column: 21, Path: "clients[1].connections[0].credentials.password", Message: "a secret stands here in clear",
			Cure: "put it into the environment or .env and write ${NAME}, or into a file of its own and write file:PATH", Warning: true,
		}},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTemplateLoads(t *testing.T) {
	dir := t.TempDir()
	if err := WriteNew(filepath.Join(dir, DefaultFile), Template()); err != nil {
		t.Fatal(err)
	}
	_, err := Load(Options{Dir: dir})
	if ps := problems(t, err); len(ps) != 3 {
		t.Errorf("without its variables there should be three problems:\n%v", err)
	}
	c, err := Load(Options{Dir: dir, Strict: true, Environ: []string{"ACME_URL=https://ads.example.com", "ACME_EMAIL=a@example.com", "ACME_PASSWORD=x"}})
	if err != nil || len(c.Connections) != 1 || len(c.Warnings) != 0 {
		t.Errorf("got %+v, %v", c, err)
	}
	// What is commented out is valid too.
	var b strings.Builder
	for line := range strings.Lines(template) {
		if indent := line[:len(line)-len(strings.TrimLeft(line, " "))]; indent != "" && strings.HasPrefix(line[len(indent):], "# ") {
			line = indent + line[len(indent)+2:]
		}
		b.WriteString(line)
	}
	dir = dirWith(t, map[string]string{DefaultFile: strings.ReplaceAll(b.String(), "/run/secrets/", ""), "globex": "x"})
	c, err = Load(Options{Dir: dir, Strict: true, Environ: []string{"ACME_URL=https://ads.example.com", "ACME_EMAIL=a@example.com", "ACME_PASSWORD=x", "GLOBEX_EMAIL=g@example.com", "META_ACCESS_TOKEN=t", "META_APP_SECRET=s", "GOOGLE_CLIENT_ID=i", "GOOGLE_CLIENT_SECRET=s", "GOOGLE_REFRESH_TOKEN=r"}})
	if err != nil || len(c.Connections) != 4 {
		t.Errorf("got %+v, %v", c, err)
	}
}

// one is a file with one connection and further lines for it.
func one(lines string) string {
	return "clients:\n  - id: acme\n    connections:\n      - platform: adplatform\n        url: https://ads.example.com\n        credentials: {email: \"${E:-a@example.com}\", password: \"${P}\"}\n" +
		strings.ReplaceAll(lines, "~", "        ")
}

// Each value of a setting is taken or refused as the table says (faults 132, 138, 139).
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		line string
		want string // part of the only problem; empty: good
	}{
		{"timeout: 100ms", ""},
		{"timeout: 10m", ""},
		{"timeout: 1.5s", ""},
		{"timeout: 99ms", `"99ms" is not between 100ms and 10m`},
		{"timeout: 0s", "is not between"},
		{"timeout: 0", `"0" has no unit`},
		{"timeout: 5", `"5" has no unit`},
		{"timeout: 1e3", "is not a length of time"},
		{"timeout: 5 mins", `"5 mins" is not a length of time`},
		{"timeout: -1s", `"-1s" is negative`},
		{"timeout: 999999999999h", "is not between"},
		{"timeout: 30 s", "is not a length of time"},
		{"timeout: true", "is true or false to YAML"},
		{"timeout: [1s]", "is a list (- …), not a single value"},
		{"timeout: {a: b}", "is a mapping (key: value), not a single value"},
		{"timeout:", "is empty"},
		{`timeout: ""`, "is empty"},
		{"timeout: ${EMPTY}", "is empty: EMPTY is set to nothing"},
		{"timeout: ${NOPE}", "the environment variable NOPE is not set"},
		{"timeout: ${NOPE}${ALSO}", "the environment variable NOPE and ALSO are not set"},
		{"timeout: ${NOPE", "has a ${ without its }"},
		{"timeout: ${1X}", "does not hold the name of a variable"},
		{"timeout: $${T}", `"$${T}" is not a length of time`},
		{"timeout: ${T}", ""},
		{"timeout: ${NOPE:-45s}", ""},
		{"timeout: ${EMPTY:-45s}", ""},
		{"timeout: !!int 5", "has a tag"},
		{"page_size: 1", ""},
		{"page_size: 10000", ""},
		{"page_size: 10001", "is not between 1 and 10000"},
		{"page_size: 0", "is not between"},
		{"page_size: -1", "is not between"},
		{"page_size: 99999999999999999999", "is not between"},
		{"page_size: 1.5", "is not a whole number"},
		{"page_size: +5", "is not a whole number"},
		{"page_size: 0x10", "is not a whole number"},
		{"page_size: .inf", "is not a whole number"},
		{"page_size: 1_000", "is not a whole number"},
		{"page_size: '10'", ""},
		{"max_elapsed: 24h", ""},
		{"max_elapsed: 25h", "is not between"},
		{"concurrency: auto", ""},
		{"concurrency: 256", ""},
		{"concurrency: 257", "is not between 1 and 256"},
		{"concurrency: 0", "is not between"},
		{"concurrency: -1", "is not between"},
		{"per_campaign_sync: no", ""},
		{"per_campaign_sync: TRUE", ""},
		{"per_campaign_sync: 2", "is neither true nor false"},
		{"quota: none", ""},
		{"quota: 10/1m, 1000/1d", ""},
		{"quota: [10/1m, 1000/1d]", ""},
		{"quota: 0/1m", "must be between 1"},
		{"quota: 10", `"10" is not a quota: there is no /`},
		{"quota: 10/0s", "the window must be between"},
		{"quota: []", "is an empty list"},
		{"quota: [none, 10/1m]", "says none and gives a quota"},
		{"quota: 10/1m, 5/60s", "two quotas for the same window"},
		{"quota: [10/1m, [5/1s]]", "quota[1]: is a list"},
		{"quota: false", "is true or false to YAML"},
		{"schedule: every 90s", ""},
		{"schedule: every 1d", ""},
		{"schedule: '0 6 * * 1'", ""},
		{"schedule: every 0s", "is not between every 1s and every 31d"},
		{"schedule: every day", "is not a length of time"},
		{"schedule: hourly", "is not a schedule"},
		{"schedule: '@hourly'", "is not a schedule"},
		{"schedule: 'TZ=X 0 6 * *'", "field 1 (minute) holds a character"},
		{"schedule: '0 6 31 2 *'", "is a date that never comes"},
		{"schedule: '0 25 * * *'", "its field for the hour is out of range"},
		{"schedule: ', * * * *'", "is a date that never comes"},
		{"x_client_id: ''", ""},
		{"x_client_id:", ""},
		{"x_client_id: 7", ""},
		{`x_client_id: "a\r\nb"`, "holds a control character"},
		{"name: a/b", "holds a /"},
		{`name: "a\tb"`, "holds a character that cannot be printed"},
		{"unknown: 1", "unknown: there is no such key here"},
		{"max_retries: 1", "there is no such key here"},
	} {
		_, err := loadYAML(t, one("~"+tt.line+"\n"), "P=c4n4ry", "T=45s", "EMPTY=")
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.line, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s is taken; want %q", tt.line, tt.want)
			continue
		}
		ps := problems(t, err)
		wellFormed(t, ps)
		if len(ps) != 1 || !strings.Contains(ps[0].String(), tt.want) || ps[0].Line != 7 || ps[0].Cure == "" {
			t.Errorf("%s: got %v, want one problem of line 7 with a cure and %q", tt.line, err, tt.want)
		}
	}
}

func TestBaseURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://localhost:3001":         "http://localhost:3001",
		"http://localhost:3001/":        "http://localhost:3001",
		"HTTP://LOCALHOST:80/Api//":     "http://localhost/Api",
		"https://ads.example.com:443":   "https://ads.example.com",
		"https://ads.example.com:0443/": "https://ads.example.com",
		"https://ads.example.com:80":    "https://ads.example.com:80",
		"https://ads.example.com:":      "https://ads.example.com",
		"https://h/a%2Fb":               "https://h/a%2Fb",
		"https://[0:0:0:0:0:0:0:1]:8":   "https://[::1]:8",
		"https://bücher.example":        "https://bücher.example",
	} {
		got, f := normaliseURL(in)
		if f != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", in, got, f, want)
			continue
		}
		if again, f := normaliseURL(got); f != nil || again != got {
			t.Errorf("%s: %q becomes %q, %v", in, got, again, f)
		}
	}
	for _, in := range []string{
		"localhost:3001", "ftp://h", "//h", "http://", "http:///x", "http://:80", "http:h", "https://h:0", "https://h:65536", "https://h:x", "https://h?x=1", "https://h#x", "https://h?",
		"https://u:p@h", "https://u@h", "https://h/ x", "https://h\\x", "https://[::1", "https://[fe80::1%25eth0]", "https://a b", "https://h/\x00", "https://%41", "https://h/@x", "https://<h>",
	} {
		if got, f := normaliseURL(in); f == nil {
			t.Errorf("%q is taken as %q", in, got)
		}
	}
}

// A password never shows in what is said about a URL, wherever it hides (fault 138).
func TestURLIsRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:c4n4ry@h/x":       "https://***@h/x",
		"https://u:a@c4n4ry@h":       "https://***@h",
		"https://u:c4n4ry#x@h":       "https://***@h",
		"https://u:c4n4ryh/x":        "https:…",
		"https://h/x?token=c4n4ry":   "https://h/x…",
		"https://h/x#c4n4ry":         "https://h/x…",
		"u:c4n4ry@h":                 "u://***@h",
		"https://u:p@h/x?t=c4n4ry@y": "https://***@y",
		"c4n4ry@h":                   "",
		"ftp://h/x":                  "ftp://h/x",
		"h.example.com:80":           "h.example.com:80",
	} {
		if got := showURL(in); got != want || strings.Contains(got, canary) {
			t.Errorf("%s is shown as %q, want %q", in, got, want)
		}
		_, err := loadYAML(t, strings.ReplaceAll(one(""), "https://ads.example.com", "'"+in+"'"), "P=x")
		wellFormed(t, problems(t, err))
	}
}

// Plain http is for this machine only; --strict and production refuse it (fault 138).
func TestPlainHTTP(t *testing.T) {
	src := func(url string) string { return strings.ReplaceAll(one(""), "https://ads.example.com", url) }
	for url, warned := range map[string]bool{
		"http://localhost:3001": false, "http://127.8.9.1": false, "http://[::1]": false, "http://api.localhost": false, "http://localhost.": false, "http://[::ffff:127.0.0.1]": false, "https://h": false,
		"http://ads.example.com": true, "http://10.0.0.1": true, "http://localhost.example.com": true, "http://0.0.0.0": true, "http://127.0.0.1.example.com": true,
	} {
		c, err := loadYAML(t, src(url), "P=x")
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		if got := len(c.Warnings) == 1 && strings.Contains(c.Warnings[0].Message, "in clear"); got != warned {
			t.Errorf("%s: warnings %v", url, c.Warnings)
		}
		if _, err := loadYAML(t, "environment: production\n"+src(url), "P=x"); (err != nil) != warned {
			t.Errorf("%s in production: %v", url, err)
		}
	}
	dir := dirWith(t, map[string]string{DefaultFile: src("http://ads.example.com")})
	if _, err := Load(Options{Dir: dir, Strict: true, Environ: []string{"P=x"}}); len(problems(t, err)) != 1 || problems(t, err)[0].Warning {
		t.Errorf("strict: %v", err)
	}
}

// A secret in clear draws a warning that does not repeat it, wherever it stands in clear (fault 135).
func TestSecretInClear(t *testing.T) {
	const head = "clients:\n  - id: acme\n    connections:\n      - platform: adplatform\n        url: https://h\n        credentials: {email: a@example.com, password: "
	for _, tt := range []struct {
		src   string
		warns int
	}{
		{head + "c4n4ry}", 1},
		{head + "'${X:-c4n4ry}'}", 1},
		{head + "'a${X}'}", 1},
		{head + "'${X}'}", 0},
		{head + "'env:X'}", 0},
		{head + "!!str 12}", 1},
		{"database: postgres://u:c4n4ry@h/db\n" + head + "'${X}'}", 1},
		{"database: postgres://u:${X:-c4n4ry}@h/db\n" + head + "'${X}'}", 1},
		{"database: postgres://u@h/db?password=c4n4ry\n" + head + "'${X}'}", 1},
		{"database: postgres://u@h/db?password=${X}\n" + head + "'${X}'}", 0},
		{"database: postgres://u:${X}@h/db\n" + head + "'${X}'}", 0},
		{"database: ${D}\n" + head + "'${X}'}", 0},
		{"database: ${NOPE:-postgres://u:c4n4ry@h/db}\n" + head + "'${X}'}", 1},
		{"database: env:D\n" + head + "'${X}'}", 0},
		{"database: postgres://u@h/db\n" + head + "'${X}'}", 0},
		{"defaults: {credentials: {password: c4n4ry}}\n" + strings.TrimSuffix(head, ", password: ") + "}", 1},
	} {
		c, err := loadYAML(t, tt.src, "X=v", "D=postgres://u:c4n4ry@h/db")
		if err != nil {
			t.Errorf("%s: %v", tt.src, err)
			continue
		}
		wellFormed(t, c.Warnings)
		if len(c.Warnings) != tt.warns {
			t.Errorf("%s: %d warnings %v, want %d", tt.src, len(c.Warnings), c.Warnings, tt.warns)
		}
		if strings.Contains(c.Database.Display, canary) {
			t.Errorf("the database is shown as %s", c.Database.Display)
		}
		if _, err := loadYAML(t, "environment: production\n"+tt.src, "X=v", "D=postgres://u:c4n4ry@h/db"); (err != nil) != (tt.warns > 0) {
			t.Errorf("%s in production: %v", tt.src, err)
		} else if err != nil {
			wellFormed(t, problems(t, err))
		}
	}
}

func TestDuplicates(t *testing.T) {
	conn := func(extra string) string {
		return "      - {platform: adplatform, url: 'https://h', credentials: {email: e, password: '${P}'}" + extra + "}\n"
	}
	for name, tt := range map[string]struct {
		src  string
		want []string
	}{
		"ids by case": {
			"clients:\n  - id: Straße\n    connections:\n" + conn("") + "  - id: STRASSE\n    connections:\n" + conn("") + "  - id: straße\n    connections:\n" + conn(""),
			[]string{`adsync.yaml:8:9: clients[2].id: "straße" is the id of another client too, on line 2`},
		},
		"names":         {"clients:\n  - id: a\n    connections:\n" + conn("") + conn(""), []string{`adsync.yaml:5:9: clients[0].connections[1]: "adplatform" is the name of another connection of this client too, on line 4`}},
		"names by case": {"clients:\n  - id: a\n    connections:\n" + conn(", name: eu") + conn(", name: EU"), []string{`"EU" is the name of another connection`}},
		"keys":          {"clients:\n  - id: a\n    id: b\n    connections:\n" + conn(""), []string{"adsync.yaml:3:5: this key stands here twice, first on line 2"}},
		"apart": {
			"clients:\n  - id: a\n    connections:\n" + conn("") + conn(", name: eu, x_client_id: x") + "  - id: b\n    connections:\n" + conn(""), nil,
		},
	} {
		_, err := loadYAML(t, tt.src, "P=x")
		if len(tt.want) == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		ps := problems(t, err)
		if len(ps) != len(tt.want) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		for i := range ps {
			if !strings.Contains(ps[i].String(), tt.want[i]) {
				t.Errorf("%s: got %s, want %s", name, ps[i], tt.want[i])
			}
		}
	}
}

// The platform counts by URL and X-Client-ID: two connections of one count must not say different things about it.
func TestOneBucketTwoQuotas(t *testing.T) {
	src := one("~quota: 10/1m\n      - platform: adplatform\n~name: two\n~url: https://ADS.example.com/\n~credentials: {email: e, password: '${P}'}\n~quota: 20/1m\n")
	c, err := loadYAML(t, src, "P=x")
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].String(), "adsync.yaml:8:9: warning: clients[0].connections[1].quota: differs from that of the connection on line 4") {
		t.Errorf("got %v, %v", c, err)
	}
	c, err = loadYAML(t, strings.Replace(src, "name: two", "name: two\n        x_client_id: other", 1), "P=x")
	if err != nil || len(c.Warnings) != 0 {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestShapesOfTheFile(t *testing.T) {
	for src, want := range map[string]string{
		"":                         "clients: is missing",
		"# nothing\n":              "clients: is missing",
		"clients:\n":               "clients: names no client",
		"clients: []\n":            "clients: names no client",
		"clients: acme\n":          "clients: is a single value, not a list",
		"clients: {id: acme}\n":    "clients: is a mapping (key: value), not a list",
		"- id: acme\n":             "is a list (- …), not a configuration",
		"acme\n":                   "is a single value, not a configuration",
		"clients:\n  - id: acme\n": "clients[0].connections: is missing",
		"clients:\n  - id: a\n    connections: []\n":  "clients[0].connections: names no connection",
		"clients:\n  - id: a\n    connections: [x]\n": "clients[0].connections[0]: is a single value, not a connection",
		"clients:\n  - connections: [{platform: adplatform, url: 'https://h', credentials: {email: e, password: '${P}'}}]\n": "clients[0].id: is missing",
		"clients: [\n":            "YAML: ",
		"clients:\n\t- id: a\n":   "YAML: ",
		"a: \"x\nb: c\n":          "YAML: could not find end character",
		"password: a: c4n4ry\n":   "YAML: mapping value is not allowed",
		"password:c4n4ry\nx: y\n": "YAML: unexpected key name",
		"a: 1\n---\nb: 2\n":       "adsync.yaml:2:1: a second document begins here",
		"---\n---\na: 1\n":        "adsync.yaml:2:1: a second document begins here",
		"a: 1\n---\n---\nb: 2\n":  "adsync.yaml:2:1: a second document begins here",
		"a: 1\n...\nb: 2\n":       "adsync.yaml:3:1: a second document begins here",
		"? [a]\n: b\n":            "begins a key with ?",
		"a: *x\n":                 "is an alias (*name) of an anchor that does not exist",
		"clients: &a [*a]\n":      "is an alias (*name) inside the value that it stands for",
		"<<: 5\nclients: x\n":     "<< needs a mapping",
		"a: !x y\n":               "has a tag",
		"\xff\xfea\x00":           "is written in UTF-16",
		"a: \x00":                 "is not text",
		"a: b\nc: \xff\n":         "adsync.yaml:2: is not text",
		"\x7fELF\x02\x01":         "is not text",
	} {
		_, err := loadYAML(t, src, "P=x")
		if err == nil {
			t.Errorf("%q is taken", src)
			continue
		}
		ps := problems(t, err)
		wellFormed(t, ps)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", src, err, want)
		}
	}
}

func TestOneDocument(t *testing.T) {
	for _, src := range []string{"---\n" + one(""), "# c\n---\n# d\n" + one("") + "...\n# end\n", "%YAML 1.2\n---\n" + one(""), "\uFEFF" + one(""), strings.ReplaceAll(one(""), "\n", "\r\n")} {
		if c, err := loadYAML(t, src, "P=x"); err != nil || len(c.Connections) != 1 {
			t.Errorf("%q: %v", src, err)
		}
	}
}

func TestAnchorsAndMerges(t *testing.T) {
	c, err := loadYAML(t, `
defaults:
  credentials: &cred
    email: shared@example.com
    password: &pw ${P}
clients:
  - id: a
    connections: &conns
      - &conn
        platform: adplatform
        url: https://h
        timeout: 20s
        x_client_id: ""
  - id: b
    connections: *conns
  - id: c
    connections:
      - <<: *conn
        timeout: 40s
        credentials: {<<: *cred, password: *pw}
`, "P=x")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range c.Connections {
		got = append(got, c.Ref.String()+" "+c.Timeout.String()+" "+c.Email.Reveal())
	}
	want := []string{"a/adplatform 20s shared@example.com", "b/adplatform 20s shared@example.com", "c/adplatform 40s shared@example.com"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A hostile file is refused at once and in bounded memory (fault 137). Without the guards, each of these takes minutes or gigabytes.
func TestHostileFiles(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := range 30 {
		prev, this := string(rune('a'+i%26))+string(rune('0'+i/26)), string(rune('a'+(i+1)%26))+string(rune('0'+(i+1)/26))
		bomb += this + ": &" + this + " [*" + prev + strings.Repeat(",*"+prev, 8) + "]\n"
	}
	var keys strings.Builder
	for i := range 190 {
		keys.WriteString("  k" + strings.Repeat("x", i) + ": v\n")
	}
	merges := "x: &m\n" + keys.String() + "y:\n" + strings.Repeat("  - <<: *m\n", 20_000)
	// By aliases, a few lines are a million connections.
	conns := "clients:\n  - &c\n    id: x\n    connections: [&k {platform: adplatform, url: 'https://h', credentials: {email: e, password: p}}," + strings.Repeat("*k, ", 2000) + "]\n" + strings.Repeat("  - *c\n", 2000)
	for name, tt := range map[string]struct{ src, want string }{
		"bomb":         {bomb + "clients: *e1\n", "clients[0]: is a list"},
		"merge bomb":   {merges, "merges (<<) bring too many settings"},
		"connections":  {conns, "more than 100000 connections"},
		"flow depth":   {strings.Repeat("[", 200_000), "nested deeper than 32 levels"},
		"map depth":    {strings.Repeat("{a: ", 100_000), "nested deeper than 32 levels"},
		"deep in flow": {"a: " + strings.Repeat("[{b: ", 50_000), "nested deeper than 32 levels"},
		"dashes":       {strings.Repeat("- ", 100_000), "nested deeper than 32 levels"},
		"indents":      {nested(500), "nested deeper than 32 levels"},
		"keys":         {strings.Repeat("a: b\n", 240_000), "more than 200 keys in one mapping"},
		"flow keys":    {"{" + strings.Repeat("a: b, ", 150_000) + "}", "more than 200 keys in one mapping"},
		"marks":        {strings.Repeat("-\n", 2<<20), "holds more than 500000 lines and marks"},
		"too big":      {strings.Repeat("# comment\n", 500_000), "is too big: more than 4 MiB"},
		"question":     {strings.Repeat("? ", 200_000), "begins a key with ?"},
		"anchors":      {strings.Repeat("&", 400_000), "YAML: "},
		"quotes":       {strings.Repeat("\"", 400_001), "YAML: "},
		"percent":      {strings.Repeat("%a\n", 200_000), "YAML: "},
		"documents":    {strings.Repeat("---\n", 120_000) + strings.Repeat("--- a\n", 1000), "a second document begins here"},
		"long line":    {"clients: " + strings.Repeat("x", 4<<20-100), "clients: is a single value"},
	} {
		_, err := loadYAML(t, tt.src)
		if err == nil {
			t.Errorf("%s is taken", name)
			continue
		}
		said := err.Error()
		if len(said) > 1<<20 {
			t.Errorf("%s: an error of %d bytes", name, len(said))
		}
		if !strings.Contains(said, tt.want) {
			t.Errorf("%s: got %.200s, want %s", name, said, tt.want)
		}
		wellFormed(t, problems(t, err))
	}
}

func nested(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestNamedFilesMustExist(t *testing.T) {
	dir := dirWith(t, map[string]string{"adsync.yml": one("")})
	_, err := Load(Options{Dir: dir, ConfigFile: "nope.yaml", EnvFile: "nope.env"})
	ps := problems(t, err)
	if len(ps) != 2 || !strings.Contains(err.Error(), "nope.yaml: there is no such file") || !strings.Contains(err.Error(), "nope.env: there is no such file") {
		t.Errorf("got %v", err)
	}
	_, err = Load(Options{Dir: dir, ConfigFile: "."})
	if ps := problems(t, err); len(ps) != 1 || !strings.Contains(ps[0].Message, "is a directory") {
		t.Errorf("got %v", err)
	}
	c, err := Load(Options{Dir: dir, Environ: []string{"AD_PLATFORM_API_URL=http://localhost", "AD_PLATFORM_EMAIL=e", "AD_PLATFORM_PASSWORD=p"}})
	if err != nil || len(c.Warnings) != 1 || c.Warnings[0].File != "adsync.yml" {
		t.Errorf("got %+v, %v", c, err)
	}
	c, err = Load(Options{Dir: "/", ConfigFile: filepath.Join(dir, "adsync.yml"), Environ: []string{"P=x"}})
	if err != nil || c.Source != filepath.Join(dir, "adsync.yml") {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestWriteNewNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), DefaultFile)
	if err := WriteNew(path, Template()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || openToOthers(info) {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := WriteNew(path, []byte("x")); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != template {
		t.Error("the file was changed")
	}
	if err := WriteNew(filepath.Join(path, "x"), nil); err == nil {
		t.Error("a file below a file")
	}
}
