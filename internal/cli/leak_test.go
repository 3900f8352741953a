package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/scanner"
	"go/token"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"adsync/internal/leaktest"
	"adsync/internal/pgtest"
	"adsync/internal/report"
	"adsync/internal/simulator"
	"adsync/internal/store"
	"adsync/internal/vaults/fakevault"
)

// leakCase is one life of adsync: commands and a service, with something wrong about it.
type leakCase struct {
	postgres bool
	format   string   // of the log
	faults   []string // of the platform
	echo     bool     // the platform gives our credentials back in its errors
	panics   bool     // the database's code panics, with a secret as the value
	stub     bool     // the database and the collector of traces are not there at all
	plant    string   // a client's id: what is to be found everywhere, in a test of the search
}

func (c leakCase) String() string {
	db := "sqlite"
	if c.postgres {
		db = "postgres"
	}
	s := db + " " + c.format + " " + strings.Join(c.faults, "+")
	for name, on := range map[string]bool{" echo": c.echo, " panics": c.panics, " stub": c.stub} {
		if on {
			s += name
		}
	}
	return s
}

// sinks are everything that a life has put out, by where it went.
type sinks map[string][]byte

// leakBed is a world for one life.
type leakBed struct {
	t       *testing.T
	c       leakCase
	dir     string
	sim     *simulator.Server
	secrets map[string]string
	env     []string
	file    string // the configuration
	dsn     string // of PostgreSQL, with the password
	dump    string // the same as the superuser
	sinks   sinks

	mu     sync.Mutex
	traces bytes.Buffer
}

// password is a random secret with characters that encoders treat each in their own way.
func password(rnd *rand.Rand) string {
	const letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789/+&=%<>'\"\\?#@!$*.,;~^_- "
	b := []byte("c4n4ry")
	for range 12 + rnd.IntN(20) {
		b = append(b, letters[rnd.IntN(len(letters))])
	}
	return string(append(b, "eND"...))
}

