package storetest

import (
	"fmt"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// Size of the history: a thousand clients of ten connections each would have it after a day, at a run in fifteen minutes.
const (
	historyConnections = 10_000
	historyRounds      = 100
)

// numbers is the table n (i) of the first numbers, for filling tables by one statement on any database.
func numbers(most int) string {
	return fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) ", most)
}

// History fills a migrated database with a million runs of ten thousand connections, a tenth of which has failures of which some are due, and
// one has fifty thousand of them.
func History(t testing.TB, db Database) {
	t.Helper()
	quoted := func(seconds int) string { return "'" + text(at(seconds)) + "'" }
	db.Exec(t, numbers(historyConnections)+"INSERT INTO adsync_locks (client_id, connection, fence) SELECT 'client' || i, 'adplatform', 1 FROM n")
	for round := range historyRounds {
		trigger, outcome := "schedule", "complete"
		switch {
		case round%10 == 9 || round == historyRounds-2:
			trigger, outcome = "retry", "partial"
		case round > historyRounds/2:
			outcome = "partial"
		}
		begin, end := quoted(900*round), quoted(900*round+60)
		db.Exec(t, fmt.Sprintf(`%sINSERT INTO runs (id, client_id, connection, trigger, started_at, finished_at, outcome)
			SELECT 'run%[2]d-' || i, 'client' || i, 'adplatform', '%[3]s', %[4]s, %[5]s, '%[6]s' FROM n`, numbers(historyConnections), round, trigger, begin, end, outcome))
		db.Exec(t, fmt.Sprintf(`%sINSERT INTO adsync_run_state (run_id, client_id, connection, plan, open) SELECT 'run%[2]d-' || i, 'client' || i, 'adplatform', 'plan', (1 = 0) FROM n`,
			numbers(historyConnections), round))
	}
	fail := func(n int, client, entity, next, resolved string) {
		db.Exec(t, fmt.Sprintf(`%sINSERT INTO failures (client_id, connection, account_id, stream, entity_id, class, message, attempts, first_failed_at, last_failed_at, next_retry_at, resolved_at)
			SELECT %s, 'adplatform', 'acc', 'campaigns', %s, 'transient', 'm', 1, %s, %s, %s, %s FROM n`, numbers(n), client, entity, quoted(0), quoted(0), next, resolved))
	}
	fail(50_000, "'client77'", "'e' || i", quoted(200_000), "NULL")
	for entity := range 20 {
		fail(1000, "'client' || (i * 10)", fmt.Sprintf("'e%d'", entity), quoted(200_000+entity*10_000), "NULL")
	}
	for entity := range 10 {
		fail(10_000, "'client' || i", fmt.Sprintf("'old%d'", entity), "NULL", quoted(100))
	}
}

// BenchHistory measures what a service asks for again and again, on a database with a long history.
func BenchHistory(b *testing.B, fresh func(b *testing.B) Database) {
	db := fresh(b)
	s := open(b, db)
	ctx := testContext(b)
	History(b, db)
	db.Exec(b, "ANALYZE")
	measure := func(name string, fn func() error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := fn(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	measure("LastStarts", func() error {
		got, err := s.LastStarts(ctx)
		if err == nil && len(got) != historyConnections {
			err = fmt.Errorf("%d connections", len(got))
		}
		return err
	})
	measure("LastStart", func() error {
		_, err := s.LastStart(ctx, ads.Ref{ClientID: "client4711", Connection: "adplatform"})
		return err
	})
	for name, want := range map[string]int{"DueRetries none": 0, "DueRetries": 1000} {
		now := at(100_000)
		if want > 0 {
			now = at(1_000_000)
		}
		measure(name, func() error {
			got, err := s.DueRetries(ctx, now, 1000)
			if err == nil && len(got) != want {
				err = fmt.Errorf("%d connections", len(got))
			}
			return err
		})
	}
	measure("Beat", func() error {
		_, err := s.Beat(ctx, store.Beat{ID: "a", Lease: time.Minute})
		return err
	})
	measure("Status", func() error {
		got, err := s.Status(ctx)
		if err == nil && len(got) != historyConnections {
			err = fmt.Errorf("%d connections", len(got))
		}
		return err
	})
	b.Run("Prune", func(b *testing.B) {
		rows, calls := int64(0), 0
		begin := time.Now()
		for n := int64(1); n > 0 && calls < 3; calls++ {
			var err error
			if n, err = s.Prune(ctx, at(900*historyRounds)); err != nil {
				b.Fatal(err)
			}
			rows += n
		}
		b.ReportMetric(float64(rows)/time.Since(begin).Seconds(), "rows/s")
		b.ReportMetric(time.Since(begin).Seconds()/float64(calls), "s/call")
		b.ReportMetric(0, "ns/op")
	})
}
