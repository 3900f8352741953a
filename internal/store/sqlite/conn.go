package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"

	"adsync/internal/store"
)

// How long somebody waits for another process's transaction, and for one of this process.
const (
	busyTimeout = 5 * time.Second
	turnTimeout = 30 * time.Second
)

// dsn builds a connection string. busy_timeout comes first: switching to WAL needs a lock and would fail at once without it.
func dsn(path string, pragmas ...string) string {
	q := url.Values{}
	q.Set("_txlock", "immediate")
	q.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	return u.String()
}

// conn is one connection with its prepared statements, used by one goroutine at a time. It talks to the driver directly: database/sql
// would convert every value of a batch once more.
type conn struct {
	dsn   string
	raw   driver.Conn
	stmts map[string]driver.Stmt
	args  []driver.NamedValue
	row   []driver.Value

	number  int64 // under which changedSQL finds it
	changed int64 // rows that changedSQL has been called for
}

// changedSQL is a function for the part of an upsert that is only worked out for a row that was there and is changed by it. It counts, and
// gives back its second argument; the first is the connection's number. To have each row returned instead takes a fifth of all the time.
const changedSQL = "adsync_changed"

// conns are the open connections by their numbers.
var (
	conns    sync.Map
	connsNew atomic.Int64
)

// drv opens our connections, apart from the driver that database/sql knows.
var drv = func() *sqlite.Driver {
	d := &sqlite.Driver{}
	d.MustRegisterScalarFunction(changedSQL, 2, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		number, _ := args[0].(int64)
		c, ok := conns.Load(number)
		if !ok {
			return nil, fmt.Errorf("no connection has the number %d", number)
		}
		c.(*conn).changed++
		return args[1], nil
	})
	return d
}()

func (c *conn) open() error {
	if c.raw != nil {
		return nil
	}
	raw, err := drv.Open(c.dsn)
	if err != nil {
		return err
	}
	c.raw, c.stmts = raw, map[string]driver.Stmt{}
	c.number = connsNew.Add(1)
	conns.Store(c.number, c)
	// Once they are open, writers wait for each other in begin.
	if _, err := c.exec("PRAGMA busy_timeout = 0"); err != nil {
		_ = c.close()
		return err
	}
	return nil
}

func (c *conn) close() error {
	if c.raw == nil {
		return nil
	}
	for _, s := range c.stmts {
		_ = s.Close()
	}
	err := c.raw.Close()
	conns.Delete(c.number)
	c.raw, c.stmts = nil, nil
	return err
}

func (c *conn) stmt(query string) (driver.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.raw.Prepare(query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

// named makes driver arguments of values. The slice is reused by the next call.
func (c *conn) named(args []any) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		switch v := a.(type) {
		case int:
			a = int64(v)
		case nil, int64, string, []byte, float64:
		default:
			panic(fmt.Sprintf("sqlite: argument of type %T", v))
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// bind adds an argument to c.args.
func (c *conn) bind(v any) {
	c.args = append(c.args, driver.NamedValue{Ordinal: len(c.args) + 1, Value: v})
}

// exec runs a statement and says how many rows it changed. Statements are short, so they take no context.
func (c *conn) exec(query string, args ...any) (int64, error) {
	c.named(args)
	return c.execBound(query)
}

// execBound is exec with the arguments that are in c.args.
func (c *conn) execBound(query string) (int64, error) {
	s, err := c.stmt(query)
	if err != nil {
		return 0, err
	}
	r, err := s.(driver.StmtExecContext).ExecContext(context.Background(), c.args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls scan for each row. The values are valid during the call only.
func (c *conn) query(query string, scan func(v []driver.Value) error, args ...any) error {
	c.named(args)
	return c.queryBound(query, scan)
}

// queryBound is query with the arguments that are in c.args.
func (c *conn) queryBound(query string, scan func(v []driver.Value) error) error {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), c.args)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	n := len(rows.Columns())
	if cap(c.row) < n {
		c.row = make([]driver.Value, n)
	}
	for {
		row := c.row[:n]
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if scan == nil {
			continue
		}
		if err := scan(row); err != nil {
			return err
		}
	}
}

// writer is a connection that writes, and the turns in which it is used. All writers of a Store share the turns, so that none waits in
// SQLite's own polling for another of the same process.
type writer struct {
	conn
	turn  *turns
	place place
	wait  time.Duration // for another process's transaction
}

// place names the database in errors.
type place struct{ path string }

// tx runs fn in a transaction.
func (w *writer) tx(ctx context.Context, op string, fn func(*conn) error) error {
	return w.inTurn(ctx, op, false, fn)
}

// urgent is tx before all others that wait.
func (w *writer) urgent(ctx context.Context, op string, fn func(*conn) error) error {
	return w.inTurn(ctx, op, true, fn)
}

func (w *writer) inTurn(ctx context.Context, op string, urgent bool, fn func(*conn) error) error {
	if !w.turn.take(ctx, urgent, turnTimeout) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &store.Error{
			Kind: store.KindLocked, Op: op, Message: fmt.Sprintf("%s: other writes of this process have taken longer than %s", w.place.path, turnTimeout),
			Hint: "the disk may be too slow or stuck",
		}
	}
	defer w.turn.give()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.open(); err != nil {
		return w.place.error(op, err)
	}
	if err := w.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return w.place.error(op, err)
	}
	err := func() (err error) {
		defer func() { // a panic of a callback must not leave the transaction open
			if v := recover(); v != nil {
				w.rollback()
				panic(v)
			}
		}()
		return fn(&w.conn)
	}()
	if err == nil {
		_, err = w.exec("COMMIT")
	}
	if err != nil {
		w.rollback()
		return w.place.error(op, err)
	}
	return nil
}

// begin waits for another process's transaction by asking every few milliseconds. SQLite's own waiting asks ten times a second in the end,
// and would hardly ever meet the moment between two commits of a process that writes without a break.
func (w *writer) begin(ctx context.Context) error {
	end := time.Now().Add(w.wait)
	for {
		_, err := w.exec("BEGIN IMMEDIATE")
		if err == nil || !isBusy(err) || !time.Now().Before(end) {
			return err
		}
		t := time.NewTimer(time.Millisecond + rand.N(3*time.Millisecond))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// rollback leaves the connection without a transaction, or gives it up.
func (w *writer) rollback() {
	if _, err := w.exec("ROLLBACK"); err != nil && !isNoTransaction(err) {
		_ = w.close()
	}
}