func newLeakBed(t *testing.T, c leakCase, rnd *rand.Rand) *leakBed {
	b := &leakBed{t: t, c: c, dir: t.TempDir(), secrets: map[string]string{}, sinks: sinks{}}
	for _, name := range []string{"password of acme", "password of globex", "password of initech", "wrong password", "database password", "vault token", "collector key"} {
		b.secrets[name] = password(rnd)
	}
	b.secrets["vault token"] = "hvs." + strconv.FormatUint(rnd.Uint64(), 36) + strconv.FormatUint(rnd.Uint64(), 36)
	b.secrets["webhook"] = "hook-" + strconv.FormatUint(rnd.Uint64(), 36) + strconv.FormatUint(rnd.Uint64(), 36)
	b.secrets["collector key"] = strings.Map(func(r rune) rune {
		if r < '!' || r == '"' || r == '\\' || r == ',' {
			return '-'
		}
		return r
	}, b.secrets["collector key"])

	cfg := simulator.Config{
		Email: "acme@example.com", Password: b.secrets["password of acme"], Campaigns: 25, Seed: rnd.Uint64(), Faults: c.faults,
		Accounts: []simulator.Account{
			{Email: "globex@example.com", Password: b.secrets["password of globex"]}, {Email: "initech@example.com", Password: b.secrets["password of initech"]},
		},
	}
	sim, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.sim = sim
	var platform http.Handler = sim
	if c.echo {
		platform = &echoing{next: sim, rnd: rnd}
	}
	srv := httptest.NewServer(platform)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close(); sim.Close() })

	vault := fakevault.New()
	vault.Policy("ads", "secret/data/*")
	vault.AddToken(b.secrets["vault token"], fakevault.Token{Policies: []string{"ads"}})
	vault.Put("", "secret/globex", map[string]any{"password": b.secrets["password of globex"]})
	collector := httptest.NewServer(http.HandlerFunc(b.collect))
	t.Cleanup(collector.Close)

	write(t, filepath.Join(b.dir, "initech"), b.secrets["password of initech"]+"\n")
	database := "sqlite:" + filepath.ToSlash(filepath.Join(b.dir, "db", "adsync.db"))
	if err := os.Mkdir(filepath.Join(b.dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	if c.postgres {
		b.postgres()
		database = "${LEAK_DATABASE}"
	}
	if c.stub {
		collector.Close()
		database = fmt.Sprintf("postgres://adsync:%s@127.0.0.1:1/ads", url.QueryEscape(b.secrets["database password"]))
	}
	first := "acme"
	if c.plant != "" {
		first = c.plant
	}
	b.file = filepath.Join(b.dir, "adsync.yaml")
	write(t, b.file, fmt.Sprintf(`database: %q
defaults: {url: %q, quota: 200/1s, timeout: 300ms, max_elapsed: 1s, schedule: every 10m}
notify: {webhook: "env:LEAK_HOOK"}
clients:
  - id: %s
    connections: [{platform: adplatform, credentials: {email: acme@example.com, password: "${LEAK_ACME}"}}]
  - id: globex
    connections: [{platform: adplatform, credentials: {email: globex@example.com, password: "vault:secret/data/globex#password"}}]
  - id: initech
    connections: [{platform: adplatform, credentials: {email: initech@example.com, password: "file:initech"}}]
  - id: umbrella
    connections: [{platform: adplatform, credentials: {email: acme@example.com, password: "env:LEAK_WRONG"}}]
`, database, srv.URL, first))
	b.env = []string{
		"LEAK_ACME=" + b.secrets["password of acme"], "LEAK_WRONG=" + b.secrets["wrong password"], "LEAK_DATABASE=" + b.dsn,
		"LEAK_HOOK=http://127.0.0.1:1/services/" + b.secrets["webhook"],
		"VAULT_ADDR=" + vault.Serve(t).URL, "VAULT_TOKEN=" + b.secrets["vault token"],
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_EXPORTER_OTLP_HEADERS=api-key=" + url.PathEscape(b.secrets["collector key"]), "OTEL_BSP_SCHEDULE_DELAY=50",
	}
	return b
}

// roles counts those that were made on the shared server.
var roles atomic.Int32

// postgres makes a database that belongs to a role with a password.
func (b *leakBed) postgres() {
	b.t.Helper()
	b.dump = pgtest.New(b.t)
	s, err := pgtest.Shared()
	if err != nil {
		b.t.Fatal(err)
	}
	u, err := url.Parse(b.dump)
	if err != nil {
		b.t.Fatal(err)
	}
	role := fmt.Sprintf("leak_%d", roles.Add(1))
	statements := []string{
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, strings.ReplaceAll(b.secrets["database password"], "'", "''")),
		fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", strings.TrimPrefix(u.Path, "/"), role),
	}
	if err := s.Exec(context.Background(), statements...); err != nil {
		b.t.Fatal(err)
	}
	u.User = url.UserPassword(role, b.secrets["database password"])
	b.dsn = u.String()
}

// collect is an OTLP receiver. Headers are its due; what else it is sent is a sink.
func (b *leakBed) collect(w http.ResponseWriter, r *http.Request) {
	body := r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			b.t.Error(err)
			return
		}
		body = z
	}
	got, err := io.ReadAll(io.LimitReader(body, 64<<20))
	if err != nil {
		return // the sender's end
	}
	b.mu.Lock()
	b.traces.Write(got)
	b.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// echoing is a platform that puts what it was sent into its errors, in all the ways that a gateway or a debug page might.
type echoing struct {
	next http.Handler
	mu   sync.Mutex
	rnd  *rand.Rand
	n    int
}

func (e *echoing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.n++
	page := e.n%2 == 0
	play, status := e.n%3 == 0, []int{400, 403, 404, 409, 422, 429, 500, 502, 503, 307}[e.rnd.IntN(10)]
	e.mu.Unlock()
	auth := r.Header.Get("Authorization")
	if !play || auth == "" || r.URL.Path == "/health" {
		e.next.ServeHTTP(w, r)
		return
	}
	kind, cred, _ := strings.Cut(auth, " ")
	said := []string{auth, cred, url.QueryEscape(cred), hex.EncodeToString([]byte(cred)), base64.StdEncoding.EncodeToString([]byte(auth))}
	if plain, err := base64.StdEncoding.DecodeString(cred); kind == "Basic" && err == nil {
		_, pw, _ := strings.Cut(string(plain), ":")
		said = append(said, string(plain), pw, url.PathEscape(pw), fmt.Sprintf("%q", pw))
	}
	w.Header().Set("X-Request-Id", cred)
	w.Header().Set("X-Debug", auth)
	w.Header().Set("Location", "http://127.0.0.1:1/?token="+url.QueryEscape(cred))
	text := strings.Join(append(said, hostile), " | ")
	if page {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<html><body><pre>%s</pre></body></html>", text)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": text, "message": text, "code": cred, "request_id": cred, "details": map[string]string{"authorization": auth}})
}

