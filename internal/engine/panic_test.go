package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/store"
)

// clumsy is a database whose code panics at its n-th commit.
type clumsy struct {
	store.Store
	n int
}

const panicValue = "a value of the data"

func (c *clumsy) Commit(ctx context.Context, l store.Lease, co *store.Commit) (store.Result, error) {
	if c.n--; c.n == 0 {
		panic(panicValue)
	}
	return c.Store.Commit(ctx, l, co)
}

// Fault 116: a panic where results are committed ends that run with an id and without a value, not the process, and the next one goes on from there.
func TestPanicInACommit(t *testing.T) {
	for _, n := range []int{1, 2, 5, 9} {
		inBubble(t, nil, func(b *bed) {
			s := b.run(b.t.Context(), func(o *engine.Options) { o.Store = &clumsy{Store: o.Store, n: n} })
			var ie *engine.InternalError
			if !errors.As(s.Err, &ie) || ie.ID == "" || s.Outcome == ads.Complete || strings.Contains(s.Err.Error(), panicValue) {
				t.Fatalf("commit %d: %s, %v", n, s.Outcome, s.Err)
			}
			again := b.run(b.t.Context())
			b.addsUp(again)
			if again.Outcome != ads.Complete || again.RunID != s.RunID || again.Figures.Synced != 100 {
				t.Errorf("commit %d: %+v after %+v", n, again, s)
			}
		})
	}
}
