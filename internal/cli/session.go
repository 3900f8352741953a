package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/report"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/postgres"
	"adsync/internal/store/sqlite"
	"adsync/internal/vaults"
)

// resolveWithin bounds the reading of secrets from where they are kept, resolveEach what each connection adds to that: a store is asked
// for a few at a time.
const (
	resolveWithin = 30 * time.Second
	resolveEach   = 10 * time.Millisecond
)

// configsHeld is how many configurations keep their stores of secrets open: the one that holds, and the one before a reload, since runs
// that began under it may still be using values that a store only lent.
const configsHeld = 2

// load reads the configuration, tells the redactor what it must not let through, and logs warnings and notes. With offline, secrets that a
// remote store keeps are not read.
func (a *app) load(offline bool) (*config.Config, error) {
	cfg, err := config.Load(config.Options{ConfigFile: a.Config, EnvFile: a.EnvFile, Environ: a.environ, Strict: a.Strict, Stores: vaults.Open})
	if err != nil {
		return nil, err
	}
	a.strict = a.Strict || cfg.Environment == config.Production
	a.protect(cfg)
	if !offline {
		ctx, cancel := context.WithTimeout(a.ctx, resolveWithin+time.Duration(len(cfg.Connections))*resolveEach)
		defer cancel()
		if err := cfg.Resolve(ctx); err != nil {
			cfg.Close()
			return nil, err
		}
		a.protect(cfg)
	}
	a.hold(cfg)
	for _, w := range cfg.Warnings {
		a.problem(slog.LevelWarn, w)
	}
	for _, n := range cfg.Notes {
		a.log().Info(n)
	}
	return cfg, nil
}

// hold has the configuration's stores of secrets closed when the command ends, or after the next reload but one.
func (a *app) hold(cfg *config.Config) {
	a.configs = append(a.configs, cfg)
	if len(a.configs) > configsHeld {
		a.configs[0].Close()
		a.configs = a.configs[1:]
	}
}

// release closes the stores of secrets.
func (a *app) release() {
	for _, cfg := range a.configs {
		cfg.Close()
	}
	a.configs = nil
}

// protect makes the redactor know every secret of the configuration, also as HTTP Basic carries it.
func (a *app) protect(cfg *config.Config) {
	known := append([]secret.Text{cfg.Database.DSN, cfg.Web.Password, cfg.Web.Token, cfg.Notify.Webhook}, cfg.TokenKeys...)
	if u, err := url.Parse(cfg.Database.DSN.Reveal()); err == nil && u.User != nil {
		if pw, ok := u.User.Password(); ok {
			known = append(known, secret.New(pw))
		}
		if pw := u.Query().Get("password"); pw != "" {
			known = append(known, secret.New(pw))
		}
	}
	if u, err := url.Parse(cfg.Notify.Webhook.Reveal()); err == nil && len(u.EscapedPath()) > pairBelow { // its path is the secret part of it
		known = append(known, secret.New(u.EscapedPath()))
	}
	for _, c := range cfg.Connections {
		known = append(known, loginSecrets(c)...)
	}
	a.red.Add(known...)
}

// openStore opens the database and makes sure of its schema: SQLite's is brought up to date, PostgreSQL's only where migrate is set.
func (a *app) openStore(ctx context.Context, db config.Database, migrate bool) (store.Store, error) {
	st, err := openDatabase(ctx, db)
	if err != nil {
		return nil, err
	}
	if a.strict {
		p, err := privileged(ctx, st)
		if err != nil {
			return nil, errors.Join(err, st.Close())
		}
		if p != nil {
			return nil, errors.Join(&report.UnfitError{What: p.Path + ": " + p.Message, Hint: p.Cure}, st.Close())
		}
	}
	if err := a.schema(ctx, st, migrate || db.Engine == config.SQLite); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if a.wrap != nil {
		st = a.wrap(st)
	}
	return st, nil
}

// privileged warns of a user who may do everything in the database's server, and with it whoever takes adsync over. Nil where all is well. The error says
// that it could not be told.
func privileged(ctx context.Context, st store.Store) (*config.Problem, error) {
	s, ok := st.(interface {
		Superuser(ctx context.Context) (user string, yes bool, err error)
	})
	if !ok {
		return nil, nil
	}
	user, yes, err := s.Superuser(ctx)
	if err != nil || !yes {
		return nil, err
	}
	return &config.Problem{
		Path: "database", Message: fmt.Sprintf("the user %s is a superuser, which adsync has no need of", user),
		Cure: "make a role that may only read and write adsync's tables: deploy/postgres/roles.sql", Warning: true,
	}, nil
}