// hostile is what a terminal would obey, what would make another line of a log, and what turns text round.
const hostile = "\x1b]0;title\x07\x1b[31mred\u009b1m\u0085\r\nlevel=ERROR msg=fake\u202edesrever\u2028\x7f\x00\ufeff"

// clumsy is a database whose code panics now and then, with a value that holds a secret.
type clumsy struct {
	store.Store
	value string
	mu    sync.Mutex
	n     int
}

func (s *clumsy) now(every int) {
	s.mu.Lock()
	s.n++
	play := s.n%every == 0
	s.mu.Unlock()
	if play {
		panic(fmt.Errorf("no place for %s: %w", s.value, errors.New(s.value)))
	}
}

func (s *clumsy) Commit(ctx context.Context, l store.Lease, c *store.Commit) (store.Result, error) {
	s.now(4)
	return s.Store.Commit(ctx, l, c)
}

func (s *clumsy) OpenRun(ctx context.Context, l store.Lease, o store.OpenRun) (store.Run, error) {
	s.now(5)
	return s.Store.OpenRun(ctx, l, o)
}

func (s *clumsy) FinishRun(ctx context.Context, l store.Lease, f store.FinishRun) error {
	s.now(6)
	return s.Store.FinishRun(ctx, l, f)
}

func (s *clumsy) Status(ctx context.Context) ([]store.ConnectionStatus, error) {
	s.now(3)
	return s.Store.Status(ctx)
}

// started is a command that runs; stop ends it as SIGTERM does.
type started struct {
	stdout, stderr *safeBuffer
	done           chan struct{}
	code           int
	stop           func()
}

func (b *leakBed) start(on func(string), args ...string) *started {
	s := &started{stdout: &safeBuffer{}, stderr: &safeBuffer{on: on}, done: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(within(b.t))
	s.stop = func() { cancel(&report.Stopped{Signal: "SIGTERM", Code: 143}) }
	b.t.Cleanup(func() { s.stop(); <-s.done })
	a := &app{
		ctx: ctx, began: time.Now(), environ: b.env, stdin: strings.NewReader(""), stdout: &output{w: s.stdout}, stderr: s.stderr, red: report.NewRedactor(),
	}
	if b.c.panics {
		a.wrap = func(st store.Store) store.Store {
			return &clumsy{Store: st, value: b.secrets["password of acme"] + " " + b.secrets["database password"]}
		}
	}
	args = append(args, "--config", b.file, "--log-format", b.c.format)
	go func() { defer close(s.done); s.code = a.main(args) }()
	return s
}

// most bounds how long a command of these tests goes on: faults may have it wait for long.
const most = 4 * time.Second

// command runs one to its end, or stops it after a while, and keeps what it said.
func (b *leakBed) command(sink string, args ...string) {
	b.t.Helper()
	s := b.start(nil, args...)
	timer := time.AfterFunc(most, s.stop)
	defer timer.Stop()
	<-s.done
	b.sinks[sink+" stdout"], b.sinks[sink+" stderr"] = []byte(s.stdout.String()), []byte(s.stderr.String())
}

// live runs the commands and the service, and collects everything that they put out.
func (b *leakBed) live() sinks {
	b.t.Helper()
	if b.c.postgres {
		b.command("migrate", "migrate")
	}
	metrics := filepath.Join(b.dir, "out", "adsync.prom")
	if err := os.Mkdir(filepath.Dir(metrics), 0o700); err != nil {
		b.t.Fatal(err)
	}
	b.command("check", "check", "--log-level", "debug")
	b.command("check json", "check", "--json")
	b.command("sync", "sync", "--log-level", "debug", "--metrics-file", metrics, "--max-wait", "1s")
	b.serve()
	b.command("sync json", "sync", "--json", "--max-wait", "1s", "--log-level", "debug")
	b.command("retry", "failures", "retry", "--json", "--log-level", "debug", "--max-wait", "1s")
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"failures", "list"}, {"failures", "list", "--json"}} {
		b.command(strings.Join(args, " "), args...)
	}
	b.mu.Lock()
	b.sinks["traces"] = bytes.Clone(b.traces.Bytes())
	b.mu.Unlock()
	if got, err := os.ReadFile(metrics); err == nil {
		b.sinks["metrics file"] = got
	}
	switch {
	case b.c.stub:
	case b.c.postgres:
		b.sinks["pg_dump"] = pgDump(b.t, b.dump)
		s, err := pgtest.Shared()
		if err != nil {
			b.t.Fatal(err)
		}
		b.sinks["log of PostgreSQL"] = readAll(b.t, filepath.Join(s.Dir(), "log"))
	default:
		for _, name := range globbed(b.t, filepath.Join(b.dir, "db", "*")) {
			b.sinks["database file "+strings.TrimPrefix(filepath.Base(name), "adsync.db")] = readAll(b.t, name)
		}
		b.sinks["database rows"] = rows(b.t, filepath.Join(b.dir, "db", "adsync.db"))
	}
	return b.sinks
}

