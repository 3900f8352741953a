package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// compared are the values whose change moves changed_at.
var compared = []string{
	"platform", "name", "status", "platform_status", "objective", "budget_micros", "budget_period", "currency", "created_at", "platform_updated_at",
}

// onConflict is the update of a row that is there already. The table goes by the name t.
var onConflict = func() string {
	var set strings.Builder
	for _, c := range append([]string{"platform", "synced_at"}, strings.Split(entityColumns, ", ")[1:]...) {
		set.WriteString(c + " = excluded." + c + ", ")
	}
	return " ON CONFLICT (client_id, connection, account_id, id) DO UPDATE SET " + set.String() + "removed_at = NULL, changed_at = CASE WHEN " +
		"t.removed_at IS NULL AND (t." + strings.Join(compared, ", t.") + ") IS NOT DISTINCT FROM (excluded." + strings.Join(compared, ", excluded.") +
		") THEN t.changed_at ELSE excluded.changed_at END"
}()

// upsertSQL writes rows of a source to a table and says how many, and how many of them were there unchanged. Those in $6 are not counted.
func upsertSQL(table, source string) string {
	return "WITH w AS (INSERT INTO " + table + " AS t (client_id, connection, account_id, platform, first_seen_at, changed_at, synced_at, " + entityColumns + ")" +
		" SELECT $1::text, $2::text, $3::text, $4::text, $5::timestamptz, $5::timestamptz, $5::timestamptz, " + entityColumns + " FROM " + source +
		onConflict + " RETURNING t.changed_at <> $5 AS same, t.id) SELECT count(*), count(*) FILTER (WHERE same) FROM w WHERE id <> ALL ($6::text[])"
}

// arraySource is a source of rows from $7 on, one array for each column.
const arraySource = "unnest($7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::bigint[], $16::bigint[], " +
	"$17::text[], $18::timestamptz[], $19::timestamptz[], $20::text[]) AS a (" + entityColumns + ")"

// arraySelect are entityColumns of arraySource in the types of the table.
var arrayColumns = strings.NewReplacer("conversions", "conversions::numeric", "raw", "raw::json").Replace(entityColumns)

type tableSQL struct{ staged, arrays, copyIn string }

const stage = "adsync_stage"

var tables = func() map[string]tableSQL {
	m := map[string]tableSQL{}
	for _, t := range []string{"campaigns", "ad_groups", "ads"} {
		arrays := strings.Replace(upsertSQL(t, arraySource), "$5::timestamptz, "+entityColumns+" FROM", "$5::timestamptz, "+arrayColumns+" FROM", 1)
		m[t] = tableSQL{
			staged: upsertSQL(t, stage), arrays: arrays,
			copyIn: "COPY " + t + " (" + entityColumns + ", client_id, connection, account_id, platform, first_seen_at, changed_at, synced_at) FROM STDIN (FORMAT binary)",
		}
	}
	return m
}()

// stageSQL makes the table that large batches go through; each connection has its own, emptied by each commit.
const stageSQL = "CREATE TEMP TABLE IF NOT EXISTS " + stage + ` (id text COLLATE "C", name text, status text, platform_status text, objective text, budget_micros bigint,
	budget_period text, currency text, impressions bigint, clicks bigint, conversions numeric, created_at timestamptz, platform_updated_at timestamptz, raw json) ON COMMIT DELETE ROWS`

const copyStage = "COPY " + stage + " (" + entityColumns + ") FROM STDIN (FORMAT binary)"

// stageRows is from how many rows on a batch goes by COPY.
const stageRows = 200

// stageKey marks a connection that has its staging table, or may not have one.
const stageKey = "adsync stage"

// staging makes sure of the connection's staging table, before a transaction begins. A role without the right to temporary tables does
// without.
func staging(ctx context.Context, c *pgx.Conn) (bool, error) {
	data := c.PgConn().CustomData()
	if ok, known := data[stageKey].(bool); known {
		return ok, nil
	}
	_, err := c.Exec(ctx, stageSQL)
	switch {
	case err == nil:
		data[stageKey] = true
		return true, nil
	case sqlState(err) == codeNoRight:
		data[stageKey] = false
		return false, nil
	}
	return false, err
}

var streams = sync.Pool{New: func() any { return &copyStream{} }}

// copyIn sends records by COPY. Rows come in the order of their ids, so that no two writers wait for each other in a circle.
func copyIn(ctx context.Context, c *pgx.Conn, sql string, records []ads.Entity, skip []bool, tail []byte, tailCount int) error {
	s := streams.Get().(*copyStream)
	s.records, s.skip, s.tail, s.tailCount = records, skip, tail, tailCount
	s.begin()
	if _, err := c.PgConn().CopyFrom(ctx, s, sql); err != nil {
		return err // a connection that broke may still be read for: the stream is not used again
	}
	s.records, s.skip, s.tail = nil, nil, nil
	streams.Put(s)
	return nil
}

