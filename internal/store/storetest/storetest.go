// Package storetest holds a database to the comments of package store. Each database runs the same suite from a few lines of its own.
//
// It is for tests only and imports ads and store, no database.
package storetest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// Database is one private database that holds nothing when a test begins.
type Database struct {
	// Name is what a child process is told to open.
	Name string
	// Open gives a further Store on it, as another process would have.
	Open func(ctx context.Context) (store.Store, error)
	// Rows runs a query beside the Store and gives every value as text: NULL as "NULL", times as RFC 3339 with six decimals and Z.
	Rows func(t testing.TB, query string) [][]string
	// Exec runs a statement beside the Store.
	Exec func(t testing.TB, query string)
}

// Run runs the suite. fresh makes a database for one test and removes it afterwards.
func Run(t *testing.T, fresh func(t testing.TB) Database) {
	// Each check is many transactions: a third of the usual number, unless told otherwise.
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		if err := f.Value.Set("33"); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range suite {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, fresh(t))
		})
	}
}

var suite = []struct {
	name string
	run  func(*testing.T, Database)
}{
	{"Schema", testSchema},
	{"Columns", testColumns},
	{"ForeignTables", testForeignTables},
	{"NewerSchema", testNewerSchema},
	{"MigrateTogether", testMigrateTogether},
	{"CheckWritable", testCheckWritable},
	{"OddValues", testOddValues},
	{"AnyValues", testAnyValues},
	{"OddTexts", testOddTexts},
	{"ChangedAt", testChangedAt},
	{"DirectSeen", testDirectSeen},
	{"FirstLoadSuspects", testFirstLoadSuspects},
	{"BigBatches", testBigBatches},
	{"Items", testItems},
	{"ItemsListedAgain", testItemsListedAgain},
	{"RepeatedCommit", testRepeatedCommit},
	{"NothingOnError", testNothingOnError},
	{"Accounts", testAccounts},
	{"Refused", testRefused},
	{"RefusedItem", testRefusedItem},
	{"Failures", testFailures},
	{"Backoff", testBackoff},
	{"BackoffDoubles", testBackoffDoubles},
	{"Held", testHeld},
	{"HeldMany", testHeldMany},
	{"FailureFilters", testFailureFilters},
	{"DueRetries", testDueRetries},
	{"Campaigns", testCampaigns},
	{"CampaignsSorted", testCampaignsSorted},
	{"HastenFailures", testHastenFailures},
	{"Metrics", testMetrics},
	{"Faults", testFaults},
	{"Parents", testParents},
	{"Sweep", testSweep},
	{"SweepItems", testSweepItems},
	{"SweepShare", testSweepShare},
	{"SweepResolves", testSweepResolves},
	{"OpenRun", testOpenRun},
	{"OpenRunClock", testOpenRunClock},
	{"FinishRun", testFinishRun},
	{"ItemsDropped", testItemsDropped},
	{"Busy", testBusy},
	{"Fence", testFence},
	{"DeadHolder", testDeadHolder},
	{"CrashAfterEveryCommit", testCrashAfterEveryCommit},
	{"TwoStores", testTwoStores},
	{"ClientsApart", testClientsApart},
	{"Pause", testPause},
	{"Audit", testAudit},
	{"Notices", testNotices},
	{"Workers", testWorkers},
	{"Lease", testLease},
	{"ForgottenWorker", testForgottenWorker},
	{"LeaseOfProcess", testLeaseOfProcess},
	{"LastStarts", testLastStarts},
	{"Park", testPark},
	{"TokenRoot", testTokenRoot},
	{"TokenRows", testTokenRows},
	{"TokenLease", testTokenLease},
	{"TokenLeaseTogether", testTokenLeaseTogether},
	{"TokenEnds", testTokenEnds},
	{"Prune", testPrune},
	{"PruneMany", testPruneMany},
	{"StatusAndRuns", testStatusAndRuns},
	{"Quota", testQuota},
	{"QuotaProcesses", testQuotaProcesses},
	{"Cancelled", testCancelled},
	{"Closed", testClosed},
	{"Model", testModel},
}

// timeout bounds one test's talk with its database; what takes longer hangs.
const timeout = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	return ctx
}

// base is a moment that all tests count from.
var base = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }

func text(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

var acme = ads.Ref{ClientID: "acme", Connection: "adplatform"}

// open opens and migrates a Store, and closes it with the test.
func open(t testing.TB, db Database) store.Store {
	t.Helper()
	s := openRaw(t, db)
	if _, err := s.Migrate(testContext(t)); err != nil {
		t.Fatalf("Migrate: %v", err)
	}
	return s
}

func openRaw(t testing.TB, db Database) store.Store {
	t.Helper()
	s, err := db.Open(testContext(t))
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// session is one run of one connection under way.
type session struct {
	t     testing.TB
	s     store.Store
	lease store.Lease
	run   store.Run
	seq   int64
}

func begin(t testing.TB, s store.Store, ref ads.Ref, o store.OpenRun) *session {
	t.Helper()
	ctx := testContext(t)
	l, err := s.Acquire(ctx, ref)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	run, err := s.OpenRun(ctx, l, o)
	if err != nil {
		t.Fatalf("OpenRun: %v", err)
	}
	return &session{t: t, s: s, lease: l, run: run, seq: run.CommitSeq}
}

func newRun(id string, now time.Time) store.OpenRun {
	return store.OpenRun{NewID: id, Trigger: "manual", Plan: "plan", MaxAge: 24 * time.Hour, Now: now}
}

// try commits c as the next commit of the run.
func (x *session) try(c store.Commit) (store.Result, error) {
	x.t.Helper()
	c.RunID, c.Seq = x.run.ID, x.seq+1
	if c.Account == "" {
		c.Account = "acc"
	}
	if c.Stream == "" {
		c.Stream = ads.StreamCampaigns
	}
	if c.After == nil {
		c.After = after(c.Seq)
	}
	res, err := x.s.Commit(testContext(x.t), x.lease, &c)
	if err == nil {
		x.seq++
	}
	return res, err
}

// after stores something that tells commits apart.
func after(seq int64) func(store.Result) store.RunUpdate {
	return func(store.Result) store.RunUpdate {
		return store.RunUpdate{State: []byte(fmt.Sprintf(`{"commit":%d}`, seq)), Figures: ads.Figures{Pages: seq}, Active: time.Duration(seq) * time.Second}
	}
}

func (x *session) commit(c store.Commit) store.Result {
	x.t.Helper()
	res, err := x.try(c)
	if err != nil {
		x.t.Fatalf("Commit: %v", err)
	}
	return res
}

// direct lists records straight into their table.
func (x *session) direct(stamp time.Time, records ...ads.Entity) store.Result {
	x.t.Helper()
	return x.commit(store.Commit{Stamp: stamp, Listed: x.listedDirect(records...)})
}

func (x *session) listedDirect(records ...ads.Entity) *store.Listed {
	return &store.Listed{
		Platform: "adplatform", Records: records, Direct: true, Pass: 1, RunStart: x.run.StartedAt, PassStart: x.run.StartedAt, AllMaybeSeen: true,
	}
}

func (x *session) finish(o ads.Outcome, now time.Time) {
	x.t.Helper()
	if err := x.s.FinishRun(testContext(x.t), x.lease, store.FinishRun{RunID: x.run.ID, Outcome: o, Now: now}); err != nil {
		x.t.Fatalf("FinishRun: %v", err)
	}
	x.release()
}

func (x *session) release() {
	x.t.Helper()
	if err := x.s.Release(testContext(x.t), x.lease); err != nil {
		x.t.Fatalf("Release: %v", err)
	}
}

func (x *session) pending() []store.Item {
	x.t.Helper()
	items, err := x.s.Pending(testContext(x.t), x.lease, x.run.ID, 0, 1000)
	if err != nil {
		x.t.Fatalf("Pending: %v", err)
	}
	return items
}

func ids(items []store.Item) string {
	var out []string
	for _, it := range items {
		out = append(out, it.ID)
	}
	return strings.Join(out, " ")
}

// entity is a plain record.
func entity(id string) ads.Entity {
	return ads.Entity{
		ID: id, Name: "Campaign " + id, Status: ads.StatusActive, PlatformStatus: "active", Budget: ads.Some(ads.Micros(1_100_000_000)),
		Impressions: ads.Some(int64(8432)), Clicks: ads.Some(int64(234)), Conversions: ads.Some(ads.Decimal{Coef: 12}),
		CreatedAt: ads.Some(base), Raw: []byte(`{"id":"` + id + `"}`),
	}
}

func entities(idsOf ...string) []ads.Entity {
	var out []ads.Entity
	for _, id := range idsOf {
		out = append(out, entity(id))
	}
	return out
}

func wantRows(t testing.TB, db Database, query string, want ...[]string) {
	t.Helper()
	got := db.Rows(t, query)
	if !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

func wantResult(t testing.TB, got, want store.Result) {
	t.Helper()
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func wantKind(t testing.TB, err error, want store.Kind) {
	t.Helper()
	if got := KindOf(err); got != want {
		t.Errorf("kind %q, want %q: %v", got, want, err)
	}
}

// KindOf is the kind of a store's error, empty where err is none.
func KindOf(err error) store.Kind {
	for e := err; e != nil; {
		if se, ok := e.(*store.Error); ok { //nolint:errorlint // walks the chain itself
			return se.Kind
		}
		u, ok := e.(interface{ Unwrap() error })
		if !ok {
			return ""
		}
		e = u.Unwrap()
	}
	return ""
}

// Environment of a child process: what to do, and on which database.
const (
	envRole = "ADSYNC_STORETEST_ROLE"
	envName = "ADSYNC_STORETEST_DATABASE"
	envArg  = "ADSYNC_STORETEST_ARG"
)

// Main is TestMain for a package that runs the suite: this binary is started again as another process where a test needs one.
func Main(m *testing.M, open func(ctx context.Context, name string) (store.Store, error)) int {
	role := os.Getenv(envRole)
	if role == "" {
		return m.Run()
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s, err := open(ctx, os.Getenv(envName))
	if err == nil {
		err = roles[role](ctx, s, os.Getenv(envArg))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	return 0
}

// child starts this binary again in a role.
func child(t testing.TB, db Database, role, arg string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(testContext(t), exe)
	cmd.Env = append(os.Environ(), envRole+"="+role, envName+"="+db.Name, envArg+"="+arg)
	cmd.Stderr = os.Stderr
	return cmd
}