// runEnded is the log's line at the end of a run, in both formats.
var runEnded = regexp.MustCompile(`sync (?:complete|partial|failed|interrupted)[^\n]*client[=":]+([a-z0-9-]+)`)

var listening = regexp.MustCompile(`listening on (http://[0-9.]+:[0-9]+)`)

// serve lets the service sync everything once, and reads every page that it has.
func (b *leakBed) serve() {
	b.t.Helper()
	up := make(chan string, 1)
	ended := make(chan struct{})
	var once, twice sync.Once
	s := b.start(func(all string) {
		if m := listening.FindStringSubmatch(all); m != nil {
			once.Do(func() { up <- m[1] })
		}
		over := map[string]bool{}
		for _, m := range runEnded.FindAllStringSubmatch(all, -1) {
			over[m[1]] = true
		}
		if len(over) == 4 {
			twice.Do(func() { close(ended) })
		}
	}, "serve", "--listen", "127.0.0.1:0", "--log-level", "debug")
	wait := most
	if b.c.plant != "" {
		wait = time.Minute // it must have come everywhere
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case base := <-up:
		for _, client := range []string{b.first(), "globex", "initech", "umbrella", "nobody"} {
			b.ask(base, "POST", "/api/v1/sync", fmt.Sprintf(`{"client": %q, "connection": "adplatform"}`, client))
		}
		select {
		case <-ended:
		case <-time.After(wait):
		}
		b.pages(base)
	case <-s.done:
	case <-timer.C:
	}
	s.stop()
	<-s.done
	b.sinks["serve stdout"], b.sinks["serve stderr"] = []byte(s.stdout.String()), []byte(s.stderr.String())
}

func (b *leakBed) first() string {
	if b.c.plant != "" {
		return b.c.plant
	}
	return "acme"
}

// ask keeps an answer whole, headers too. An answer that does not end is read for a while.
func (b *leakBed) ask(base, method, path, body string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var all bytes.Buffer
	_ = resp.Header.Write(&all)
	_, _ = io.Copy(&all, io.LimitReader(resp.Body, 8<<20))
	b.sinks[method+" "+path] = append(b.sinks[method+" "+path], all.Bytes()...)
	return all.String()
}

var (
	link     = regexp.MustCompile(`(?:href|src|action|data-[a-z-]+)="(/[^"#]*)"`)
	wildcard = regexp.MustCompile(`\{[^}]*\}`)
)

// mostPages bounds the walk.
const mostPages = 120

