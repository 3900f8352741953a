// Package store is what the engine asks of a database: to keep records, runs, places reached, locks and quota logs, and to change them
// together or not at all. Packages sqlite and postgres implement it; package storetest holds both to these comments.
//
// It imports ads, quota and tokens only.
package store

import (
	"context"
	"iter"
	"time"

	"adsync/internal/ads"
	"adsync/internal/quota"
	"adsync/internal/tokens"
)

// Store is one database. Its methods may be called from many goroutines. Each has a bound on its time of its own, besides ctx. Deadlocks, serialization
// failures and lost connections are tried again inside (at most 5 times, with jitter); what comes out is an *Error, a *BusyError,
// ErrFenced, or the context's error.
type Store interface {
	quota.Ledger
	tokens.Ledger

	// Schema says what version the database's schema has and what this binary knows. It changes nothing.
	Schema(ctx context.Context) (Schema, error)
	// Migrate brings the schema up to date. Several processes may call it at once: one does it. A table of the contract's names that
	// adsync did not make is never touched (KindForeignTable), a newer schema neither (KindSchema).
	Migrate(ctx context.Context) (Schema, error)
	// CheckWritable proves that rows can be written, without leaving any: called before the first request goes out.
	CheckWritable(ctx context.Context) error

	// Beat says that this process is at work and moves its lease on, forgets processes whose lease ended more than a day ago, and gives all that
	// are left, in one round trip. A process that never beats is judged by its life alone.
	Beat(ctx context.Context, b Beat) ([]Worker, error)
	// Workers gives all that have said so, without saying anything.
	Workers(ctx context.Context) ([]Worker, error)
	// Leave takes back what Beat has said. Locks that the process still holds are judged by its life from then on.
	Leave(ctx context.Context, id string) error

	// Acquire takes the lock of a connection, or gives a *BusyError. The lock of a process that died is free at once, that of one which has
	// ever beaten also when its lease has ended, be it this process itself: the old holder's next write is ErrFenced.
	Acquire(ctx context.Context, ref ads.Ref) (Lease, error)
	Release(ctx context.Context, l Lease) error

	// OpenRun resumes the connection's unfinished run where it may (same plan, younger than MaxAge, not Fresh), else starts a new one
	// and closes an unfinished older one as interrupted, dropping its items.
	OpenRun(ctx context.Context, l Lease, o OpenRun) (Run, error)
	// Commit applies everything in c in one transaction, or nothing.
	Commit(ctx context.Context, l Lease, c *Commit) (Result, error)
	// Pending yields items of a run that have neither succeeded nor failed, in order of Seq, from above afterSeq, at most limit.
	Pending(ctx context.Context, l Lease, runID string, afterSeq int64, limit int) ([]Item, error)
	// Sweep marks what a complete listing no longer has as removed, or nothing where that would be more than MaxShare.
	Sweep(ctx context.Context, l Lease, s Sweep) (SweepResult, error)
	// FinishRun closes this life of the run. Complete and partial end the run and drop its items.
	FinishRun(ctx context.Context, l Lease, f FinishRun) error
	// NoteWait records what a running connection waits for, for other processes' status; a zero Wait clears it.
	NoteWait(ctx context.Context, l Lease, w Wait) error

	// Park sets what a connection waits for without having its lock, whether or not it has ever run; a zero Wait clears it.
	Park(ctx context.Context, ref ads.Ref, w Wait) error
	// ReadWait gives what a connection waits for, a zero Wait where it waits for nothing.
	ReadWait(ctx context.Context, ref ads.Ref) (Wait, error)

	// SetPaused says that a connection is not to be synced until that is taken back, and who said so. What was said first stands.
	SetPaused(ctx context.Context, ref ads.Ref, by string, on bool) error
	// ReadPause gives who has paused a connection and when, a zero Pause where nobody has.
	ReadPause(ctx context.Context, ref ads.Ref) (Pause, error)
	// Paused gives all connections that are paused.
	Paused(ctx context.Context) (map[ads.Ref]Pause, error)

	// Audit keeps what somebody asked for and what became of it, with the database's time. Texts are cut to MaxAuditText.
	Audit(ctx context.Context, e AuditEntry) error
	// AuditLog gives entries, newest first, below an id (0: from the newest), at most limit and never more than MaxAudit.
	AuditLog(ctx context.Context, limit int, beforeID int64) ([]AuditEntry, error)

	// Notices gives what somebody outside was told of, or is to be told of.
	Notices(ctx context.Context) ([]Notice, error)
	// UpdateNotices changes notices in one transaction, which no other one runs beside: fn is given all of them and the database's time, and gives those that are
	// new or others now, and those to forget. It is pure and may be called again.
	UpdateNotices(ctx context.Context, fn func(all []Notice, now time.Time) (put []Notice, drop []NoticeKey)) error

	// Status describes every connection that has a run, a lock, a wait, a pause or an open failure, ordered by client and connection.
	Status(ctx context.Context) ([]ConnectionStatus, error)
	// Runs yields the runs of a connection (all where ref is zero), newest first, at most limit.
	Runs(ctx context.Context, ref ads.Ref, limit int) ([]RunRecord, error)
	// LastStarts gives for each connection when its newest run began that was no TriggerRetry; those without such a run are left out.
	LastStarts(ctx context.Context) (map[ads.Ref]time.Time, error)
	// LastStart gives the same for one connection; zero: there is none.
	LastStart(ctx context.Context, ref ads.Ref) (time.Time, error)
	// DueRetries gives connections with open failures whose next try is due, each once, the longest due first, at most limit.
	DueRetries(ctx context.Context, now time.Time, limit int) ([]ads.Ref, error)
	// Prune deletes runs that finished and failures that were resolved before then, and says how many; the newest run of a connection, its
	// newest complete one and all that may be resumed stay. Entries of the audit log go after KeepAudit. It works in small steps and does a bounded number of them: what is left is for the next call.
	Prune(ctx context.Context, before time.Time) (int64, error)
	// Failures yields the failures that f selects, ordered by id.
	Failures(ctx context.Context, f FailureFilter) iter.Seq2[Failure, error]
	// HastenFailures makes those that are open due now, and says how many there were.
	HastenFailures(ctx context.Context, ids []int64, now time.Time) (int64, error)
	// DropFailures deletes them and says how many there were.
	DropFailures(ctx context.Context, ids []int64) (int64, error)

	// Campaigns gives the campaigns that f selects, without their JSON, ordered by account and id as the database orders texts.
	Campaigns(ctx context.Context, f CampaignFilter) ([]CampaignRow, error)

	// Coverage gives what is known of an account's days at a stream of daily figures, in order of their dates; days that nothing is known of are left out.
	Coverage(ctx context.Context, ref ads.Ref, account, stream string, from, to ads.Date) ([]Day, error)
	// DailyTotals sums an account's rows at a level by day, of those that were written at or after since; days without any are left out.
	DailyTotals(ctx context.Context, ref ads.Ref, account, level string, from, to ads.Date, since time.Time) ([]DayTotal, error)

	// Describe names the database for people, without its password.
	Describe() string
	Close() error
}

