package tokens

import (
	"context"
	"time"

	"adsync/internal/ads"
)

// warnings are how many days ahead of an end somebody is told.
var warnings = [...]int{1, 3, 7}

// watchEvery is how often Watch looks.
const watchEvery = time.Hour

// SameEnd says that two times are one end: what was told a little later is as much shorter.
func SameEnd(a, b time.Time) bool { return a.Sub(b).Abs() < time.Hour }

// Due is how many days ahead a warning of an end is due: 7, 3 or 1; 0: none yet.
func Due(end, now time.Time) int {
	for _, d := range warnings {
		if end.Sub(now) <= time.Duration(d)*24*time.Hour {
			return d
		}
	}
	return 0
}

// Ends takes in when a connection's token ends that cannot be renewed; a zero time says that it has no such end. first is the days of the warning that is
// due and that nobody has given yet, 0 where there is none.
func (m *Manager) Ends(ctx context.Context, e End) (first int, err error) {
	if err := m.o.Ledger.NoteTokenEnd(ctx, e); err != nil || e.At.IsZero() {
		return 0, err
	}
	return m.claim(ctx, e)
}

func (m *Manager) claim(ctx context.Context, e End) (int, error) {
	days := Due(e.At, time.Now())
	if days == 0 {
		return 0, nil
	}
	first, err := m.o.Ledger.ClaimTokenWarning(ctx, e, days)
	if err != nil || !first {
		return 0, err
	}
	return days, nil
}

// Watch looks once an hour at all ends that are known until ctx ends, and tells those that are mine, each with the days of the warning that is due now, 0
// where none is.
// What goes wrong is told to failed, and tried again in an hour.
func (m *Manager) Watch(ctx context.Context, mine func(ads.Ref) bool, tell func(e End, warn int), failed func(error)) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if err := m.look(ctx, mine, tell); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) look(ctx context.Context, mine func(ads.Ref) bool, tell func(End, int)) error {
	ends, err := m.o.Ledger.TokenEnds(ctx)
	if err != nil {
		return err
	}
	for _, e := range ends {
		if !mine(e.Ref) {
			continue // another process warns of it, or nobody has it any more
		}
		warn, err := m.claim(ctx, e)
		if err != nil {
			return err
		}
		tell(e, warn)
	}
	return nil
}
