package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// sickOfKind is how many clients have each trouble; one more is huge.
const (
	sickOfKind = 10
	hugeSize   = 1_000_000
)

// isolation runs the clients that are well alone, and then with the sick ones beside them in the same process.
func (s *stage) isolation(ctx context.Context) error {
	well := s.o.clients - 3*sickOfKind - 1
	if well < 1 {
		return fmt.Errorf("-clients %d: want more than %d with -isolation", s.o.clients, 3*sickOfKind+1)
	}
	fmt.Printf("%-22s %9s %9s %9s %9s %9s %9s\n", "clients", "all s", "median s", "429s", "peak MiB", "cpu s", "of huge")
	var ratios []float64
	for range max(s.o.pairs, 1) {
		alone, err := s.beside(ctx, well, false)
		if err != nil {
			return fmt.Errorf("without the sick: %w", err)
		}
		crowd, err := s.beside(ctx, well, true)
		if err != nil {
			return fmt.Errorf("with the sick: %w", err)
		}
		r := crowd.Seconds() / alone.Seconds()
		ratios = append(ratios, r)
		fmt.Printf("  ratio %.2f\n", r)
	}
	slices.Sort(ratios)
	fmt.Printf("median of %d ratios: %.2f (wanted: 1.20 at most)\n", len(ratios), ratios[len(ratios)/2])
	return nil
}

// beside gives the time until so many clients are complete, with or without sick ones in the same process.
func (s *stage) beside(ctx context.Context, well int, sick bool) (time.Duration, error) {
	named := func(prefix string) (ids []string) {
		for i := range sickOfKind {
			ids = append(ids, fmt.Sprintf("%s%02d", prefix, i))
		}
		return ids
	}
	hang, garbage := named("hang"), named("garbage")
	url, stop, err := s.simulator("--campaigns", fmt.Sprint(s.o.campaigns), "--quota", s.o.quota.String(),
		"--fault", "hang:endpoint=api,on=1-,times=0,client="+strings.Join(hang, "|"),
		"--fault", "html-200:endpoint=api,on=1-,times=0,client="+strings.Join(garbage, "|"))
	if err != nil {
		return 0, err
	}
	defer stop()
	s.url = url
	dsn, pool, err := s.database(ctx)
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	path, err := s.config(well, dsn, "every 24h")
	if err != nil {
		return 0, err
	}
	if sick {
		huge, stop, err := s.simulator("--campaigns", fmt.Sprint(hugeSize), "--quota", "none")
		if err != nil {
			return 0, err
		}
		defer stop()
		var b strings.Builder
		add := func(id, url, password, more string) {
			fmt.Fprintf(&b, "  - id: %s\n    connections:\n      - platform: adplatform\n        url: %s\n        credentials: {email: \"${EMAIL}\", password: %q}\n%s", id, url, password, more)
		}
		for _, id := range slices.Concat(hang, garbage) {
			add(id, s.url, "${PASSWORD}", "")
		}
		for _, id := range named("refused") {
			add(id, s.url, "not-the-password", "")
		}
		add("huge", huge, "${PASSWORD}", "        quota: none\n        page_size: 1000\n")
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return 0, err
		}
		if _, err = f.WriteString(b.String()); err == nil {
			err = f.Close()
		}
		if err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	p, err := s.serve(path, 0)
	if err != nil {
		return 0, err
	}
	defer func() { endAll([]*process{p}) }()
	took, err := s.healed(ctx, pool, well, begin, p)
	if err != nil {
		return 0, err
	}
	var done int64
	if err := pool.QueryRow(ctx, "SELECT coalesce(sum(synced), 0) FROM runs WHERE client_id = 'huge'").Scan(&done); err != nil {
		return 0, err
	}
	cs, err := s.stats()
	if err != nil {
		return 0, err
	}
	var refused int64
	for _, c := range cs {
		refused += c.Throttled
	}
	if sick {
		if err := s.ailing(ctx, pool); err != nil {
			return 0, err
		}
	}
	endAll([]*process{p})
	what := fmt.Sprintf("%d", well)
	if sick {
		what += fmt.Sprintf(" and %d sick", 3*sickOfKind+1)
	}
	all := took[len(took)-1]
	fmt.Printf("%-22s %9.1f %9.1f %9d %9d %9.1f %9d\n", what, all.Seconds(), took[len(took)/2].Seconds(), refused, p.peak>>10, p.cpu.Seconds(), done)
	return all, nil
}

// healed waits until the clients that are well are complete, and gives each one's time since begin, sorted.
func (s *stage) healed(ctx context.Context, pool *pgxpool.Pool, want int, begin time.Time, p *process) ([]time.Duration, error) {
	until := begin.Add(s.o.within)
	for {
		rows, err := pool.Query(ctx, "SELECT outcome, finished_at, coalesce(error, '') FROM runs WHERE client_id LIKE 'client%' AND outcome IN ('complete', 'partial', 'failed')")
		var took []time.Duration
		if err == nil {
			for rows.Next() {
				var outcome, why string
				var at time.Time
				if err := rows.Scan(&outcome, &at, &why); err != nil {
					return nil, err
				}
				if outcome != "complete" {
					rows.Close()
					return nil, fmt.Errorf("a client that is well ended %s: %s", outcome, why)
				}
				took = append(took, at.Sub(begin))
			}
			if rows.Err() == nil && len(took) >= want {
				slices.Sort(took)
				return took, nil
			}
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("the process ended by itself; its log is in %s", filepath.Join(s.dir, fmt.Sprintf("serve-%d-0.log", s.n)))
		default:
		}
		if time.Now().After(until) {
			return nil, fmt.Errorf("only %d of %d were complete after %s", len(took), want, s.o.within)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// ailing fails if a client that should be sick is not: the measurement would mean nothing then.
func (s *stage) ailing(ctx context.Context, pool *pgxpool.Pool) error {
	var sick, sound int
	err := pool.QueryRow(ctx, `SELECT count(DISTINCT client_id), count(*) FILTER (WHERE outcome = 'complete') FROM runs
		WHERE client_id LIKE 'hang%' OR client_id LIKE 'garbage%' OR client_id LIKE 'refused%' OR client_id = 'huge'`).Scan(&sick, &sound)
	if err == nil && (sick < 3*sickOfKind+1 || sound > 0) {
		err = fmt.Errorf("of %d sick clients, %d had begun and %d were complete", 3*sickOfKind+1, sick, sound)
	}
	return err
}