// Schema is a database's schema version against the binary's. Current 0: no schema yet.
type Schema struct {
	Current, Known int64
	Applied        []string // what Migrate did, for people
}

// Lease is the right to write for one connection. Every write checks that Fence is still the newest.
type Lease struct {
	Ref   ads.Ref
	Fence int64
}

// Triggers are what runs are asked for by.
const (
	TriggerManual   = "manual"
	TriggerSchedule = "schedule"
	TriggerRetry    = "retry" // failures that are due, or that somebody asked for, alone
	TriggerDemo     = "demo"
)

// Beat is what a process says about itself.
type Beat struct {
	ID, Name, Version string
	Runs              int           // under way
	Lease             time.Duration // from now on, by the database's clock
}

// Worker is what a process has said about itself. Times are the database's.
type Worker struct {
	ID, Name, Version             string
	StartedAt, BeatAt, LeaseUntil time.Time
	Runs                          int
	Alive                         bool // its lease has not ended
}

// OpenRun says how to begin.
type OpenRun struct {
	NewID   string // for a new run
	Trigger string // one of the Trigger constants
	Plan    string // fingerprint of what the run's place depends on; a run with another plan is not resumed
	Fresh   bool
	MaxAge  time.Duration // counted from the run's start
	Now     time.Time
}

