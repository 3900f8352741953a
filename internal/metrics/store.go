package metrics

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// ObserveDB counts an operation on the database: op is a short name from the code, such as "commit".
func (m *Metrics) ObserveDB(op string, d time.Duration, err error) {
	o, ok := m.ops.Load(op)
	if !ok {
		o, _ = m.ops.LoadOrStore(op, m.storeSeconds.WithLabelValues(op))
	}
	o.(prometheus.Observer).Observe(d.Seconds())
	if err != nil {
		m.storeErrors.WithLabelValues(op, errorKind(err)).Inc()
	}
}

// errorKind is why an operation failed, from a closed set.
func errorKind(err error) string {
	if e, ok := errors.AsType[*store.Error](err); ok {
		return string(within(storeKinds, e.Kind))
	}
	if _, ok := errors.AsType[*store.BusyError](err); ok {
		return "busy"
	}
	switch {
	case errors.Is(err, store.ErrFenced):
		return "fenced"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return other
}

var storeKinds = closed(
	store.KindUnreachable, store.KindDenied, store.KindFull, store.KindReadOnly, store.KindSchema, store.KindForeignTable, store.KindLocked, store.KindDamaged,
)

// Store is st with its time measured. Methods that are not named here pass through unmeasured.
func (m *Metrics) Store(st store.Store) store.Store { return &measured{st, m} }

type measured struct {
	store.Store
	m *Metrics
}

func (s *measured) since(begin time.Time, op string, err *error) {
	s.m.ObserveDB(op, time.Since(begin), *err)
}

func (s *measured) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	begin := time.Now()
	var refused error // fn's own: no fault of the database
	err := s.Store.UpdateQuota(ctx, bucket, func(state []byte, now time.Time) ([]byte, error) {
		out, err := fn(state, now)
		refused = err
		return out, err
	})
	if err != nil && errors.Is(err, refused) {
		s.m.ObserveDB("quota", time.Since(begin), nil)
		return err
	}
	s.m.ObserveDB("quota", time.Since(begin), err)
	return err
}

func (s *measured) Schema(ctx context.Context) (_ store.Schema, err error) {
	defer s.since(time.Now(), "schema", &err)
	return s.Store.Schema(ctx)
}

func (s *measured) Migrate(ctx context.Context) (_ store.Schema, err error) {
	defer s.since(time.Now(), "migrate", &err)
	return s.Store.Migrate(ctx)
}

func (s *measured) CheckWritable(ctx context.Context) (err error) {
	defer s.since(time.Now(), "check_writable", &err)
	return s.Store.CheckWritable(ctx)
}

func (s *measured) Acquire(ctx context.Context, ref ads.Ref) (_ store.Lease, err error) {
	defer s.since(time.Now(), "acquire", &err)
	return s.Store.Acquire(ctx, ref)
}

func (s *measured) Release(ctx context.Context, l store.Lease) (err error) {
	defer s.since(time.Now(), "release", &err)
	return s.Store.Release(ctx, l)
}

func (s *measured) OpenRun(ctx context.Context, l store.Lease, o store.OpenRun) (_ store.Run, err error) {
	defer s.since(time.Now(), "open_run", &err)
	return s.Store.OpenRun(ctx, l, o)
}

func (s *measured) Commit(ctx context.Context, l store.Lease, c *store.Commit) (_ store.Result, err error) {
	defer s.since(time.Now(), "commit", &err)
	return s.Store.Commit(ctx, l, c)
}

func (s *measured) Pending(ctx context.Context, l store.Lease, runID string, afterSeq int64, limit int) (_ []store.Item, err error) {
	defer s.since(time.Now(), "pending", &err)
	return s.Store.Pending(ctx, l, runID, afterSeq, limit)
}

func (s *measured) Sweep(ctx context.Context, l store.Lease, w store.Sweep) (_ store.SweepResult, err error) {
	defer s.since(time.Now(), "sweep", &err)
	return s.Store.Sweep(ctx, l, w)
}

func (s *measured) FinishRun(ctx context.Context, l store.Lease, f store.FinishRun) (err error) {
	defer s.since(time.Now(), "finish_run", &err)
	return s.Store.FinishRun(ctx, l, f)
}

func (s *measured) NoteWait(ctx context.Context, l store.Lease, w store.Wait) (err error) {
	defer s.since(time.Now(), "note_wait", &err)
	return s.Store.NoteWait(ctx, l, w)
}

func (s *measured) Status(ctx context.Context) (_ []store.ConnectionStatus, err error) {
	defer s.since(time.Now(), "status", &err)
	return s.Store.Status(ctx)
}

func (s *measured) Runs(ctx context.Context, ref ads.Ref, limit int) (_ []store.RunRecord, err error) {
	defer s.since(time.Now(), "runs", &err)
	return s.Store.Runs(ctx, ref, limit)
}

