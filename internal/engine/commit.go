package engine

import (
	"context"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// op is one thing for the committer to put into the database.
type op struct {
	account, stream string
	page            *pageOp
	done            int64 // Seq of an item, 0: none
	fail            *store.ItemFailure
	failedID        string
	accounts        []ads.Account
	metrics         *store.Metrics
	faults          []store.Fault
	resolved        []string
	unhold          bool         // items that are held wait again
	change          func(*state) // applied with the commit that this op is in
	alone           bool         // commit what waits, then this by itself
	ack             chan error   // answered once it is committed; nil: nobody waits
}

type pageOp struct {
	records  []ads.Entity
	problems []ads.Problem
	read     pageRead // New is found out by the commit
	direct   bool
	number   int
	rows     int // as the page had them, repeats and unusable ones included
}

// committer is the one goroutine that writes. It gathers results for at most commitDelay and commits them with the place reached.
type committer struct {
	r    *run
	ops  chan op
	seen *seen
	done chan struct{}

	seq   int64
	batch []op
	rows  int
	index map[string]int // ids of the batch's records, kept while any may have come before

	mu sync.Mutex
	st *state // as last committed
}

func newCommitter(r *run, st *state, seq int64) *committer {
	return &committer{r: r, st: st, seq: seq, ops: make(chan op, 16), done: make(chan struct{})}
}

// snapshot is the state as last committed. It must not be changed.
func (c *committer) snapshot() *state {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st
}

// send hands an op over. It fails only when the committer has given up.
func (c *committer) send(o op) error {
	select {
	case c.ops <- o:
		return nil
	case <-c.done:
		return c.r.stopped()
	}
}

// sendWait hands an op over and waits until it is committed.
func (c *committer) sendWait(o op) error {
	o.ack = make(chan error, 1)
	if err := c.send(o); err != nil {
		return err
	}
	select {
	case err := <-o.ack:
		return err
	case <-c.done:
		return c.r.stopped()
	}
}

// loop runs until ops is closed, or a commit fails.
func (c *committer) loop(ctx context.Context) {
	defer close(c.done)
	var timer *time.Timer
	var due <-chan time.Time
	for {
		var o op
		var ok bool
		select {
		case o, ok = <-c.ops:
			if !ok {
				c.flush(ctx)
				return
			}
		case <-due:
			due = nil
			if !c.flush(ctx) {
				return
			}
			continue
		}
		if o.alone || c.clashes(o) {
			if !c.flush(ctx) {
				return
			}
		}
		c.batch = append(c.batch, o)
		if o.page != nil {
			c.rows += len(o.page.records)
		}
		switch {
		case o.alone, o.ack != nil, c.rows >= commitRows, len(c.batch) >= commitResults:
			if !c.flush(ctx) {
				return
			}
			due = nil
		case due == nil:
			if timer == nil {
				timer = time.NewTimer(commitDelay)
				defer timer.Stop()
			} else {
				timer.Reset(commitDelay)
			}
			due = timer.C
		}
	}
}

// clashes says that o cannot share a commit with the batch: another account or stream.
func (c *committer) clashes(o op) bool {
	return len(c.batch) > 0 && (c.batch[0].account != o.account || c.batch[0].stream != o.stream)
}

// flush commits the batch. It reports whether the committer can go on.
func (c *committer) flush(ctx context.Context) bool {
	if len(c.batch) == 0 {
		return true
	}
	batch := c.batch
	c.batch, c.rows = nil, 0
	err := guard(c.r.note, func() error { return c.commit(ctx, batch) })
	for _, o := range batch {
		if o.ack != nil {
			o.ack <- err
		}
	}
	if err != nil {
		c.r.stop(err)
		return false
	}
	return true
}

func (c *committer) commit(ctx context.Context, batch []op) error {
	prev := c.snapshot()
	base := prev.clone()
	base.LastStamp = base.stamp(time.Now())
	for _, o := range batch {
		if o.change != nil {
			o.change(base)
		}
	}
	com := &store.Commit{
		RunID: c.r.id, Seq: c.seq + 1, Account: batch[0].account, Stream: batch[0].stream, Platform: c.r.spec.Name, Stamp: base.LastStamp,
	}
	key := listingKey(com.Account, com.Stream)
	var read pageRead
	var pages []*pageOp
	var metricPages int64
	for _, o := range batch {
		com.Unhold = com.Unhold || o.unhold
		com.Accounts = append(com.Accounts, o.accounts...)
		if o.done != 0 {
			com.Done = append(com.Done, o.done)
		}
		if o.fail != nil {
			com.Failed = append(com.Failed, *o.fail)
		}
		if o.page != nil {
			pages = append(pages, o.page)
		}
		if o.metrics != nil {
			com.Metrics = o.metrics // such an op is alone
			metricPages++
		}
		com.Faults = append(com.Faults, o.faults...)
		com.Resolved = append(com.Resolved, o.resolved...)
	}
	if len(pages) > 0 {
		com.Listed = c.gather(com, base, base.Listings[key], pages, &read)
	}
	var res store.Result
	var next *state
	var listed *listing // as it is told of
	com.After = func(got store.Result) store.RunUpdate {
		res, next = got, base.clone()
		if com.Listed != nil {
			n := int64(len(com.Listed.Records))
			p := read
			p.New = n - got.SeenInPass
			l := next.Listings[key]
			l.apply(p)
			next.Listed += n - got.SeenInRun
			next.NextSeq += n
			next.Pages += int64(p.Pages)
			if batch[0].alone && p.Pages > 0 && l.next(c.r.o.Slack) == ended {
				l.Done = true // with its last page, which is the last one that was asked for
			}
		}
		if l := next.Listings[key]; l != nil {
			listed = new(*l)
			next.Listings[key] = l.shrunk()
		}
		next.Pages += metricPages
		next.Written += got.Written
		next.Unchanged += got.Unchanged
		next.Held += got.Held - got.Unheld
		next.Failed += got.Rejected + int64(len(com.Failed)) + got.Held - got.Unheld
		return store.RunUpdate{State: next.encode(), Figures: next.figures(c.r.life()), Active: c.r.active()}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	err := c.r.writing.during(func() error {
		_, err := c.r.o.Store.Commit(ctx, c.r.lease, com)
		return err
	})
	if err != nil {
		return err
	}
	c.seq++
	c.mu.Lock()
	c.st = next
	c.mu.Unlock()
	c.report(batch, com, res, listed)
	return nil
}

// gather merges pages into one list of records without repeats; of a repeat the last one stands.
func (c *committer) gather(com *store.Commit, st *state, l *listing, pages []*pageOp, read *pageRead) *store.Listed {
	p0 := pages[0]
	out := &store.Listed{
		Platform: c.r.spec.Name, Direct: p0.direct, FirstSeq: st.NextSeq, Pass: l.Pass, RunStart: c.r.startedAt, PassStart: l.PassStart,
		HoldFailed: c.r.holdsFailed(),
	}
	if c.seen == nil {
		n := max(p0.read.Total.Value, int64(len(p0.records)))
		c.seen = newSeen(n, l.Pass > 1 || l.Pages > 0 || st.Listed > 0)
	} else if l.Pass > 1 {
		c.seen.all = true
	}
	out.AllMaybeSeen = c.seen.all
	if len(pages) == 1 {
		out.Records = p0.records[:0]
	} else {
		n := 0
		for _, p := range pages {
			n += len(p.records)
		}
		out.Records = make([]ads.Entity, 0, n)
	}
	if c.index == nil {
		c.index = make(map[string]int, 64)
	}
	clear(c.index)
	for _, p := range pages {
		for _, e := range p.records {
			maybe := c.seen.add(com.Account, e.ID)
			if maybe {
				if at := c.find(out, e.ID); at >= 0 {
					out.Records[at] = e
					continue
				}
				if !out.AllMaybeSeen {
					out.MaybeSeen = append(out.MaybeSeen, len(out.Records))
				}
			}
			if out.AllMaybeSeen {
				c.index[e.ID] = len(out.Records)
			}
			out.Records = append(out.Records, e)
		}
		com.Problems = append(com.Problems, p.problems...)
		read.Pages += p.read.Pages
		read.MaxRows = max(read.MaxRows, p.read.MaxRows)
		read.Problems += int64(len(p.problems))
		read.Records += int64(len(p.records))
		read.Rows, read.Cursor, read.More = p.read.Rows, p.read.Cursor, p.read.More
		if p.read.Total.Set {
			read.Total = p.read.Total
		}
	}
	return out
}

// find looks for an id among the batch's records. Without an index it is asked rarely, so it may look at each.
func (c *committer) find(l *store.Listed, id string) int {
	if l.AllMaybeSeen {
		if at, ok := c.index[id]; ok {
			return at
		}
		return -1
	}
	for i := range l.Records {
		if l.Records[i].ID == id {
			return i
		}
	}
	return -1
}

// report tells the observers what a commit did.
func (c *committer) report(batch []op, com *store.Commit, res store.Result, l *listing) {
	f := c.r.figuresNow()
	if com.Listed != nil {
		c.r.itemsAdded()
	}
	var listed int64 // after each page; pages are merged only where all of their records are new
	if com.Listed != nil {
		listed = l.have() - int64(len(com.Listed.Records)) - int64(len(com.Problems)) + res.SeenInPass
	}
	for _, o := range batch {
		switch {
		case o.page != nil && o.page.read.Pages > 0:
			fresh := int64(len(o.page.records)) - min(res.SeenInPass, int64(len(o.page.records)))
			listed = min(listed+fresh+int64(len(o.page.problems)), l.have())
			c.r.emit(observe.PageListed{
				Account: com.Account, Stream: com.Stream, Page: o.page.number, Rows: o.page.rows, New: int(fresh),
				Listed: listed, Total: l.Total, More: l.expectsMore(), Pass: l.Pass,
			})
			for _, p := range o.page.problems {
				c.r.emit(observe.RecordFailed{
					Account: com.Account, Stream: com.Stream, EntityID: ads.Printable(p.EntityID, 80), Class: ads.ClassBadRecord,
					Code: p.Code, Message: p.Message, Hint: p.Hint,
				})
			}
		case o.fail != nil:
			c.r.emit(observe.RecordFailed{
				Account: com.Account, Stream: com.Stream, EntityID: ads.Printable(o.failedID, 80), Class: o.fail.Class, Code: o.fail.Code,
				Message: o.fail.Message, Hint: o.fail.Hint, RequestID: o.fail.RequestID, Attempts: o.fail.Attempts,
			})
		}
	}
	if res.Rejected > 0 {
		c.r.note(observe.Note{Level: observe.Warn, Code: "rejected", Message: "the database refused records one by one: " + res.RejectedReason})
	}
	c.r.emit(observe.Progress{Figures: f, Pending: max(0, f.Listed-f.Synced-f.Failed), Total: total(l)})
}

func total(l *listing) ads.Opt[int64] {
	if l == nil {
		return ads.Opt[int64]{}
	}
	return l.Total
}