// Run is an open run. State is what the engine stored with the last commit, nil for a new run.
type Run struct {
	ID        string
	StartedAt time.Time
	Resumed   bool
	State     []byte
	Figures   ads.Figures
	Active    time.Duration // time spent in earlier lives
	CommitSeq int64         // of the last commit
	Pending   int64         // items that wait for their own call
}

// Commit is one transaction of a run. Account and Stream hold for all of it.
type Commit struct {
	RunID    string
	Seq      int64 // one more than the last commit's; makes a repeat after a lost answer harmless
	Account  string
	Stream   string
	Platform string    // of Accounts; Listed names its own
	Stamp    time.Time // becomes synced_at, and changed_at where something changed; never earlier than one before it in the run

	Unhold   bool          // first of all, items that are held wait again
	Accounts []ads.Account // become rows of accounts, first_seen_at kept
	Listed   *Listed       // records of one or more pages
	Done     []int64       // Seq of items whose own call succeeded: each becomes a row of the stream's table
	Failed   []ItemFailure // items whose own call failed for good
	Problems []ads.Problem // records that could not be used; kept as failures of class bad_record
	Metrics  *Metrics      // daily figures of the account
	Faults   []Fault       // what else failed for good; kept as failures of the stream
	Resolved []string      // entity ids whose open failure of the stream is over

	// After is called inside the transaction with what it did and gives what is stored with it. It is pure and may be called again.
	After func(Result) RunUpdate
}

// Listed are records as a listing gave them; ids are unique within one commit.
type Listed struct {
	Platform string
	Records  []ads.Entity
	// HoldFailed keeps back records whose own calls have failed before and are not due for another try by Stamp, or no longer tried by themselves:
	// they become items that Pending does not give. A record that is an item of this run already stays what it is, and a failure of class
	// bad_record holds nothing: no call of its own is to blame. What is held counts as listed, so Sweep takes neither it nor its failure for gone.
	HoldFailed bool
	Direct     bool      // write them to the stream's table; otherwise they become items that wait for their own call
	FirstSeq   int64     // items: Seq of the first record, counting up
	Pass       int       // of the listing, from 1
	RunStart   time.Time // direct: a row with synced_at at or after it was written by this run …
	PassStart  time.Time // … and by this pass
	// MaybeSeen are the indexes of records that may have come before in this run; the others surely have not. AllMaybeSeen: any may have.
	MaybeSeen    []int
	AllMaybeSeen bool
}

// ItemFailure is an item that failed for good in this run.
type ItemFailure struct {
	Seq       int64
	Class     ads.Class
	Code      string
	Message   string
	Hint      string
	RequestID string
	Attempts  int
	Backoff   Backoff
}

// Backoff says when a failed item is worth another try by itself: as long after it has failed as its failure is old, but at least First and
// at most Most later, so that the wait doubles from try to try. Once its failure has seen Limit attempts, never. The zero Backoff is never.
type Backoff struct {
	First, Most time.Duration
	Limit       int64
}

