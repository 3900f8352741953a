package tokens_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/leaktest"
	"adsync/internal/observe"
	"adsync/internal/pgtest"
	"adsync/internal/platform"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/postgres"
	"adsync/internal/store/sqlite"
	"adsync/internal/tokens"
)

// The binary runs itself again as another process.
const (
	envRole = "ADSYNC_TOKENS_TEST_ROLE"
	envDB   = "ADSYNC_TOKENS_TEST_DB"
	envURL  = "ADSYNC_TOKENS_TEST_URL"
)

// What a child does.
const (
	roleAsk        = "ask"         // 16 requests at once
	roleDieAnswers = "die-answers" // it is killed when the platform has answered, before that is stored
	roleDieStored  = "die-stored"  // it is killed when the token is stored, before it is used
)

const (
	childAskers = 16
	shortLease  = 2 * time.Second
	firstToken  = "configured-refresh-token-0"
	testWithin  = 2 * time.Minute
)

func TestMain(m *testing.M) {
	role := os.Getenv(envRole)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := child(role); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

// service is a platform over HTTP: refresh tokens are good once, access tokens until the next one is given.
type service struct {
	*httptest.Server
	mu       sync.Mutex
	n        int
	refresh  string
	access   string
	life     int
	renewals int
	refusals int
	calls    int
	given    map[string]string // every token, by a name
	hold     chan struct{}     // nil: renewals are answered at once
	came     func()            // nil: nobody is told of a renewal that is asked for
}

func newService(t testing.TB) *service {
	s := &service{refresh: firstToken, life: 3600, given: map[string]string{"configured": firstToken}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		form, _ := url.ParseQuery(string(body))
		s.mu.Lock()
		hold, came := s.hold, s.came
		s.mu.Unlock()
		if came != nil {
			came()
		}
		if hold != nil {
			<-hold
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if form.Get("refresh_token") != s.refresh {
			s.refusals++
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"%s is void"}`, form.Get("refresh_token"))
			return
		}
		s.n++
		s.renewals++
		s.refresh, s.access = fmt.Sprintf("rotated-refresh-token-%d-%x", s.n, sha256.Sum256([]byte{1, byte(s.n)})), fmt.Sprintf("access-token-%d-%x", s.n, sha256.Sum256([]byte{2, byte(s.n)}))
		s.given[fmt.Sprint("refresh ", s.n)], s.given[fmt.Sprint("access ", s.n)] = s.refresh, s.access
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": s.access, "refresh_token": s.refresh, "expires_in": s.life})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if r.Header.Get("Authorization") != "Bearer "+s.access {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = io.WriteString(w, "{}")
}

func (s *service) counts() (renewals, refusals, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewals, s.refusals, s.calls
}

func (s *service) secrets() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.given)
}

// connector renews tokens with service.
type connector struct{ parsed func() }

func (connector) Spec() platform.Spec { return platform.Spec{Name: "test"} }
func (connector) Classify(r platform.Reply) platform.Verdict {
	switch {
	case r.Endpoint == "token" && r.Status == http.StatusBadRequest:
		return platform.Verdict{Class: ads.ClassAuth, Code: "invalid_grant", Message: string(r.Body)}
	case r.Status == http.StatusUnauthorized:
		return platform.Verdict{Class: ads.ClassTokenDead}
	case r.Status != http.StatusOK:
		return platform.Verdict{Class: ads.ClassTransient}
	}
	return platform.Verdict{}
}

func (connector) Accounts(context.Context, platform.Caller) iter.Seq2[ads.Account, error] {
	return func(func(ads.Account, error) bool) {}
}

func (connector) Step(context.Context, platform.Caller, platform.Task, func(ads.Record) error) (platform.Next, error) {
	return platform.Next{}, nil
}

func (connector) RefreshRequest(k platform.Token) platform.Request {
	return platform.Request{Endpoint: "token", Method: "POST", Path: "/token", Body: []byte(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {k.Refresh}}.Encode())}
}

func (c connector) ParseToken(r platform.Reply) (platform.Token, error) {
	var v struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Expires int    `json:"expires_in"`
	}
	err := json.Unmarshal(r.Body, &v)
	if c.parsed != nil {
		c.parsed()
	}
	return platform.Token{Value: v.Access, Refresh: v.Refresh, Life: time.Duration(v.Expires) * time.Second}, err
}

// client is a connection's client, with the tokens of m.
func client(m *tokens.Manager, p platform.Platform, base string, o observe.Observer) (*apiclient.Client, error) {
	return apiclient.New(apiclient.Config{
		Platform: p, Ref: ads.Ref{ClientID: "acme", Connection: "test"}, BaseURL: base, Credentials: secret.Bag{}.With(platform.CredentialRefreshToken, secret.New(firstToken)),
		Shared: apiclient.NewShared(apiclient.SharedConfig{Tokens: m}), Observer: o,
	})
}

var call = platform.Request{Endpoint: "read", Method: "GET", Path: "/x", Repeatable: true}

// looking tells of each look at a token.
type looking struct{ store.Store }

func (l looking) ReadToken(ctx context.Context, id string) (tokens.Row, error) {
	r, err := l.Store.ReadToken(ctx, id)
	fmt.Println("look")
	return r, err
}

// child is the life of another process.
func child(role string) error {
	ctx, cancel := context.WithTimeout(context.Background(), testWithin)
	defer cancel()
	st, err := openDB(ctx, os.Getenv(envDB))
	if err != nil {
		return err
	}
	defer st.Close()
	m, err := managerOf(looking{st})
	if err != nil {
		return err
	}
	die := func() {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			_ = self.Kill()
		}
		select {}
	}
	p := connector{}
	if role == roleDieAnswers {
		p.parsed = die
	}
	c, err := client(m, p, os.Getenv(envURL), nil)
	if err != nil {
		return err
	}
	if role == roleDieStored {
		if err := c.Login(ctx); err != nil {
			return err
		}
		die()
	}
	fmt.Println("ready")
	if _, err := bytes.NewBuffer(nil).ReadFrom(os.Stdin); err != nil { // all begin when it is closed
		return err
	}
	errs := make(chan error, childAskers)
	for range childAskers {
		go func() {
			_, err := c.Do(ctx, call)
			errs <- err
		}()
	}
	for range childAskers {
		err = errors.Join(err, <-errs)
	}
	return err
}

func openDB(ctx context.Context, name string) (store.Store, error) {
	if path, ok := strings.CutPrefix(name, "sqlite:"); ok {
		return sqlite.Open(ctx, path, sqlite.Options{})
	}
	return postgres.Open(ctx, secret.New(name), postgres.Options{})
}

func managerOf(st store.Store) (*tokens.Manager, error) {
	k, err := tokens.ParseKey(keyText(1))
	if err != nil {
		return nil, err
	}
	return tokens.New(tokens.Options{Ledger: st, Keys: []tokens.Key{k}, Lease: shortLease})
}

// database is one that holds nothing. check searches all its bytes.
type database struct {
	name  string
	check func(t *testing.T, s *leaktest.Scanner) map[string][]leaktest.Finding
}

var databases = map[string]func(t *testing.T) database{
	"sqlite": func(t *testing.T) database {
		dir := t.TempDir()
		return database{"sqlite:" + filepath.Join(dir, "t.db"), func(t *testing.T, s *leaktest.Scanner) map[string][]leaktest.Finding { return files(t, s, dir) }}
	},
	"postgres": func(t *testing.T) database {
		pgtest.Need(t)
		srv, err := pgtest.Shared()
		if err != nil {
			t.Fatal(err)
		}
		dsn := pgtest.NewOn(t, srv)
		begin := ask(t, dsn, "SELECT pg_current_wal_insert_lsn()")[0]
		return database{dsn, func(t *testing.T, s *leaktest.Scanner) map[string][]leaktest.Finding {
			if err := srv.Exec(t.Context(), "CHECKPOINT"); err != nil {
				t.Fatal(err)
			}
			return written(t, s, srv.Dir(), dsn, begin)
		}}
	},
}

// ask gives the first column of a query as text.
func ask(t *testing.T, dsn, query string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(t.Context(), query, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) { return string(row.RawValues()[0]), nil })
	if err != nil || len(out) == 0 {
		t.Fatalf("%s: %v, %v", query, out, err)
	}
	return out
}

// written searches all that PostgreSQL has on its disk of this database since it was made: the files of its own tables and indexes, and of what it has
// logged ahead of them the part that was written since begin. The rest of the server's files is what it began with.
func written(t *testing.T, s *leaktest.Scanner, dir, dsn, begin string) map[string][]leaktest.Finding {
	t.Helper()
	found := map[string][]leaktest.Finding{}
	scan := func(name string, from, to int) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if to < 0 {
			to = len(b)
		}
		if f := s.Scan(b[from:to]); len(f) > 0 {
			found[name] = f
		}
	}
	data := ask(t, dsn, "SHOW data_directory")[0]
	tables := 0
	for _, name := range ask(t, dsn, "SELECT pg_relation_filepath(oid) FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'i', 't', 'S') AND pg_relation_size(oid) > 0") {
		scan(filepath.Join(data, name), 0, -1)
		tables++
	}
	if tables == 0 {
		t.Error("no table has been looked at")
	}
	segments := ask(t, dsn, "SELECT format('%s %s %s', n, CASE WHEN n = f.file_name THEN f.file_offset ELSE 0 END, CASE WHEN n = l.file_name THEN l.file_offset ELSE -1 END)"+
		" FROM pg_ls_waldir() w(n), pg_walfile_name_offset('"+begin+"') f, pg_walfile_name_offset(pg_current_wal_insert_lsn()) l WHERE n >= f.file_name AND n <= l.file_name")
	for _, line := range segments {
		var name string
		var from, to int
		if _, err := fmt.Sscan(line, &name, &from, &to); err != nil {
			t.Fatal(err)
		}
		scan(filepath.Join(data, "pg_wal", name), from, to)
	}
	logs, err := s.Files(dir, data)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(found, logs)
	return found
}

func files(t *testing.T, s *leaktest.Scanner, dir string) map[string][]leaktest.Finding {
	t.Helper()
	found, err := s.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func each(t *testing.T, fn func(t *testing.T, db database, st store.Store, s *service)) {
	for name, make := range databases {
		t.Run(name, func(t *testing.T) {
			db := make(t)
			st, err := openDB(t.Context(), db.name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = st.Close() })
			if _, err := st.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			fn(t, db, st, newService(t))
		})
	}
}

func spawn(t *testing.T, db database, s *service, role string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), envRole+"="+role, envDB+"="+db.name, envURL+"="+s.URL)
	return cmd
}

// mine is this process's client, with what it notes.
func mine(t *testing.T, st store.Store, s *service) (*apiclient.Client, func() string) {
	t.Helper()
	m, err := managerOf(st)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var notes []string
	c, err := client(m, connector{}, s.URL, observe.Func(func(e observe.Event) {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, fmt.Sprintf("%T %+v", e.Data, e.Data))
	}))
	if err != nil {
		t.Fatal(err)
	}
	return c, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(notes, "\n")
	}
}

// noSecrets searches the database and a text for all tokens that there ever were.
func noSecrets(t *testing.T, db database, s *service, text string) {
	t.Helper()
	scan, err := leaktest.New(s.secrets())
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range db.check(t, scan) {
		t.Errorf("%s: %v", name, f)
	}
	if f := scan.Scan([]byte(text)); len(f) > 0 {
		t.Errorf("in the output: %v", f)
	}
}

// Fault 11: two processes and 32 askers, and one renewal.
func TestTwoProcesses(t *testing.T) {
	each(t, func(t *testing.T, db database, st store.Store, s *service) {
		// The renewal is answered when the other process has looked again and again, or asks for one itself, which it must not.
		hold := make(chan struct{})
		var mu sync.Mutex
		looks, asks, ready := 0, 0, make(chan struct{}, 2)
		open := sync.OnceFunc(func() { close(hold) })
		defer open()
		see := func(looked, asked int) {
			mu.Lock()
			defer mu.Unlock()
			if looks, asks = looks+looked, asks+asked; asks > 1 || asks == 1 && looks > 4 {
				open()
			}
		}
		s.mu.Lock()
		s.hold, s.came = hold, func() { see(0, 1) }
		s.mu.Unlock()
		var children []*exec.Cmd
		var starts []io.Closer
		var readers sync.WaitGroup
		var outs [2]bytes.Buffer
		for i := range outs {
			cmd := spawn(t, db, s, roleAsk)
			cmd.Stderr = &outs[i]
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			readers.Go(func() {
				for lines := bufio.NewScanner(out); lines.Scan(); {
					switch lines.Text() {
					case "ready":
						ready <- struct{}{}
					case "look":
						see(1, 0)
					}
				}
			})
			children, starts = append(children, cmd), append(starts, in)
		}
		for range children {
			select {
			case <-ready:
			case <-time.After(testWithin):
				t.Fatal("a child did not begin")
			}
		}
		for _, in := range starts {
			_ = in.Close()
		}
		readers.Wait() // they have closed their output
		for i, cmd := range children {
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s", err, outs[i].String())
			}
		}
		if renewals, refusals, calls := s.counts(); renewals != 1 || refusals != 0 || calls != 2*childAskers {
			t.Errorf("%d renewals, %d refused, %d calls", renewals, refusals, calls)
		}
		c, notes := mine(t, st, s)
		if _, err := c.Do(t.Context(), call); err != nil {
			t.Error(err)
		}
		if renewals, refusals, _ := s.counts(); renewals != 1 || refusals != 0 {
			t.Errorf("a third process: %d renewals, %d refused", renewals, refusals)
		}
		noSecrets(t, db, s, notes()+outs[0].String()+outs[1].String())
	})
}

// A process that is killed when the token is stored has lost nothing: the next one uses it.
func TestKilledBeforeUse(t *testing.T) {
	each(t, func(t *testing.T, db database, st store.Store, s *service) {
		if err := spawn(t, db, s, roleDieStored).Run(); err == nil {
			t.Fatal("it was not killed")
		}
		c, notes := mine(t, st, s)
		if _, err := c.Do(t.Context(), call); err != nil {
			t.Error(err)
		}
		if renewals, refusals, calls := s.counts(); renewals != 1 || refusals != 0 || calls != 1 {
			t.Errorf("%d renewals, %d refused, %d calls", renewals, refusals, calls)
		}
		noSecrets(t, db, s, notes())
	})
}

// One that is killed between the platform's answer and its storing has lost the only good token. That cannot be helped, and is said.
func TestKilledBeforeStoring(t *testing.T) {
	each(t, func(t *testing.T, db database, st store.Store, s *service) {
		if err := spawn(t, db, s, roleDieAnswers).Run(); err == nil {
			t.Fatal("it was not killed")
		}
		c, notes := mine(t, st, s)
		_, err := c.Do(t.Context(), call)
		if ads.ClassOf(err) != ads.ClassAuth || !strings.Contains(err.Error(), "was never stored, and the platform may have replaced the refresh token") {
			t.Error(err)
		}
		if said := notes(); !strings.Contains(said, "token_lost") {
			t.Errorf("nobody was told:\n%s", said)
		}
		if renewals, refusals, calls := s.counts(); renewals != 1 || refusals != 1 || calls != 0 {
			t.Errorf("%d renewals, %d refused, %d calls", renewals, refusals, calls)
		}
		// Nobody else asks again, until another token is configured.
		again, _ := mine(t, st, s)
		if _, err := again.Do(t.Context(), call); ads.ClassOf(err) != ads.ClassAuth {
			t.Error(err)
		}
		if _, refusals, _ := s.counts(); refusals != 1 {
			t.Errorf("asked %d times for what was refused", refusals)
		}
		noSecrets(t, db, s, fmt.Sprintf("%s %v %+v", notes(), err, err))
	})
}

// The search finds what is not sealed, or it would prove nothing.
func TestSearchFinds(t *testing.T) {
	each(t, func(t *testing.T, db database, st store.Store, s *service) {
		planted := fmt.Sprintf("planted-%x", sha256.Sum256([]byte(t.Name())))
		if _, taken, err := st.LeaseToken(t.Context(), "a", tokens.Lease{Platform: "p", Holder: "h", Life: time.Minute}); !taken || err != nil {
			t.Fatal(err)
		}
		if ok, err := st.KeepToken(t.Context(), "a", tokens.Keep{Holder: "h", Sealed: tokens.Sealed{Key: "k", Box: []byte(planted)}}); !ok || err != nil {
			t.Fatal(err)
		}
		scan, err := leaktest.New(map[string]string{"planted": planted})
		if err != nil {
			t.Fatal(err)
		}
		if found := db.check(t, scan); len(found) == 0 {
			t.Error("it was not found")
		}
	})
}