// pages reads every page that the server's source names, and every one that those lead to.
func (b *leakBed) pages(base string) {
	todo := routes(b.t)
	seen := map[string]bool{}
	for len(todo) > 0 && len(seen) < mostPages {
		path := todo[0]
		todo = todo[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		for _, m := range link.FindAllStringSubmatch(b.ask(base, "GET", path, ""), -1) {
			todo = append(todo, strings.ReplaceAll(m[1], "&amp;", "&"))
		}
	}
	b.ask(base, "GET", "/no/such/page?token=x", "")
}

// routes are the paths of "GET /…" in the source of the server, each wildcard once as each of the names that a test has.
func routes(t *testing.T) (out []string) {
	t.Helper()
	fset := token.NewFileSet()
	for _, name := range globbed(t, filepath.Join("..", "server", "*.go")) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src := readAll(t, name)
		if _, err := parser.ParseFile(fset, name, src, parser.ImportsOnly); err != nil {
			t.Fatal(err)
		}
		var sc scanner.Scanner
		sc.Init(fset.AddFile(name+" (scan)", -1, len(src)), src, nil, 0)
		for _, tok, lit := sc.Scan(); tok != token.EOF; _, tok, lit = sc.Scan() {
			if tok != token.STRING {
				continue
			}
			s, err := strconv.Unquote(lit)
			if path, ok := strings.CutPrefix(s, "GET /"); err == nil && ok {
				path = strings.TrimSuffix("/"+path, "{$}")
				for _, with := range []string{"globex", "adplatform", "1"} {
					out = append(out, wildcard.ReplaceAllString(path, with))
				}
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if !slices.Contains(out, "/metrics") || !slices.Contains(out, "/healthz") {
		t.Fatalf("the pages of the server were not found: %q", out)
	}
	return out
}

// check searches all that was put out.
func (b *leakBed) check(got sinks) {
	b.t.Helper()
	secrets := map[string]string{}
	for name, v := range b.secrets {
		secrets[name] = v
	}
	for i, tok := range b.sim.IssuedTokens() {
		if len(tok) >= leaktest.Shortest {
			secrets[fmt.Sprintf("token %d", i)] = tok
		}
	}
	scan, err := leaktest.New(secrets)
	if err != nil {
		b.t.Fatal(err)
	}
	for sink, text := range got {
		for _, f := range scan.Scan(text) {
			b.t.Errorf("%s: %s: %v", b.c, sink, f)
		}
		if strings.HasSuffix(sink, " stdout") || strings.HasSuffix(sink, " stderr") {
			if at := bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && (!unicode.IsPrint(r) || r == unicode.ReplacementChar) }); at >= 0 {
				b.t.Errorf("%s: %s: not to be printed: %q", b.c, sink, text[max(0, at-60):min(len(text), at+20)])
			}
		}
	}
	found, err := scan.Files(b.dir, b.file, filepath.Join(b.dir, "initech")) // what we wrote ourselves
	if err != nil && !b.c.postgres && !b.c.stub {
		b.t.Error(err)
	}
	for name, fs := range found {
		b.t.Errorf("%s: file %s: %v", b.c, name, fs)
	}
}

// Whole lives of adsync, with faults of the platform, panics, the most talkative logs of both kinds, metrics, traces, pages and both databases:
// no byte of all that is put out holds a secret in any form, and nothing that a terminal obeys is printed raw. ADSYNC_LEAK_LIVES asks for more than the usual few, of another seed each time.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ADSYNC_LEAK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	lives := 3
	if s := os.Getenv("ADSYNC_LEAK_LIVES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		lives = n
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	cases := []leakCase{
		{format: "text", echo: true, faults: []string{"name-hostile", "id-hostile"}},
		{format: "json", echo: true, postgres: true, faults: []string{"name-hostile", "id-hostile"}},
		{format: "text", panics: true, postgres: true},
		{format: "json", panics: true, echo: true},
		{format: "text", stub: true},
	}
	faults := simulator.Catalogue()
	for range lives {
		c := leakCase{format: []string{"text", "json"}[rnd.IntN(2)], postgres: rnd.IntN(2) == 0, echo: rnd.IntN(3) == 0, panics: rnd.IntN(3) == 0}
		for range 1 + rnd.IntN(4) {
			if f := faults[rnd.IntN(len(faults))].Name; f != "gzip-bomb" && f != "endless-body" { // those cost time and say nothing
				c.faults = append(c.faults, f)
			}
		}
		cases = append(cases, c)
	}
	for _, c := range cases {
		if c.postgres && os.Getenv("ADSYNC_TEST_NO_POSTGRES") == "1" {
			c.postgres = false
		}
		rnd := rand.New(rand.NewPCG(seed, rnd.Uint64()))
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			b := newLeakBed(t, c, rnd)
			b.check(b.live())
			if t.Failed() {
				t.Logf("again with ADSYNC_LEAK_SEED=%d", seed)
			}
		})
	}
}