// Result is what a commit did.
type Result struct {
	SeenInRun  int64 // listed records that had come before in this run
	SeenInPass int64 // of them in this pass
	Written    int64 // rows written to the stream's table, of records not written before in this run
	Unchanged  int64 // of them without any change but in lifetime figures
	Held       int64 // records that became items which are held
	Unheld     int64 // items that were held and wait again
	Rejected   int64 // records that the database refused one by one; kept as failures of class bad_record
	Deleted    int64 // rows of daily figures that a slice no longer has
	// RejectedReason is the first refusal in words.
	RejectedReason string
}

// RunUpdate is stored with a commit.
type RunUpdate struct {
	State   []byte
	Figures ads.Figures
	Active  time.Duration
}

// Item is a listed record that waits for its own call.
type Item struct {
	Seq     int64
	Account string
	Stream  string
	ID      string
}

// Sweep is asked only after a complete, verified listing.
type Sweep struct {
	RunID     string
	Account   string
	Stream    string
	Direct    bool
	Pass      int       // items: those of another pass are gone
	PassStart time.Time // direct: rows synced before it are gone
	RunStart  time.Time // failures of the stream that this run did not meet again are resolved
	Stamp     time.Time
	MaxShare  float64 // of the rows not yet marked; 1 agrees to anything
}

// SweepResult tells what a sweep found. Marked is 0 where Gone/Present is above the share.
type SweepResult struct{ Present, Gone, Marked int64 }

// FinishRun closes one life.
type FinishRun struct {
	RunID   string
	Outcome ads.Outcome
	Update  RunUpdate
	Error   string // safe to print; empty is NULL
	Now     time.Time
	Wait    Wait // set when the run was deferred: shown as parked
}

// Wait is why and until when a connection is parked. Mark is for whoever parks it, and means nothing here.
type Wait struct {
	Reason string
	Until  time.Time
	Mark   string
}

// Pause is who has paused a connection, and since when by the database's clock.
type Pause struct {
	At time.Time
	By string
}

// AuditEntry is one thing that somebody asked for.
type AuditEntry struct {
	ID     int64     // given by the database
	At     time.Time // by its clock
	Who    string    // "login 3f2a9c1b", "token", "this machine"
	Remote string    // the address that it came from
	Action string    // "sync", "pause", …
	Ref    ads.Ref   // zero: about none
	Detail string
	Result string
}

// Bounds of the audit log.
const (
	KeepAudit    = 365 * 24 * time.Hour
	MaxAudit     = 1000
	MaxAuditText = 500 // characters
)

// NoticeKey names a trouble: a connection has each kind once.
type NoticeKey struct {
	Ref     ads.Ref
	Trouble string
}

// Notice is a trouble that somebody outside was told of, or is to be told of. Whoever tells claims it first, so that several processes tell once.
type Notice struct {
	NoticeKey
	Reason       string
	Since        time.Time
	EndedAt      time.Time // zero: it goes on
	ToldAt       time.Time // the last time; zero: nobody was told yet
	Tries        int       // in a row that failed
	ClaimedBy    string
	ClaimedUntil time.Time // a claim that is older has lapsed
}

// RunRecord is a row of runs.
type RunRecord struct {
	Ref        ads.Ref
	ID         string
	Trigger    string
	StartedAt  time.Time
	FinishedAt time.Time // zero: not finished
	Outcome    ads.Outcome
	Figures    ads.Figures
	Error      string
	Active     time.Duration
	Split      bool // the figures say how much of Waited was Told, and Writing; a run of an older version does not
}

// ConnectionStatus is what status shows of a connection.
type ConnectionStatus struct {
	Ref          ads.Ref
	Last         *RunRecord
	LastComplete time.Time // finished_at of the last complete run; zero: never
	Running      bool      // a living process holds the lock
	Holder       string
	Since        time.Time
	Pause        Pause
	Wait         Wait
	Campaigns    int64 // rows not marked as removed
	OpenFailures int64
	TokenEnd     time.Time // when it can no longer get a token by itself; zero: no such end is known
	TokenWhy     string    // and why
}

