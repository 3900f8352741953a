// Package postgres keeps everything in a PostgreSQL database, over a small pool of connections. Many processes may share it.
//
// Large batches go by a binary COPY into a temporary table and one upsert from there, the first load of an account by a COPY straight into
// its table, small ones as arrays. A connection of its own holds an advisory lock for as long as this Store lives: it is how other
// processes know that we do. Where a service beats, one more carries its beats.
//
// It imports ads, quota, secret and store, and must not import the engine or anything that prints.
package postgres

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"adsync/internal/ads"
	"adsync/internal/quota"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// Options tune a Store. The zero value is right.
type Options struct {
	MaxConns int // of the pool, where the address does not say (pool_max_conns); 0: 8
}

// Store is a database on a server. Make one with Open.
type Store struct {
	pool   *pgxpool.Pool
	config *pgxpool.Config
	place  place
	schema string // named by search_path; empty: the connection's own
	holder holder

	mu     sync.Mutex
	closed bool
	heart  *pgxpool.Pool     // of one connection, for Beat; made by the first
	fresh  map[freshKey]bool // whether an account had no rows when its run began
}

var (
	_ store.Store  = (*Store)(nil)
	_ quota.Ledger = (*Store)(nil)
)

const (
	defaultMaxConns = 8
	openTimeout     = 15 * time.Second // for a server that does not answer
	connectTimeout  = 5 * time.Second  // for one try
	opTimeout       = 5 * time.Minute  // for one call of a method, its repeats included
	// Limits that the server keeps for us, where neither the address nor the server has others.
	statementTimeout = "60s"
	lockTimeout      = "30s"
	idleInTx         = "60s"
)

// Open connects to the database that dsn names (postgres://user:password@host:port/name).
func Open(ctx context.Context, dsn secret.Text, o Options) (*Store, error) {
	// What ParseConfig says about a bad address may hold parts of it, the password too.
	cfg, err := pgxpool.ParseConfig(dsn.Reveal())
	if err != nil {
		return nil, &store.Error{
			Kind: store.KindOther, Op: "open", Message: "the database's address cannot be read", Hint: "write postgres://user:password@host:5432/name; percent-encode special characters in user and password",
		}
	}
	if !strings.Contains(dsn.Reveal(), "pool_max_conns") {
		cfg.MaxConns = int32(o.MaxConns)
		if o.MaxConns <= 0 {
			cfg.MaxConns = defaultMaxConns
		}
	}
	cc := cfg.ConnConfig
	s := &Store{config: cfg, fresh: map[freshKey]bool{}, schema: firstSchema(cc.RuntimeParams["search_path"])}
	s.place = place{host: net.JoinHostPort(cc.Host, strconv.Itoa(int(cc.Port))), database: cc.Database, user: cc.User}
	if strings.HasPrefix(cc.Host, "/") {
		s.place.host = cc.Host
	}
	if cc.RuntimeParams["application_name"] == "" {
		cc.RuntimeParams["application_name"] = "adsync"
	}
	cc.RuntimeParams["timezone"] = "UTC"
	if cc.ConnectTimeout == 0 || cc.ConnectTimeout > connectTimeout {
		cc.ConnectTimeout = connectTimeout
	}
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.AfterConnect = setLimits
	cfg.ConnConfig.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	if s.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, s.place.error(ctx, "open", err)
	}
	s.holder.store = s
	limited, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	err = common.Retry(limited, func(err error) time.Duration {
		if c := sqlState(err); c == codeTooMany || c == "57P03" { // full, or starting up
			return 200 * time.Millisecond
		}
		return 0
	}, func() error { return s.pool.Ping(limited) })
	if err != nil {
		s.pool.Close()
		return nil, s.place.error(ctx, "open", err)
	}
	return s, nil
}

