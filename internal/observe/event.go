// Package observe is the one stream of events that the core reports on. The core never prints: logs, progress, metrics and the
// dashboard each subscribe.
//
// It imports ads only. Every text in an event is safe to print.
package observe

import (
	"sync"
	"time"

	"adsync/internal/ads"
)

// Observer receives events. Observe must not block for long and is called from many goroutines.
type Observer interface{ Observe(Event) }

// Event is one thing that happened to one connection.
type Event struct {
	At       time.Time
	Ref      ads.Ref
	Platform string
	RunID    string // empty before the run has an id
	Data     Data
}

// Data is what happened: one of the types below.
type Data interface{ event() }

// RunStarted opens a run, or another life of one.
type RunStarted struct {
	Trigger string
	Resumed bool        // it goes on from the last commit
	Before  ads.Figures // of the earlier lives
}

// PageListed says that a page was committed. Listed counts distinct records so far; Total is the platform's own figure.
type PageListed struct {
	Account, Stream string
	Page            int
	Rows            int // on this page
	New             int // of them not seen before in this pass
	Listed          int64
	Total           ads.Opt[int64]
	More            bool
	Pass            int // from 1; a listing that moved while it was read is read again
}

// Progress gives the run's figures after a commit.
type Progress struct {
	Figures ads.Figures
	Pending int64 // listed and waiting for their own call
	Total   ads.Opt[int64]
}

// WaitReason says why nothing is sent.
type WaitReason string

// The reasons.
const (
	WaitQuota   WaitReason = "quota"   // every slot of the window is used
	WaitServer  WaitReason = "server"  // the server asked for it
	WaitCircuit WaitReason = "circuit" // the host does not answer; only probes are sent
	WaitWorker  WaitReason = "worker"  // the process has as many requests out as it may
	WaitBusy    WaitReason = "busy"    // somebody else syncs this connection
	WaitReport  WaitReason = "report"  // the platform prepares a report
)

// WaitStarted and WaitEnded frame a wait of the whole connection (not of one request) that is longer than a second.
type WaitStarted struct {
	Reason      WaitReason
	Bucket      string // in words: "acme"
	Used, Limit int    // of the quota's window; 0 where there is none
	Window      time.Duration
	Until       time.Time
	Told        time.Duration // what the server asked for; 0 where it did not
	Note        string        // "no time given, backing off"
}

// WaitEnded closes the wait that was started with the same reason.
type WaitEnded struct {
	Reason WaitReason
	Waited time.Duration
}

// Attempt is one request that was sent, or tried.
type Attempt struct {
	Endpoint  string
	Try       int // from 1
	Status    int // 0: no answer
	Class     ads.Class
	Code      string
	Message   string
	Duration  time.Duration
	RequestID string
	Token     bool  // a token request: not among the run's requests
	Refused   bool  // for quota
	Sent      bool  // false: the connection failed before anything was written
	Request   int64 // the RequestEnded that will close it has the same number
}

// Retry says that a request will be sent again.
type Retry struct {
	Endpoint string
	Try      int // the one that failed
	Class    ads.Class
	Code     string
	Message  string
	Delay    time.Duration
	Request  int64
}

// RequestEnded closes a logical request with all of its attempts and waits. Requests that found the credentials refused before they began have none.
type RequestEnded struct {
	Request  int64 // counted from 1 by each client
	Endpoint string
	Page     int // that a listing asked for; 0: none
	Attempts int // sent, or tried
	Class    ads.Class
	Code     string
	Duration time.Duration
	Token    bool // a token request: for all requests of the client, and for no run
}

// TokenRenewed says that a token was fetched: first, before its end, or because the platform refused the last one.
type TokenRenewed struct {
	Reason string // "first", "ahead", "refused"
	Life   time.Duration
}

// TokenEnds says when a connection can no longer get a token by itself, so that somebody has to authorise adsync again. It is told once for each end, and
// again with each warning. A zero At says that no such end is known any more.
type TokenEnds struct {
	At   time.Time
	Days int    // a warning, so many days ahead: 7, 3 or 1; 0: none
	Why  string // in words
}