// FailureFilter selects failures; zero fields select all. Resolved failures are left out unless asked for.
type FailureFilter struct {
	ClientID, Connection string
	Class                string
	Since                time.Time // last_failed_at at or after
	DueBefore            time.Time // next_retry_at at or before
	After                int64     // id above
	IDs                  []int64
	Resolved             bool
	Limit                int
}

// Failure is a row of failures.
type Failure struct {
	ID                             int64
	Ref                            ads.Ref
	Account, Stream, EntityID      string
	Class                          ads.Class
	Code, Message, Hint, RequestID string
	Attempts                       int64
	FirstFailedAt, LastFailedAt    time.Time
	NextRetryAt, ResolvedAt        time.Time // zero: NULL
	Raw                            []byte
}

// CampaignFilter selects campaigns of one connection; zero fields select all.
type CampaignFilter struct {
	Ref                   ads.Ref
	Search                string // a part of the name, whatever its case is in ASCII, or the whole id
	Status                ads.Status
	Removed               bool   // those marked as removed instead of the others
	AfterAccount, AfterID string // behind this one; both empty: from the first. Not for those with a Sort, which have Skip
	Sort                  CampaignSort
	Descending            bool
	Skip                  int // rows before the first; at most MaxSkip
	Limit                 int // 0: MaxCampaigns, which is also the most
}

// CampaignSort is what campaigns are in order of; those that are even, or have nothing there, follow by account and id. Empty: by account and id.
type CampaignSort string

// The columns that campaigns can be sorted by. Names are compared without regard to the case of ASCII letters.
const (
	ByName        CampaignSort = "name"
	ByStatus      CampaignSort = "status"
	ByBudget      CampaignSort = "budget"
	ByImpressions CampaignSort = "impressions"
	ByClicks      CampaignSort = "clicks"
	BySynced      CampaignSort = "synced"
	ByChanged     CampaignSort = "changed" // or removed, where they are
)

// MaxSkip bounds how far somebody turns the pages of a sorted table; a search finds the rest.
const MaxSkip = 100_000

// MaxCampaigns bounds what one call of Campaigns gives.
const MaxCampaigns = 1000

// CampaignRow is a row of campaigns.
type CampaignRow struct {
	Account string
	ads.Entity
	FirstSeenAt, ChangedAt, SyncedAt time.Time
	RemovedAt                        time.Time // zero: NULL
}

// Metrics are rows of daily_metrics, and what is now known of their days. Rows replace those of the same entity and day.
type Metrics struct {
	Level       string
	Rows        []ads.DailyMetrics // no two of one entity and day
	FinalBefore ads.Date           // days before it are final
	End         *SliceEnd          // nil: more of the slice is to come
}

// SliceEnd closes a slice that was read: its days' coverage is set, and rows of its days that were not written since it was begun are deleted.
type SliceEnd struct {
	From, To ads.Date
	Since    time.Time           // when the slice was begun
	Partial  map[ads.Date]string // days that cannot be relied on, and why
	Failed   string              // the slice could not be read: nothing is deleted, all its days are partial for this reason
}

// Fault is a failure that is not about a listed record: of an account, or a slice.
type Fault struct {
	EntityID                       string
	Class                          ads.Class
	Code, Message, Hint, RequestID string
	Attempts                       int
	Raw                            []byte
}

// What coverage promises about a day.
const (
	DayEmpty       = "empty"       // read in full, without a row
	DayPartial     = "partial"     // not read in full, or its figures disagree with the account's own
	DayProvisional = "provisional" // read in full; the platform may still restate it
	DayFinal       = "final"       // read in full after the platform had restated it for the last time
)

// Day is a row of coverage.
type Day struct {
	Date       ads.Date
	State      string
	Rows       int64
	VerifiedAt time.Time // when it was last read in full; zero: never
	Note       string
}

// DayTotal is the sum of a day's rows at one level. What no row gives counts as zero.
type DayTotal struct {
	Date                ads.Date
	Impressions, Clicks int64
	Spend               ads.Micros
	Rows                int64
}