// The search would find something in every place that it looks at: what a client is called gets everywhere.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	const planted = "c4n4ry-planted-here"
	for _, c := range []leakCase{{format: "text", plant: planted}, {format: "json", plant: planted, postgres: true}} {
		if c.postgres && os.Getenv("ADSYNC_TEST_NO_POSTGRES") == "1" {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(1, 2))
			c.faults = []string{"sync-always-500:id=campaign_7"}
			b := newLeakBed(t, c, rnd)
			if c.postgres {
				s, err := pgtest.Shared()
				if err != nil {
					t.Fatal(err)
				}
				if s.Exec(t.Context(), "SELECT '"+planted+"'::int") == nil {
					t.Error("PostgreSQL took a word for a number")
				}
			}
			got := b.live()
			scan, err := leaktest.New(map[string]string{"planted": planted})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{
				"check stdout", "check json stdout", "sync stdout", "sync stderr", "serve stderr", "sync json stdout", "sync json stderr", "retry stdout", "retry stderr",
				"status stdout", "status --json stdout", "failures list stdout", "failures list --json stdout", "traces", "metrics file",
				"GET /metrics", "GET /api/v1/status", "POST /api/v1/sync",
			}
			if c.postgres {
				want = append(want, "pg_dump", "log of PostgreSQL")
			} else {
				want = append(want, "database file ", "database rows")
			}
			for _, sink := range want {
				if len(scan.Scan(got[sink])) == 0 {
					t.Errorf("it was not found in %s, of %d bytes", sink, len(got[sink]))
				}
			}
			if !c.postgres {
				if found, err := scan.Files(filepath.Join(b.dir, "db")); err != nil || len(found) == 0 {
					t.Errorf("files: %v, %v", found, err)
				}
			}
			b.check(got)
		})
	}
}

func globbed(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: nothing there (%v)", pattern, err)
	}
	return names
}

func readAll(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rows are all rows of all tables of a SQLite database, as text: in its file they may be spread over pages.
func rows(t *testing.T, path string) []byte {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx := within(t)
	var out bytes.Buffer
	for _, table := range column(t, ctx, db, "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')") {
		rs, err := db.QueryContext(ctx, `SELECT * FROM "`+table+`"`)
		if err != nil {
			t.Fatal(err)
		}
		cols, err := rs.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rs.Next() {
			vals, ptrs := make([]any, len(cols)), make([]any, len(cols))
			for i := range vals {
				ptrs[i] = &vals[i]
			}
			if err := rs.Scan(ptrs...); err != nil {
				t.Fatal(err)
			}
			for _, v := range vals {
				if raw, ok := v.([]byte); ok {
					v = string(raw)
				}
				fmt.Fprintf(&out, "%v\n", v)
			}
		}
		if err := rs.Err(); err != nil {
			t.Fatal(err)
		}
		rs.Close()
	}
	return out.Bytes()
}

func column(t *testing.T, ctx context.Context, db *sql.DB, query string) (out []string) {
	t.Helper()
	rs, err := db.QueryContext(ctx, query)
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Close()
	for rs.Next() {
		var s string
		if err := rs.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rs.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// pgDump is a database as text.
func pgDump(t *testing.T, dsn string) []byte {
	t.Helper()
	bin := "pg_dump"
	if all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump"); len(all) > 0 {
		bin = all[len(all)-1]
	}
	cmd := exec.CommandContext(within(t), bin, "--inserts", "--dbname", dsn)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	return out
}
