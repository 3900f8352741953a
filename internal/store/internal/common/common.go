// Package common holds what both databases do alike and what is not SQL: how often something is tried, how a batch is narrowed down to the
// row that spoils it, how a failure is cut to size.
//
// It imports ads and store, and must not import a database driver.
package common

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pressly/goose/v3"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// Tables are the names that the contract gives to tables and views: a database that has one of them without our version table is not ours.
var Tables = []string{
	"campaigns", "accounts", "ad_groups", "ads", "daily_metrics", "coverage", "runs", "failures",
	"ad_reporting_account", "ad_reporting_campaign", "ad_reporting_ad_group", "ad_reporting_ad",
}

// VersionTable is where the schema's version is kept.
const VersionTable = "adsync_schema_version"

// Newest is the newest version among migration files.
func Newest(files fs.FS) (newest int64) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		panic(err) // the pattern is a good one
	}
	for _, f := range names {
		v, err := goose.NumericComponent(f)
		if err != nil {
			panic(err) // the files are embedded
		}
		newest = max(newest, v)
	}
	return newest
}

// EntityTable is the table that a stream's records go to.
func EntityTable(stream string) (string, error) {
	switch stream {
	case "campaigns", "ad_groups", "ads":
		return stream, nil
	}
	return "", &store.Error{Kind: store.KindOther, Op: "commit", Message: fmt.Sprintf("there is no table for the stream %q", stream)}
}

// Platform is the platform of a commit's accounts. A connection bears its platform's name unless it was given another.
func Platform(ref ads.Ref, c *store.Commit) string {
	switch {
	case c.Platform != "":
		return c.Platform
	case c.Listed != nil && c.Listed.Platform != "":
		return c.Listed.Platform
	}
	return ref.Connection
}

// Tries is how often a transaction is tried that failed for a reason that passes.
const Tries = 5

// Retry runs fn until it succeeds, fails for good, or has been tried Tries times. pause says for how long it is worth waiting after an error,
// 0 where trying again does not help; it grows from try to try, and its length is random.
func Retry(ctx context.Context, pause func(error) time.Duration, fn func() error) error {
	factor := time.Duration(1)
	for try := 1; ; try++ {
		err := fn()
		if err == nil || try == Tries || ctx.Err() != nil {
			return err
		}
		p := pause(err) * factor
		if p <= 0 {
			return err
		}
		t := time.NewTimer(p/2 + rand.N(p))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
		factor *= 3
	}
}

// Bisect applies rows [lo, hi) and narrows a failure that is about data down to single rows, which are given to reject; all others are
// applied. apply leaves nothing behind when it fails.
func Bisect(lo, hi int, apply func(lo, hi int) error, aboutData func(error) bool, reject func(i int, err error) error) error {
	if lo >= hi {
		return nil
	}
	err := apply(lo, hi)
	switch {
	case err == nil:
		return nil
	case !aboutData(err):
		return err
	case hi-lo == 1:
		return reject(lo, err)
	}
	mid := lo + (hi-lo)/2
	if err := Bisect(lo, mid, apply, aboutData, reject); err != nil {
		return err
	}
	return Bisect(mid, hi, apply, aboutData, reject)
}

// Bounds of Prune: rows of one transaction, transactions and deleted rows of one call.
const (
	PruneBatch = 500
	PruneSteps = 1000
	pruneMost  = 100_000
)

// Prune repeats a step, which looks at PruneBatch rows at most and deletes some of them, until it finds no more or the bounds are reached.
func Prune(step func() (seen, gone int64, err error)) (total int64, err error) {
	for range PruneSteps {
		seen, gone, err := step()
		if err != nil {
			return total, err
		}
		if total += gone; seen < PruneBatch || total >= pruneMost {
			break
		}
	}
	return total, nil
}

// HolderText names this process for people.
func HolderText() string {
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	return fmt.Sprintf("pid %d on %s", os.Getpid(), host)
}

// Failure is a row of failures before it has an id.
type Failure struct {
	EntityID                       string
	Class                          ads.Class
	Code, Message, Hint, RequestID string
	Attempts                       int64
	Backoff                        store.Backoff
	Raw                            []byte
}

// FromProblem is the failure that a problem becomes.
func FromProblem(p *ads.Problem) Failure {
	return Failure{
		EntityID: EntityID(p.EntityID), Class: ads.ClassBadRecord, Code: p.Code, Message: p.Message, Hint: p.Hint, Attempts: 1, Raw: CutRaw(p.Raw),
	}
}