// VersionEnds says when the version of the platform's API that the connection asks for is switched off. It is told at the beginning of each run; a zero At
// says that no such day is known.
type VersionEnds struct {
	Version string
	At      time.Time // midnight UTC of the first day without it
}

// Circuit says that the host stopped (Open) or started to answer again.
type Circuit struct {
	Open    bool
	Host    string
	Message string
	Since   time.Time
}

// QuotaState is a bucket as the last request left it.
type QuotaState struct {
	Bucket      string
	Used, Limit int
	Window      time.Duration
	NextFree    time.Time // zero: now
	Waiting     int       // requests that wait for a slot in this process
	Owners      int       // and how many connections they are of
}

// RecordFailed says that one record failed for good in this run.
type RecordFailed struct {
	Account, Stream, EntityID string
	Class                     ads.Class
	Code, Message, Hint       string
	RequestID                 string
	Attempts                  int
}

// Level of a note.
type Level int

// The levels of notes.
const (
	Debug Level = iota
	Info
	Warn
)

// Note is anything else that a person should be able to read in the log.
type Note struct {
	Level   Level
	Code    string // stable: "list_moved", "total_disagrees", "page_echo", …
	Message string
	Hint    string
}

// Parked says that a connection's work was put off: it holds no worker and comes back by itself.
type Parked struct {
	Kind   ParkKind
	Reason string // in words
	Until  time.Time
}

// ParkKind says what a parked connection waits for.
type ParkKind string

// The kinds.
const (
	ParkQuota  ParkKind = "quota"  // a quota, or a stay that the server asked for
	ParkOutage ParkKind = "outage" // a host that does not answer
	ParkAuth   ParkKind = "auth"   // credentials that were refused, until they change
	ParkFailed ParkKind = "failed" // a run that failed, before its next try
	ParkBusy   ParkKind = "busy"   // somebody else who syncs this connection
)

// RunFinished closes this life of a run.
type RunFinished struct {
	Outcome  ads.Outcome
	Figures  ads.Figures
	Duration time.Duration // over all lives
	Err      error         // nil when complete
}

func (RunStarted) event()   {}
func (PageListed) event()   {}
func (Progress) event()     {}
func (WaitStarted) event()  {}
func (WaitEnded) event()    {}
func (Attempt) event()      {}
func (Retry) event()        {}
func (RequestEnded) event() {}
func (TokenRenewed) event() {}
func (TokenEnds) event()    {}
func (VersionEnds) event()  {}
func (Circuit) event()      {}
func (QuotaState) event()   {}
func (RecordFailed) event() {}
func (Note) event()         {}
func (Parked) event()       {}
func (RunFinished) event()  {}
func (SliceRead) event()    {}

// Func makes an Observer of a function.
type Func func(Event)

// Observe calls f.
func (f Func) Observe(e Event) { f(e) }

// Discard observes nothing.
var Discard Observer = Func(func(Event) {})

// Fan passes each event to all of its observers in turn. Observers can be added and removed while events flow.
type Fan struct {
	mu   sync.RWMutex
	subs []Observer
}

// NewFan is a Fan with these observers.
func NewFan(subs ...Observer) *Fan { return &Fan{subs: subs} }

// Add subscribes o; the function it returns ends the subscription.
func (f *Fan) Add(o Observer) (remove func()) {
	p := &o
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs = append(append([]Observer(nil), f.subs...), subscription{p})
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		var kept []Observer
		for _, s := range f.subs {
			if sub, ok := s.(subscription); !ok || sub.o != p {
				kept = append(kept, s)
			}
		}
		f.subs = kept
	}
}

// Observe passes e on.
func (f *Fan) Observe(e Event) {
	f.mu.RLock()
	subs := f.subs
	f.mu.RUnlock()
	for _, s := range subs {
		s.Observe(e)
	}
}

type subscription struct{ o *Observer }

func (s subscription) Observe(e Event) { (*s.o).Observe(e) }

// SliceRead says that daily figures of some days were read in full and committed.
type SliceRead struct {
	Account, Stream string
	From, To        string // days, both included
	Rows            int64
	Partial         int // days whose figures disagree with the account's own
	Took            time.Duration
}
