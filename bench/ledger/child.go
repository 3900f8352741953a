package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/postgres"
	"adsync/internal/store/sqlite"
)

// task is what one process is to do.
type task struct {
	DSN       string // empty: a ledger in memory
	Limit     quota.Limit
	InFlight  int
	Work, Run time.Duration
	Alone     bool // one owner
}

// figures are what it did.
type figures struct {
	Arrivals, Takes []int64 // µs
	Looks, Writes   int64
	Error           string
}

// counting is a ledger that counts.
type counting struct {
	quota.Ledger
	looks, writes atomic.Int64
}

func (l *counting) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	l.looks.Add(1)
	wrote := false
	err := l.Ledger.UpdateQuota(ctx, bucket, func(state []byte, now time.Time) ([]byte, error) {
		next, err := fn(state, now)
		wrote = !bytes.Equal(state, next)
		return next, err
	})
	if wrote {
		l.writes.Add(1)
	}
	return err
}

func runChild(in io.Reader, out io.Writer) error {
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	var t task
	if err := dec.Decode(&t); err != nil {
		return err
	}
	ctx := context.Background()
	ledger, closeLedger, err := open(ctx, t.DSN)
	if err != nil {
		return err
	}
	defer closeLedger()
	count := &counting{Ledger: ledger}
	b := quota.NewManager(count).Bucket("bench", "bench", t.Limit)
	if err := enc.Encode("ready"); err != nil {
		return err
	}
	var begin string
	if err := dec.Decode(&begin); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.Run)
	defer cancel()
	var f figures
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range t.InFlight {
		owner := fmt.Sprint(i)
		if t.Alone {
			owner = "all"
		}
		wg.Go(func() {
			var arrivals, takes []int64
			for ctx.Err() == nil {
				told := false
				asked := time.Now()
				s, err := b.Take(ctx, quota.Ask{
					Owner: owner, Priority: platform.PriorityFollowUp, MaxWait: time.Hour, OnWait: func(observe.WaitStarted) { told = true },
				})
				if err != nil {
					if ctx.Err() == nil {
						mu.Lock()
						f.Error = err.Error()
						mu.Unlock()
						cancel()
					}
					break
				}
				now := time.Now()
				if !told {
					takes = append(takes, now.Sub(asked).Microseconds())
				}
				_ = s.Ready()
				s.Sent()
				arrivals = append(arrivals, time.Now().UnixMicro())
				time.Sleep(t.Work)
				s.Done(true)
			}
			mu.Lock()
			f.Arrivals, f.Takes = append(f.Arrivals, arrivals...), append(f.Takes, takes...)
			mu.Unlock()
		})
	}
	wg.Wait()
	f.Looks, f.Writes = count.looks.Load(), count.writes.Load()
	return enc.Encode(f)
}

func open(ctx context.Context, dsn string) (quota.Ledger, func(), error) {
	var st store.Store
	var err error
	switch path, isSQLite := strings.CutPrefix(dsn, "sqlite:"); {
	case dsn == "":
		return quotatest.NewMemory(), func() {}, nil
	case isSQLite:
		st, err = sqlite.Open(ctx, path, sqlite.Options{})
	default:
		st, err = postgres.Open(ctx, secret.New(dsn), postgres.Options{})
	}
	if err != nil {
		return nil, nil, err
	}
	if _, err := st.Migrate(ctx); err != nil {
		return nil, nil, err
	}
	return st, func() { _ = st.Close() }, nil
}
