package sqlite

import (
	"database/sql/driver"
	"slices"
	"strconv"
	"strings"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// entityColumns are what a record brings, in the order in which they are bound.
var entityColumns = []string{
	"id", "name", "status", "platform_status", "objective", "budget_micros", "budget_period", "currency", "impressions", "clicks", "conversions",
	"created_at", "platform_updated_at", "raw",
}

// compared are the values whose change moves changed_at.
var compared = []string{
	"platform", "name", "status", "platform_status", "objective", "budget_micros", "budget_period", "currency", "created_at", "platform_updated_at",
}

func appendEntity(args []driver.NamedValue, e *ads.Entity) []driver.NamedValue {
	add := func(v any) { args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: v}) }
	num := func(o ads.Opt[int64]) {
		if o.Set {
			add(o.Value)
		} else {
			add(nil)
		}
	}
	add(e.ID)
	add(e.Name)
	add(string(e.Status))
	add(orNull(e.PlatformStatus))
	add(orNull(e.Objective))
	num(ads.Opt[int64]{Value: int64(e.Budget.Value), Set: e.Budget.Set})
	add(orNull(e.BudgetPeriod))
	add(orNull(e.Currency))
	num(e.Impressions)
	num(e.Clicks)
	add(decimal(e.Conversions))
	add(optStamp(e.CreatedAt))
	add(optStamp(e.PlatformUpdatedAt))
	add(rawText(e.Raw))
	return args
}

// onConflict is the update of a row that is there already. changed is what changed_at becomes when the row is changed.
func onConflict(table, changed string) string {
	var set strings.Builder
	for _, c := range append([]string{"platform", "synced_at"}, entityColumns[1:]...) {
		set.WriteString(c + " = excluded." + c + ", ")
	}
	old, now := table+"."+strings.Join(compared, ", "+table+"."), "excluded."+strings.Join(compared, ", excluded.")
	return " ON CONFLICT (client_id, connection, account_id, id) DO UPDATE SET " + set.String() + "removed_at = NULL, changed_at = CASE WHEN " +
		table + ".removed_at IS NULL AND (" + old + ") IS (" + now + ") THEN " + table + ".changed_at ELSE " + changed + " END"
}

// chunk is how many rows go into one statement.
const chunk = 50

var upsertSQL = map[string]string{}

func init() {
	for _, table := range []string{"campaigns", "ad_groups", "ads"} {
		for _, n := range []int{1, chunk} {
			upsertSQL[table+strconv.Itoa(n)] = buildUpsert(table, n)
		}
	}
}

// buildUpsert makes the statement that writes n records: five constants, the records, the connection's number. Its parameters have no numbers:
// the driver looks up the name of each, and in a list of hundreds of numbered ones that took more time than all the writing.
func buildUpsert(table string, n int) string {
	var b strings.Builder
	b.WriteString("WITH k(client, connection, account, platform, stamp) AS (VALUES (?,?,?,?,?)) INSERT INTO " + table +
		" (client_id, connection, account_id, platform, first_seen_at, changed_at, synced_at, " + strings.Join(entityColumns, ", ") +
		") SELECT k.client, k.connection, k.account, k.platform, k.stamp, k.stamp, k.stamp")
	for i := range entityColumns {
		b.WriteString(", v.column" + strconv.Itoa(i+1))
	}
	b.WriteString(" FROM k, (VALUES ")
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", len(entityColumns)), ",") + ")"
	b.WriteString(strings.TrimSuffix(strings.Repeat(row+",", n), ","))
	b.WriteString(") AS v WHERE true")
	b.WriteString(onConflict(table, changedSQL+"(?, excluded.changed_at)"))
	return b.String()
}

// direct writes listed records to their table. Those that this run has written before are written again and counted once.
func (t *commit) direct(l *store.Listed) error {
	again, err := t.writtenBefore(l)
	if err != nil {
		return err
	}
	// What is new gets the next row numbers, so their highest tells how many were.
	var before, after int64
	newest := "SELECT max(rowid) FROM " + t.table
	if err := t.query(newest, scanOne(&before)); err != nil {
		return err
	}
	lo := 0
	for _, i := range append(again, len(l.Records)) {
		for lo < i {
			n := chunk
			if i-lo < chunk {
				n = 1
			}
			if err := t.upsertOrRefuse(l, lo, n, true); err != nil {
				return err
			}
			lo += n
		}
		if i < len(l.Records) {
			if err := t.upsertOrRefuse(l, i, 1, false); err != nil {
				return err
			}
			lo = i + 1
		}
	}
	if err := t.query(newest, scanOne(&after)); err != nil {
		return err
	}
	t.res.Unchanged -= after - before // upsert has counted them so
	if !t.open {
		return nil
	}
	for i := range l.Records {
		if id := l.Records[i].ID; !t.refused[id] {
			if err := t.resolve(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// upsertOrRefuse writes n records. Where the database refuses one of them, it is found and kept as a failure, and the others are written.
func (t *commit) upsertOrRefuse(l *store.Listed, lo, n int, count bool) error {
	err := t.upsert(l, lo, n, count)
	if err == nil || !aboutData(err) {
		return err
	}
	if n == 1 {
		return t.refuse(l.Records[lo].ID, l.Records[lo].Raw, err)
	}
	for i := lo; i < lo+n; i++ {
		if err := t.upsertOrRefuse(l, i, 1, count); err != nil {
			return err
		}
	}
	return nil
}

// upsert writes n records, 1 or chunk, by one statement. It counts new ones as unchanged.
func (t *commit) upsert(l *store.Listed, lo, n int, count bool) error {
	t.args = t.args[:0]
	t.bind(t.ref.ClientID)
	t.bind(t.ref.Connection)
	t.bind(t.c.Account)
	t.bind(l.Platform)
	t.bind(t.stamp)
	for i := lo; i < lo+n; i++ {
		t.args = appendEntity(t.args, &l.Records[i])
	}
	t.bind(t.number)
	before := t.changed
	rows, err := t.execBound(upsertSQL[t.table+strconv.Itoa(n)])
	if err == nil && count {
		t.res.Written += rows
		t.res.Unchanged += rows - (t.changed - before)
	}
	return err
}

// suspects are the indexes of records that may have come before in this run.
func suspects(l *store.Listed) []int {
	if !l.AllMaybeSeen {
		return l.MaybeSeen
	}
	all := make([]int, len(l.Records))
	for i := range all {
		all[i] = i
	}
	return all
}

// writtenBefore finds the records whose row this run has written before, in the order of the records.
func (t *commit) writtenBefore(l *store.Listed) ([]int, error) {
	var again []int
	runStart, passStart := stamp(l.RunStart), stamp(l.PassStart)
	query := "SELECT synced_at FROM " + t.table + " WHERE client_id = ? AND connection = ? AND account_id = ? AND id = ?"
	for _, i := range suspects(l) {
		synced := ""
		if err := t.query(query, scanOne(&synced), t.ref.ClientID, t.ref.Connection, t.c.Account, l.Records[i].ID); err != nil {
			return nil, err
		}
		if synced != "" && synced >= runStart {
			again = append(again, i)
			t.res.SeenInRun++
			if synced >= passStart {
				t.res.SeenInPass++
			}
		}
	}
	slices.Sort(again)
	return again, nil
}