// firstSchema is the first name of a search_path.
func firstSchema(path string) string {
	first, _, _ := strings.Cut(path, ",")
	first = strings.TrimSpace(first)
	if len(first) > 1 && first[0] == '"' && first[len(first)-1] == '"' {
		return strings.ReplaceAll(first[1:len(first)-1], `""`, `"`)
	}
	return strings.ToLower(first)
}

// setLimits sets what a connection keeps to. Plans are made while tables grow by thousands of rows a second and their statistics lag behind, so
// the server is kept from reading a table whole where it has an index, and from compiling for the cost that it believes that to have.
func setLimits(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `SELECT set_config(name, v, false) FROM (VALUES ('statement_timeout', '`+statementTimeout+`'), ('lock_timeout', '`+lockTimeout+`'),
		('idle_in_transaction_session_timeout', '`+idleInTx+`')) AS l (n, v) JOIN pg_settings ON name = n WHERE setting = '0'
		UNION ALL SELECT set_config('enable_seqscan', 'off', false) UNION ALL SELECT set_config('jit', 'off', false)`)
	return err
}

// Describe names the database for people, without its password.
func (s *Store) Describe() string {
	return "postgres://" + s.place.user + "@" + s.place.host + "/" + s.place.database
}

// Close gives back all locks and connections.
func (s *Store) Close() error {
	s.holder.close()
	s.mu.Lock()
	heart := s.heart
	s.closed = true
	s.mu.Unlock()
	if heart != nil {
		heart.Close()
	}
	s.pool.Close()
	return nil
}

// begin opens a transaction.
const begin = "BEGIN"

// tx runs fn in a transaction and tries again where that may help. fn ends with commit; what else it has to do before its end it may send in
// one batch with that.
func (s *Store) tx(ctx context.Context, op string, fn func(ctx context.Context, c *pgx.Conn) error) error {
	return s.txOn(ctx, s.pool, op, fn)
}

func (s *Store) txOn(ctx context.Context, pool *pgxpool.Pool, op string, fn func(ctx context.Context, c *pgx.Conn) error) error {
	limited, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	err := common.Retry(limited, pause, func() error {
		err := once(limited, pool, fn)
		if err != nil && lost(err) {
			pool.Reset() // the others that wait in the pool are as dead
		}
		return err
	})
	return s.place.error(ctx, op, err)
}

func once(ctx context.Context, pool *pgxpool.Pool, fn func(ctx context.Context, c *pgx.Conn) error) error {
	pc, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer pc.Release() // closes a connection whose transaction is still open
	c := pc.Conn()
	done := false
	defer func() {
		if done || c.IsClosed() || c.PgConn().TxStatus() == 'I' {
			return
		}
		// The context may have ended, and the connection is of use to others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		if _, err := c.Exec(ctx, "ROLLBACK"); err != nil {
			_ = c.Close(ctx)
		}
	}()
	if err := fn(ctx, c); err != nil {
		return err
	}
	done = c.PgConn().TxStatus() == 'I'
	if !done {
		return errors.New("the transaction was left open")
	}
	return nil
}

// send sends a batch in one go and reads all answers. The first error is given.
func send(ctx context.Context, c *pgx.Conn, b *pgx.Batch) error { return c.SendBatch(ctx, b).Close() }

// read runs fn on a connection of the pool, and once more where the connection turns out to be dead.
func (s *Store) read(ctx context.Context, op string, fn func(ctx context.Context, c *pgx.Conn) error) error {
	limited, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	err := common.Retry(limited, pause, func() error {
		err := s.pool.AcquireFunc(limited, func(pc *pgxpool.Conn) error { return fn(limited, pc.Conn()) })
		if err != nil && lost(err) {
			s.pool.Reset()
		}
		return err
	})
	return s.place.error(ctx, op, err)
}

// fenceSQL locks the connection's row, provided that this Store still holds it with this fence, and moves its newest stamp on.
const fenceSQL = `UPDATE adsync_locks SET last_stamp = greatest(last_stamp, $5::timestamptz) WHERE client_id = $1 AND connection = $2 AND fence = $3 AND holder_id = $4 RETURNING last_stamp`

