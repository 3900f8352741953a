package quota_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/ads"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
)

// stuck is a ledger that does not answer while it is held.
type stuck struct {
	quota.Ledger
	held atomic.Bool
}

func (s *stuck) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	if s.held.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return s.Ledger.UpdateQuota(ctx, bucket, fn)
}

// A database that does not answer in time puts work off for a moment: the run of a client that is well does not fail of it, and goes on when the
// database answers again.
func TestLedgerTooSlowDefers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &stuck{Ledger: quotatest.NewMemory()}
		b := quota.NewManager(ledger).Bucket("b", "acme", limits(t, "10/1m")...)
		ledger.held.Store(true)
		for range 2 { // who comes right after hears the same
			_, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
			e, ok := errors.AsType[*ads.Error](err)
			if !ok || e.Class != ads.ClassDeferred || !e.Until.After(time.Now()) || time.Until(e.Until) > time.Minute || e.Hint == "" {
				t.Fatalf("%v", err)
			}
		}
		ledger.held.Store(false)
		time.Sleep(time.Minute)
		if n := drain(t, b); n != 10 {
			t.Errorf("%d slots afterwards", n)
		}
		synctest.Wait()
	})
}