// Refused is the failure of a record that the database did not take.
func Refused(id string, raw []byte, reason string) Failure {
	return Failure{
		EntityID: EntityID(id), Class: ads.ClassBadRecord, Code: "refused", Message: "the database refused it: " + reason, Attempts: 1,
		Hint: "look at the record and at constraints or triggers that were added to the table", Raw: CutRaw(raw),
	}
}

// NextTry is when a failure is worth another try by itself, zero where it is not. attempts are those of all its life.
func NextTry(b store.Backoff, first, last time.Time, attempts int64) time.Time {
	if attempts >= b.Limit {
		return time.Time{}
	}
	return last.Add(min(max(last.Sub(first), b.First), b.Most))
}

// maxEntityID bounds what goes into the index of open failures.
const maxEntityID = 1024

// EntityID makes an id fit an index: one that is too long is cut, and told apart from others by a sum.
func EntityID(id string) string {
	id = ads.Text(id)
	if len(id) <= maxEntityID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return ads.Text(id[:maxEntityID-20]) + "…" + hex.EncodeToString(sum[:6])
}

// CutRaw is what is kept of a failed record's JSON: storable text of at most ads.MaxRawKept bytes.
func CutRaw(raw []byte) []byte {
	if len(raw) == 0 {
		return nil
	}
	s := ads.Text(string(raw[:min(len(raw), ads.MaxRawKept)]))
	if len(s) > ads.MaxRawKept { // replaced bytes are longer than what they replace
		s = ads.Text(s[:ads.MaxRawKept-3])
		s = s[:min(len(s), ads.MaxRawKept)]
	}
	return []byte(ads.Text(s))
}

// TooMany says that a sweep would mark more than it was allowed to.
func TooMany(gone, present int64, share float64) bool {
	return gone > 0 && float64(gone) > share*float64(present)
}

// Raw makes JSON storable on every database: PostgreSQL's json takes no bytes that are not UTF-8, and no NUL.
func Raw(b []byte) []byte {
	if b == nil || (utf8.Valid(b) && bytes.IndexByte(b, 0) < 0) {
		return b
	}
	return []byte(ads.Text(string(b)))
}

// NotWritten adds to a full disk's error how much of a commit it has cost.
func NotWritten(err error, c *store.Commit) error {
	se, ok := errors.AsType[*store.Error](err)
	n := len(c.Done)
	if c.Listed != nil {
		n += len(c.Listed.Records)
	}
	if !ok || se.Kind != store.KindFull || n == 0 {
		return err
	}
	full := *se
	full.Message += fmt.Sprintf("; %d records are not written", n)
	return &full
}

// Micro is t as both databases keep it.
func Micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// ForeignTables refuses a database that has tables of our names which we did not make.
func ForeignTables(where string, found []string, hint string) error {
	what := "a table %s that adsync did not make"
	if len(found) > 1 {
		what = "tables %s that adsync did not make"
	}
	return &store.Error{
		Kind: store.KindForeignTable, Op: "migrate", Message: fmt.Sprintf("%s has "+what, where, strings.Join(found, ", ")), Hint: hint,
	}
}

// RefusedIDs are the ids of records that the database did not take.
type RefusedIDs map[string]bool

// Add notes one down, and counts it.
func (r *RefusedIDs) Add(res *store.Result, id, reason string) {
	if res.Rejected == 0 {
		res.RejectedReason = reason
	}
	res.Rejected++
	if *r == nil {
		*r = RefusedIDs{}
	}
	(*r)[id] = true
}

// StatusList is what Status gives of all that was read: connections with a run, a lock, a wait, a pause or an open failure, in order.
func StatusList(all map[ads.Ref]*store.ConnectionStatus) []store.ConnectionStatus {
	out := make([]store.ConnectionStatus, 0, len(all))
	for _, c := range all {
		if c.Last != nil || c.Running || c.OpenFailures > 0 || c.Wait != (store.Wait{}) || !c.Pause.At.IsZero() {
			out = append(out, *c)
		}
	}
	slices.SortFunc(out, func(a, b store.ConnectionStatus) int {
		return cmp.Or(cmp.Compare(a.Ref.ClientID, b.Ref.ClientID), cmp.Compare(a.Ref.Connection, b.Ref.Connection))
	})
	return out
}

// AuditTexts are an entry's texts as they are kept: in the order of the columns who, remote, action, client_id, connection, detail, result.
func AuditTexts(e store.AuditEntry) []any {
	out := make([]any, 0, 7)
	for _, s := range []string{e.Who, e.Remote, e.Action, e.Ref.ClientID, e.Ref.Connection, e.Detail, e.Result} {
		out = append(out, ads.Printable(s, store.MaxAuditText))
	}
	return out
}