// direct writes listed records to their table.
func (t *commit) direct(ctx context.Context, l *store.Listed) error {
	n := len(l.Records)
	if n == 0 {
		return nil
	}
	if !slices.IsSortedFunc(l.Records, byID) {
		sorted := *l
		sorted.Records = slices.Clone(l.Records)
		if len(l.MaybeSeen) > 0 && !l.AllMaybeSeen {
			sorted.MaybeSeen = nil
			maybe := make(map[string]bool, len(l.MaybeSeen))
			for _, i := range l.MaybeSeen {
				maybe[l.Records[i].ID] = true
			}
			slices.SortFunc(sorted.Records, byID)
			for i := range sorted.Records {
				if maybe[sorted.Records[i].ID] {
					sorted.MaybeSeen = append(sorted.MaybeSeen, i)
				}
			}
		} else {
			slices.SortFunc(sorted.Records, byID)
		}
		l = &sorted
	}
	again, err := t.writtenBefore(ctx, l)
	if err != nil {
		return err
	}
	switch {
	case t.careful:
		err = t.narrow(ctx, 0, n, func(lo, hi int) error { return t.arrays(ctx, l, lo, hi, again) }, func(i int, err error) error {
			return t.refuse(ctx, l.Records[i].ID, l.Records[i].Raw, err)
		})
	case t.firstLoad(l):
		err = t.copyNew(ctx, l, again)
	case t.staged && n >= stageRows:
		if err = copyIn(ctx, t.conn, copyStage, l.Records, nil, nil, 0); err == nil {
			err = t.upsert(ctx, tables[t.table].staged, l, again)
		}
	default:
		err = t.arrays(ctx, l, 0, n, again)
	}
	if err != nil || !t.open {
		return err
	}
	ids := make([]string, 0, n)
	for i := range l.Records {
		if id := l.Records[i].ID; !t.refused[id] {
			ids = append(ids, common.EntityID(id))
		}
	}
	return t.resolve(ctx, ids)
}

func byID(a, b ads.Entity) int { return strings.Compare(a.ID, b.ID) }

func (t *commit) constants(l *store.Listed) []any {
	return []any{t.ref.ClientID, t.ref.Connection, t.c.Account, l.Platform, t.stamp}
}

// upsert runs a statement of upsertSQL and counts what it did.
func (t *commit) upsert(ctx context.Context, sql string, l *store.Listed, again []string, more ...any) error {
	if again == nil {
		again = []string{}
	}
	var rows, same int64
	err := t.conn.QueryRow(ctx, sql, append(append(t.constants(l), again), more...)...).Scan(&rows, &same)
	if err == nil {
		t.res.Written += rows
		t.res.Unchanged += same
	}
	return err
}

// firstLoad says that the account had no rows when this life of the run began, and that hardly any of these may have come since: then there is
// nothing to compare with, and rows go straight into the table.
func (t *commit) firstLoad(l *store.Listed) bool {
	return t.fresh && l.Pass <= 1 && !l.AllMaybeSeen && len(l.Records) >= stageRows && len(l.MaybeSeen) <= len(l.Records)/10
}

// copyNew writes records that have no row yet, and by an upsert those that may have one. A row that is there all the same spoils the
// transaction, which is then repeated another way.
func (t *commit) copyNew(ctx context.Context, l *store.Listed, again []string) error {
	var tail []byte
	for _, s := range []string{t.ref.ClientID, t.ref.Connection, t.c.Account, l.Platform} {
		tail = appendText(tail, s)
	}
	for range 3 {
		tail = appendTime(tail, t.stamp)
	}
	var skip []bool
	var maybe []ads.Entity
	if len(l.MaybeSeen) > 0 {
		skip = make([]bool, len(l.Records))
		for _, i := range l.MaybeSeen {
			skip[i] = true
			maybe = append(maybe, l.Records[i])
		}
	}
	if err := copyIn(ctx, t.conn, tables[t.table].copyIn, l.Records, skip, tail, 7); err != nil {
		return err
	}
	t.res.Written += int64(len(l.Records) - len(maybe))
	if maybe == nil {
		return nil
	}
	return t.upsert(ctx, tables[t.table].arrays, l, again, arraysOf(maybe)...)
}

// arrays writes records [lo, hi) by one statement that carries them.
func (t *commit) arrays(ctx context.Context, l *store.Listed, lo, hi int, again []string) error {
	a := arraysOf(l.Records[lo:hi])
	return t.upsert(ctx, tables[t.table].arrays, l, again, a...)
}