// Failures is measured to its end, what is done with each of them not included.
func (s *measured) Failures(ctx context.Context, f store.FailureFilter) iter.Seq2[store.Failure, error] {
	return func(yield func(store.Failure, error) bool) {
		var spent time.Duration
		var failed error
		begin := time.Now()
		defer func() { s.m.ObserveDB("failures", spent, failed) }()
		for x, err := range s.Store.Failures(ctx, f) {
			spent += time.Since(begin)
			failed = err
			if !yield(x, err) {
				return
			}
			begin = time.Now()
		}
		spent += time.Since(begin)
	}
}

func (s *measured) HastenFailures(ctx context.Context, ids []int64, now time.Time) (_ int64, err error) {
	defer s.since(time.Now(), "hasten_failures", &err)
	return s.Store.HastenFailures(ctx, ids, now)
}

func (s *measured) DropFailures(ctx context.Context, ids []int64) (_ int64, err error) {
	defer s.since(time.Now(), "drop_failures", &err)
	return s.Store.DropFailures(ctx, ids)
}

func (s *measured) Beat(ctx context.Context, b store.Beat) (_ []store.Worker, err error) {
	defer s.since(time.Now(), "beat", &err)
	return s.Store.Beat(ctx, b)
}

func (s *measured) Workers(ctx context.Context) (_ []store.Worker, err error) {
	defer s.since(time.Now(), "workers", &err)
	return s.Store.Workers(ctx)
}

func (s *measured) Leave(ctx context.Context, id string) (err error) {
	defer s.since(time.Now(), "leave", &err)
	return s.Store.Leave(ctx, id)
}

func (s *measured) Park(ctx context.Context, ref ads.Ref, w store.Wait) (err error) {
	defer s.since(time.Now(), "park", &err)
	return s.Store.Park(ctx, ref, w)
}

func (s *measured) ReadWait(ctx context.Context, ref ads.Ref) (_ store.Wait, err error) {
	defer s.since(time.Now(), "read_wait", &err)
	return s.Store.ReadWait(ctx, ref)
}

func (s *measured) SetPaused(ctx context.Context, ref ads.Ref, by string, on bool) (err error) {
	defer s.since(time.Now(), "set_paused", &err)
	return s.Store.SetPaused(ctx, ref, by, on)
}

func (s *measured) ReadPause(ctx context.Context, ref ads.Ref) (_ store.Pause, err error) {
	defer s.since(time.Now(), "read_pause", &err)
	return s.Store.ReadPause(ctx, ref)
}

func (s *measured) Paused(ctx context.Context) (_ map[ads.Ref]store.Pause, err error) {
	defer s.since(time.Now(), "paused", &err)
	return s.Store.Paused(ctx)
}

func (s *measured) Campaigns(ctx context.Context, f store.CampaignFilter) (_ []store.CampaignRow, err error) {
	defer s.since(time.Now(), "campaigns", &err)
	return s.Store.Campaigns(ctx, f)
}

func (s *measured) Coverage(ctx context.Context, ref ads.Ref, account, stream string, from, to ads.Date) (_ []store.Day, err error) {
	defer s.since(time.Now(), "coverage", &err)
	return s.Store.Coverage(ctx, ref, account, stream, from, to)
}

func (s *measured) DailyTotals(ctx context.Context, ref ads.Ref, account, level string, from, to ads.Date, since time.Time) (_ []store.DayTotal, err error) {
	defer s.since(time.Now(), "daily_totals", &err)
	return s.Store.DailyTotals(ctx, ref, account, level, from, to, since)
}

func (s *measured) Audit(ctx context.Context, e store.AuditEntry) (err error) {
	defer s.since(time.Now(), "audit", &err)
	return s.Store.Audit(ctx, e)
}

func (s *measured) AuditLog(ctx context.Context, limit int, beforeID int64) (_ []store.AuditEntry, err error) {
	defer s.since(time.Now(), "audit_log", &err)
	return s.Store.AuditLog(ctx, limit, beforeID)
}

func (s *measured) Notices(ctx context.Context) (_ []store.Notice, err error) {
	defer s.since(time.Now(), "notices", &err)
	return s.Store.Notices(ctx)
}

func (s *measured) UpdateNotices(ctx context.Context, fn func([]store.Notice, time.Time) ([]store.Notice, []store.NoticeKey)) (err error) {
	defer s.since(time.Now(), "update_notices", &err)
	return s.Store.UpdateNotices(ctx, fn)
}

func (s *measured) LastStarts(ctx context.Context) (_ map[ads.Ref]time.Time, err error) {
	defer s.since(time.Now(), "last_starts", &err)
	return s.Store.LastStarts(ctx)
}

func (s *measured) LastStart(ctx context.Context, ref ads.Ref) (_ time.Time, err error) {
	defer s.since(time.Now(), "last_start", &err)
	return s.Store.LastStart(ctx, ref)
}

func (s *measured) DueRetries(ctx context.Context, now time.Time, limit int) (_ []ads.Ref, err error) {
	defer s.since(time.Now(), "due_retries", &err)
	return s.Store.DueRetries(ctx, now, limit)
}

func (s *measured) Prune(ctx context.Context, before time.Time) (_ int64, err error) {
	defer s.since(time.Now(), "prune", &err)
	return s.Store.Prune(ctx, before)
}
