package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/store"
)

// holder proves that this Store lives: a connection of its own holds an advisory lock that the server gives up with the connection, and
// so with the process however that ends. It is made when the first connection of a client is taken. Where it is lost while the process
// lives, it is made again; whoever was quicker has a newer fence.
type holder struct {
	store *Store

	mu     sync.Mutex
	id     string
	closed bool
	cancel context.CancelFunc
	done   chan struct{}
}

// lockSession sets what the session that holds the lock must not be ended for, and how soon the server notices that our machine is gone.
// Not every version has every setting.
const lockSession = `SELECT set_config(name, v, false) FROM (VALUES ('statement_timeout', '0'), ('idle_session_timeout', '0'), ('lock_timeout', '10s'),
	('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3')) AS l (n, v) JOIN pg_settings ON name = n`

var errClosed = &store.Error{Kind: store.KindOther, Op: "lock", Message: "the database was closed"}

// take gives the holder's id, whose lock is then held until close.
func (h *holder) take(ctx context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return "", errClosed
	}
	if h.id != "" {
		return h.id, nil
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	id := strconv.FormatInt(int64(binary.BigEndian.Uint64(b[:])>>1), 10)
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	c, err := h.connect(ctx, id)
	if err != nil {
		return "", err
	}
	watch, stop := context.WithCancel(context.Background())
	h.id, h.cancel, h.done = id, stop, make(chan struct{})
	go h.keep(watch, c, id)
	return id, nil
}

func (h *holder) connect(ctx context.Context, id string) (*pgx.Conn, error) {
	c, err := pgx.ConnectConfig(ctx, h.store.config.ConnConfig.Copy())
	if err != nil {
		return nil, err
	}
	if _, err = c.PgConn().Exec(ctx, lockSession).ReadAll(); err == nil {
		_, err = c.Exec(ctx, "SELECT pg_advisory_lock($1::bigint)", id)
	}
	if err != nil {
		_ = c.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return c, nil
}

// keep waits for the connection to be lost and makes it again, until the Store is closed.
func (h *holder) keep(ctx context.Context, c *pgx.Conn, id string) {
	defer close(h.done)
	for {
		for {
			if _, err := c.WaitForNotification(ctx); err != nil {
				break // nobody notifies us: this is the end of the connection or of the Store
			}
		}
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		if !c.IsClosed() { // the server notices the end of a connection a moment later
			_, _ = c.Exec(closing, "SELECT pg_advisory_unlock_all()")
		}
		_ = c.Close(closing)
		cancel()
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			if ctx.Err() != nil {
				return
			}
			trying, cancel := context.WithTimeout(ctx, openTimeout)
			again, err := h.connect(trying, id)
			cancel()
			if err == nil {
				c = again
				break
			}
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return
			}
		}
	}
}

// current is the id, empty before the first take.
func (h *holder) current() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.id
}

func (h *holder) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.cancel != nil {
		h.cancel()
		<-h.done
		h.cancel, h.id = nil, ""
	}
}