func openDatabase(ctx context.Context, db config.Database) (store.Store, error) {
	switch db.Engine {
	case config.SQLite:
		return sqlite.Open(ctx, db.Path, sqlite.Options{})
	case config.Postgres:
		return postgres.Open(ctx, db.DSN, postgres.Options{})
	}
	return nil, fmt.Errorf("no driver for the engine %q", db.Engine)
}

func (a *app) schema(ctx context.Context, st store.Store, migrate bool) error {
	have, err := st.Schema(ctx)
	switch {
	case err != nil:
		return err
	case have.Current == have.Known:
		return nil
	case have.Current < have.Known && !migrate:
		msg := fmt.Sprintf("the schema of %s is at version %d, this binary needs %d", st.Describe(), have.Current, have.Known)
		if have.Current == 0 {
			msg = fmt.Sprintf("%s has no tables of adsync yet", st.Describe())
		}
		return &store.Error{Kind: store.KindSchema, Op: "open", Message: msg, Hint: "run `adsync migrate` once, or give --migrate"}
	}
	now, err := st.Migrate(ctx)
	if err == nil && now.Current != have.Current {
		a.log().Info(fmt.Sprintf("the schema of %s is now at version %d", st.Describe(), now.Current))
	}
	return err
}

// hasDatabase is false where the database is a file that nobody has made yet: nothing can be in it, and looking should not make it.
func hasDatabase(db config.Database) bool {
	if db.Engine != config.SQLite {
		return true
	}
	_, err := os.Stat(db.Path)
	return !errors.Is(err, fs.ErrNotExist)
}

// selection are the flags that name connections.
type selection struct {
	Client     []string `name:"client" sep:"none" placeholder:"ID" help:"Only this client; repeatable."`
	Connection []string `name:"connection" sep:"none" placeholder:"NAME" help:"Only the connection of this name; repeatable."`
}

// of gives the connections that are selected. A name that selects nothing is a mistake.
func (s selection) of(cfg *config.Config) ([]config.Connection, error) {
	var clients, names []string
	for _, c := range cfg.Connections {
		clients, names = append(clients, c.Ref.ClientID), append(names, c.Ref.Connection)
	}
	if err := known("client", s.Client, clients, cfg.Source); err != nil {
		return nil, err
	}
	if err := known("connection", s.Connection, names, cfg.Source); err != nil {
		return nil, err
	}
	var out []config.Connection
	for _, c := range cfg.Connections {
		if (len(s.Client) == 0 || slices.Contains(s.Client, c.Ref.ClientID)) && (len(s.Connection) == 0 || slices.Contains(s.Connection, c.Ref.Connection)) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, usagef("", "no connection of %s is both of client %s and named %s", cfg.Source, strings.Join(s.Client, " or "), strings.Join(s.Connection, " or "))
	}
	return out, nil
}

// known checks names that were asked for against those that exist.
func known(what string, asked, have []string, source string) error {
	have = slices.Compact(slices.Sorted(slices.Values(have)))
	for _, name := range asked {
		if slices.Contains(have, name) {
			continue
		}
		next := fmt.Sprintf("Known are: %s.", strings.Join(have[:min(len(have), 20)], ", "))
		if len(have) > 20 {
			next = fmt.Sprintf("%d are known; `adsync status` lists them.", len(have))
		}
		if near := nearest(name, have); near != "" {
			next = fmt.Sprintf("Did you mean %s?", near)
		}
		return usagef(next, "%s has no %s %s", source, what, ads.Printable(name, 100))
	}
	return nil
}

// nearest is the name that name was probably meant to be, or empty.
func nearest(name string, have []string) string {
	best := slices.MinFunc(append([]string{""}, have...), func(a, b string) int {
		return cmp.Compare(distance(name, a), distance(name, b))
	})
	if distance(name, best) > max(1, len(name)/3) {
		return ""
	}
	return best
}

// distance is the number of letters to add, drop or change to make b of a.
func distance(a, b string) int {
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			change := diagonal
			if x[i] != y[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(y)]
}

// writeJSON puts the command's one document on stdout.
func (a *app) writeJSON(doc any) error { return report.WriteJSON(a.stdout, doc) }