// arraysOf are the columns of records, one array for each.
func arraysOf(records []ads.Entity) []any {
	n := len(records)
	texts := make([][]*string, entityColumnCount)
	for i := range texts {
		texts[i] = make([]*string, n)
	}
	numbers := [3][]*int64{make([]*int64, n), make([]*int64, n), make([]*int64, n)}
	times := [2][]*time.Time{make([]*time.Time, n), make([]*time.Time, n)}
	opt := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	moment := func(o ads.Opt[time.Time]) *time.Time {
		if !o.Set || o.Value.IsZero() {
			return nil
		}
		return new(common.Micro(o.Value))
	}
	for i := range records {
		e := &records[i]
		status := string(e.Status)
		texts[0][i], texts[1][i], texts[2][i], texts[3][i] = &e.ID, &e.Name, &status, opt(e.PlatformStatus)
		texts[4][i], texts[6][i], texts[7][i] = opt(e.Objective), opt(e.BudgetPeriod), opt(e.Currency)
		if e.Budget.Set {
			numbers[0][i] = (*int64)(&e.Budget.Value)
		}
		if e.Impressions.Set {
			numbers[1][i] = &e.Impressions.Value
		}
		if e.Clicks.Set {
			numbers[2][i] = &e.Clicks.Value
		}
		if e.Conversions.Set {
			texts[10][i] = new(trimmed(e.Conversions.Value))
		}
		times[0][i], times[1][i] = moment(e.CreatedAt), moment(e.PlatformUpdatedAt)
		if e.Raw != nil {
			texts[13][i] = new(string(common.Raw(e.Raw)))
		}
	}
	return []any{
		texts[0], texts[1], texts[2], texts[3], texts[4], numbers[0], texts[6], texts[7], numbers[1], numbers[2], texts[10], times[0], times[1], texts[13],
	}
}

// trimmed is a number without zeros behind the point.
func trimmed(d ads.Decimal) string {
	for d.Scale > 0 && d.Coef%10 == 0 {
		d.Coef, d.Scale = d.Coef/10, d.Scale-1
	}
	return d.String()
}

// suspects are the ids of records that may have come before in this run.
func suspects(l *store.Listed) []string {
	var ids []string
	if l.AllMaybeSeen {
		ids = make([]string, len(l.Records))
		for i := range l.Records {
			ids[i] = l.Records[i].ID
		}
		return ids
	}
	for _, i := range l.MaybeSeen {
		ids = append(ids, l.Records[i].ID)
	}
	return ids
}

// writtenBefore finds the ids of records whose row this run has written before.
func (t *commit) writtenBefore(ctx context.Context, l *store.Listed) ([]string, error) {
	ids := suspects(l)
	if len(ids) == 0 {
		return nil, nil
	}
	// One look-up for each id, whatever the planner believes: while a table grows its statistics lag behind, and it would read all of the account's rows.
	rows, err := t.conn.Query(ctx, "SELECT s.id, c.synced_at >= $5 FROM unnest($4::text[]) AS s (id) CROSS JOIN LATERAL (SELECT synced_at FROM "+t.table+
		" WHERE client_id = $1 AND connection = $2 AND account_id = $3 AND id = s.id LIMIT 1) AS c WHERE c.synced_at >= $6",
		t.ref.ClientID, t.ref.Connection, t.c.Account, ids, common.Micro(l.PassStart), common.Micro(l.RunStart))
	if err != nil {
		return nil, err
	}
	var again []string
	var id string
	var inPass bool
	_, err = pgx.ForEachRow(rows, []any{&id, &inPass}, func() error {
		again = append(again, strings.Clone(id))
		t.res.SeenInRun++
		if inPass {
			t.res.SeenInPass++
		}
		return nil
	})
	return again, err
}

// narrow applies rows [lo, hi), each part of them behind a savepoint, and gives those to reject that the database refuses one by one. What takes
// longer than the server allows is halved too.
func (t *commit) narrow(ctx context.Context, lo, hi int, apply func(lo, hi int) error, reject func(i int, err error) error) error {
	return common.Bisect(lo, hi, func(lo, hi int) error {
		t.depth++
		point := fmt.Sprint("part", t.depth)
		if _, err := t.conn.Exec(ctx, "SAVEPOINT "+point); err != nil {
			return err
		}
		before := t.res
		err := apply(lo, hi)
		if err == nil {
			_, err = t.conn.Exec(ctx, "RELEASE SAVEPOINT "+point)
			return err
		}
		if halve(err) {
			t.res = before
			if _, rerr := t.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT "+point); rerr != nil {
				return rerr
			}
		}
		return err
	}, halve, reject)
}

// halve says that a part of a batch may succeed where the whole has failed.
func halve(err error) bool { return aboutData(err) || sqlState(err) == codeTimeout }
