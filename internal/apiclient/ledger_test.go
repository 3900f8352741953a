package apiclient_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/apiclient"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
)

var errLedger = errors.New("the database cannot be reached")

// cutOff is a ledger that can be lost.
type cutOff struct {
	quota.Ledger
	lost atomic.Bool
}

func (l *cutOff) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	if l.lost.Load() {
		return errLedger
	}
	return l.Ledger.UpdateQuota(ctx, bucket, fn)
}

// A process that loses its database between a slot and a connection that took its time sends nothing: nobody else would count it.
func TestNothingIsSentWithoutTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &cutOff{Ledger: quotatest.NewMemory()}
		var b *bed
		var slow atomic.Bool
		b = newBed(t, nil, func(c *apiclient.Config) {
			c.Bucket = quota.NewManager(ledger).Bucket("acme", "acme", quota.Limit{N: 10, Window: time.Minute})
			c.Shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: func(ctx context.Context, n, a string) (net.Conn, error) {
				if slow.Load() {
					time.Sleep(5 * time.Second)
					ledger.lost.Store(true)
				}
				return b.net.dial(ctx, n, a)
			}})
			t.Cleanup(c.Shared.CloseIdle)
		}, ok, nil)
		if err := b.client.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.cfg.Shared.CloseIdle()
		slow.Store(true)
		if err := b.sync("1"); !errors.Is(err, errLedger) {
			t.Errorf("got %v", err)
		}
		if b.calls > 0 {
			t.Errorf("%d requests were sent", b.calls)
		}
		begin := time.Now()
		if err := b.sync("2"); !errors.Is(err, errLedger) || time.Since(begin) > 0 {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
		ledger.lost.Store(false)
		slow.Store(false)
		if err := b.sync("3"); err != nil || b.calls != 1 {
			t.Errorf("%v, %d requests", err, b.calls)
		}
		if s := b.client.Stats(); s.Requests != 1 {
			t.Errorf("%d requests counted", s.Requests)
		}
	})
}