// queueFence adds the beginning of a transaction that only the newest holder gets through.
func (s *Store) queueFence(b *pgx.Batch, l store.Lease, stamp any, last **time.Time) *fenceCheck {
	f := &fenceCheck{}
	b.Queue(begin)
	b.Queue(fenceSQL, l.Ref.ClientID, l.Ref.Connection, l.Fence, s.holder.current(), stamp).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			f.ok = true
			if err := rows.Scan(last); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return f
}

type fenceCheck struct{ ok bool }

// fenced is a transaction with one batch of statements before its own work. fn commits.
func (s *Store) fenced(ctx context.Context, op string, l store.Lease, fn func(ctx context.Context, c *pgx.Conn, last time.Time) error) error {
	return s.tx(ctx, op, func(ctx context.Context, c *pgx.Conn) error {
		b := &pgx.Batch{}
		var last *time.Time
		f := s.queueFence(b, l, nil, &last)
		if err := send(ctx, c, b); err != nil {
			return err
		}
		if !f.ok {
			return store.ErrFenced
		}
		if last == nil {
			last = &time.Time{}
		}
		return fn(ctx, c, last.UTC())
	})
}

// CheckWritable writes a row and takes it away again, and looks at the rights on every table of the contract.
func (s *Store) CheckWritable(ctx context.Context) error {
	sc, err := s.Schema(ctx)
	if err != nil {
		return err
	}
	if sc.Current > sc.Known {
		return newer(sc)
	}
	if sc.Current < sc.Known {
		return older(sc)
	}
	limited, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	err = once(limited, s.pool, func(ctx context.Context, c *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(begin)
		b.Queue("INSERT INTO adsync_probe (id, at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = excluded.at")
		b.Queue("COMMIT")
		b.Queue("DELETE FROM adsync_probe WHERE at <= now()")
		return send(ctx, c, b)
	})
	if err != nil {
		return s.place.error(ctx, "check", err)
	}
	return s.checkRights(ctx)
}

// quotaHeld bounds how long a process that is paused in the middle of a change keeps all others from a bucket.
const quotaHeld = "SET LOCAL idle_in_transaction_session_timeout = '2s'"

// UpdateQuota implements quota.Ledger. The server's clock is everybody's.
func (s *Store) UpdateQuota(ctx context.Context, bucket string, fn func(state []byte, now time.Time) ([]byte, error)) error {
	return s.tx(ctx, "quota", func(ctx context.Context, c *pgx.Conn) error {
		var state []byte
		var now time.Time
		b := &pgx.Batch{}
		b.Queue(begin)
		b.Queue(quotaHeld)
		// A new bucket's row is made first, so that there is something to lock. The clock is read when the lock is ours.
		b.Queue("INSERT INTO adsync_quota (bucket) VALUES ($1) ON CONFLICT (bucket) DO NOTHING", bucket)
		b.Queue("SELECT q.state, clock_timestamp() FROM (SELECT state FROM adsync_quota WHERE bucket = $1 FOR UPDATE) q", bucket).QueryRow(func(row pgx.Row) error {
			return row.Scan(&state, &now)
		})
		if err := send(ctx, c, b); err != nil {
			return err
		}
		next, err := fn(state, now.UTC())
		if err != nil {
			return &callbackError{err}
		}
		b = &pgx.Batch{}
		if !sameSlice(state, next) {
			b.Queue("UPDATE adsync_quota SET state = $2 WHERE bucket = $1", bucket, next)
		}
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
}

// sameSlice reports whether b is a itself.
func sameSlice(a, b []byte) bool {
	return len(a) == len(b) && (a == nil) == (b == nil) && (len(a) == 0 || &a[0] == &b[0])
}

// freshKey names an account's listing within one life of a run.
type freshKey struct {
	ref             ads.Ref
	fence           int64
	account, stream string
}
