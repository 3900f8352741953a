// Package ads holds the words of the field: accounts, campaigns, money, states, and the classes that an error can have.
//
// It imports the standard library only, and every other package may import it.
package ads

import "time"

// Ref names one connection: one client's way into one platform. It is the key under which everything is stored, locked and shown.
type Ref struct {
	ClientID   string // of the operator's choosing
	Connection string // unique within the client; the platform's name unless the operator gave another
}

func (r Ref) String() string { return r.ClientID + "/" + r.Connection }

// Status is a record's state in the one vocabulary that all platforms are mapped to.
type Status string

// The normalised states. What the platform said stands beside it in PlatformStatus.
const (
	StatusActive  Status = "active"
	StatusPaused  Status = "paused"
	StatusEnded   Status = "ended"
	StatusDraft   Status = "draft"
	StatusRemoved Status = "removed"
	StatusUnknown Status = "unknown"
)

// Opt is a value that may be absent. Absent is not zero: it is stored as NULL.
type Opt[T any] struct {
	Value T
	Set   bool
}

// Some is a value that is present.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Set: true} }

// Account is an ad account that a connection can read. A platform without that notion has one, named like the client.
type Account struct {
	ID             string
	Name           string
	Status         Status
	PlatformStatus string
	Currency       string // ISO 4217; empty where the platform does not say
	TimeZone       string // IANA name; empty where the platform does not say
	Raw            []byte // the platform's record as received (JSON); nil where there is none
}

// Entity is a campaign, an ad group or an ad: one row of the table of its stream.
//
// Strings are valid UTF-8 without NUL (Text makes them so), except Raw, which is the platform's JSON byte for byte.
type Entity struct {
	ID                string
	CampaignID        string // of an ad group and an ad; empty for a campaign
	AdGroupID         string // of an ad
	Name              string
	Status            Status
	PlatformStatus    string
	Objective         string // empty is stored as NULL, as for the other optional strings
	Budget            Opt[Micros]
	BudgetPeriod      string // "daily", "lifetime" or empty
	Currency          string
	Impressions       Opt[int64] // lifetime figures; absent where the platform does not give them
	Clicks            Opt[int64]
	Conversions       Opt[Decimal]
	CreatedAt         Opt[time.Time]
	PlatformUpdatedAt Opt[time.Time]
	Raw               []byte
}

// Record is what a connector emits for each item of a listing: an entity, or the problem that kept it from becoming one.
type Record struct {
	Entity
	Problem *Problem
}

// Problem is why a record could not be used. The record goes to the failures with its JSON, and the rest goes on.
type Problem struct {
	EntityID string // the record's id where it has a usable one, else a name made from its place, such as "page 3, position 7"
	Code     string // short and stable, for machines: "no_id", "bad_value", "duplicate_key", …
	Message  string // names the field and what is wrong with it; safe to print
	Hint     string // what to do about it
	Raw      []byte // the record as received, at most MaxRawKept bytes of it; may be invalid JSON
}

// MaxRawKept bounds the JSON kept with a failure.
const MaxRawKept = 64 << 10

// StreamCampaigns is the name of a stream of the contract.
const StreamCampaigns = "campaigns"

// Outcome is how a run ended.
type Outcome string

// The outcomes. Complete and partial end a run; a failed or interrupted one is resumed under its id.
const (
	Complete    Outcome = "complete"
	Partial     Outcome = "partial"
	Failed      Outcome = "failed"
	Interrupted Outcome = "interrupted"
)

// Figures are a run's counts over all its lives. Listed = Synced + Failed; Unchanged is a part of Synced.
type Figures struct {
	Listed    int64
	Synced    int64
	Unchanged int64
	Failed    int64
	Removed   int64
	Pages     int64
	Requests  int64         // attempts sent, token requests apart
	Throttled int64         // answers that refused for quota
	Retries   int64         // attempts beyond a request's first, quota refusals apart
	Waited    time.Duration // wall time during which at least one request waited for a quota or because the server asked for it
	Told      time.Duration // the part of Waited in which the server had asked at least one to
	Writing   time.Duration // wall time during which the database was written and nothing waited
}
