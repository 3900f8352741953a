package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/engine"
	"adsync/internal/report"
	"adsync/internal/store"
)

type failuresCmd struct {
	List  failuresListCmd  `cmd:"" help:"Show them, with cause and hint."`
	Retry failuresRetryCmd `cmd:"" help:"Try them again, alone."`
	Drop  failuresDropCmd  `cmd:"" help:"Forget them."`
}

// failureFilter are the flags that select failures.
type failureFilter struct {
	Client     string  `name:"client" placeholder:"ID" help:"Only of this client."`
	Connection string  `name:"connection" placeholder:"NAME" help:"Only of the connection of this name."`
	Class      string  `name:"class" placeholder:"CLASS" help:"Only of this class, such as permanent or bad_record."`
	Since      string  `name:"since" placeholder:"WHEN" help:"Only those that last failed since then: 2h, 7d, 2026-01-31 or a time in RFC 3339."`
	IDs        []int64 `arg:"" name:"id" optional:"" help:"Only these, by the number that list shows."`
}

var classes = []ads.Class{
	ads.ClassTransient, ads.ClassDenied, ads.ClassPermanent, ads.ClassTooLarge, ads.ClassBadReply, ads.ClassBadRecord, ads.ClassInternal, ads.ClassAuth,
	ads.ClassUnreachable, ads.ClassThrottled, ads.ClassDeferred,
}

func (f failureFilter) filter(now time.Time) (store.FailureFilter, error) {
	out := store.FailureFilter{ClientID: f.Client, Connection: f.Connection, Class: f.Class, IDs: f.IDs}
	if f.Class != "" && !slices.Contains(classes, ads.Class(f.Class)) {
		var names []string
		for _, c := range classes {
			names = append(names, string(c))
		}
		slices.Sort(names)
		return out, usagef("Known are: "+strings.Join(names, ", ")+".", "there is no class %s", ads.Printable(f.Class, 100))
	}
	if f.Since != "" {
		t, ok := parseSince(f.Since, now)
		if !ok {
			return out, usagef("Write 2h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z.", "--since %s is no length of time and no date", ads.Printable(f.Since, 100))
		}
		out.Since = t
	}
	return out, nil
}

// parseSince reads a length of time that ended now, or a date (in local time), or a time.
func parseSince(s string, now time.Time) (time.Time, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 20); err == nil {
			return now.AddDate(0, 0, -int(n)), true
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), true
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return t, true
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	return time.Time{}, false
}

// read gives the failures that are selected. st is nil where there is no database yet.
func (f failureFilter) read(a *app, migrate bool) (cfg *config.Config, st store.Store, fs []store.Failure, err error) {
	filter, err := f.filter(time.Now())
	if err != nil {
		return nil, nil, nil, err
	}
	if cfg, err = a.load(false); err != nil || !hasDatabase(cfg.Database) {
		return cfg, nil, nil, err
	}
	if st, err = a.openStore(a.ctx, cfg.Database, migrate); err != nil {
		return nil, nil, nil, err
	}
	for failure, err := range st.Failures(a.ctx, filter) {
		if err != nil {
			return nil, nil, nil, errors.Join(err, st.Close())
		}
		fs = append(fs, failure)
	}
	slices.SortStableFunc(fs, func(a, b store.Failure) int {
		return cmp.Or(cmp.Compare(a.Ref.ClientID, b.Ref.ClientID), cmp.Compare(a.Ref.Connection, b.Ref.Connection))
	})
	return cfg, st, fs, nil
}

type failuresListCmd struct{ failureFilter }

func (c *failuresListCmd) Run(a *app) error {
	_, st, fs, err := c.read(a, false)
	if err != nil {
		return err
	}
	if st != nil {
		defer st.Close()
	}
	doc := report.NewFailures(fs)
	if a.JSON {
		return a.writeJSON(doc)
	}
	return doc.Write(a.stdout, time.Now())
}

type failuresDropCmd struct{ failureFilter }

func (c *failuresDropCmd) Run(a *app) error {
	_, st, fs, err := c.read(a, false)
	if err != nil {
		return err
	}
	var n int64
	if st != nil {
		defer st.Close()
		ids := make([]int64, len(fs))
		for i, f := range fs {
			ids[i] = f.ID
		}
		for batch := range slices.Chunk(ids, 1000) {
			dropped, err := st.DropFailures(a.ctx, batch)
			n += dropped
			if err != nil {
				return err
			}
		}
	}
	if a.JSON {
		return a.writeJSON(struct {
			Dropped int64 `json:"dropped"`
		}{n})
	}
	a.stdout.printf("%s dropped.\n", plural(n, "failure"))
	return nil
}

type failuresRetryCmd struct {
	failureFilter
	Wait    bool          `name:"wait" help:"Queue up behind a process that syncs the same connection."`
	MaxWait time.Duration `name:"max-wait" default:"15m" placeholder:"DURATION" help:"Longest wait for a quota or on a server's order."`
	Migrate bool          `name:"migrate" help:"Bring a PostgreSQL database's schema up to date first."`
}

func (c *failuresRetryCmd) Run(a *app) error {
	if c.MaxWait < 0 {
		return usagef("Give a duration such as 15m.", "--max-wait %s is negative", c.MaxWait)
	}
	cfg, st, fs, err := c.read(a, c.Migrate)
	if err != nil {
		return a.nothing(err)
	}
	if st != nil {
		if err := st.Close(); err != nil {
			return err
		}
	}
	byRef := map[ads.Ref][]store.Failure{}
	for _, f := range fs {
		byRef[f.Ref] = append(byRef[f.Ref], f)
	}
	var conns []config.Connection
	for _, conn := range cfg.Connections {
		if byRef[conn.Ref] != nil {
			conns = append(conns, conn)
		}
	}
	for ref, left := range byRef {
		if !slices.ContainsFunc(conns, func(c config.Connection) bool { return c.Ref == ref }) {
			a.log().Warn(fmt.Sprintf("%s of %s cannot be retried: %s has no such connection any more", plural(int64(len(left)), "failure"), ref, cfg.Source))
		}
	}
	if len(conns) == 0 {
		if a.JSON {
			sum := report.NewSummary(nil, time.Since(a.began), time.Now(), a.red)
			sum.Outcome = ads.Complete
			return a.writeJSON(sum)
		}
		a.stdout.printf("Nothing to retry.\n")
		return nil
	}
	return a.syncAll(cfg.Database, conns, syncOptions{
		migrate: c.Migrate, maxWait: max(c.MaxWait, time.Millisecond), retry: byRef, secrets: &liveSecrets{a: a, cfg: cfg}, tokenKeys: cfg.TokenKeys, engine: engine.Options{Trigger: "retry", Wait: c.Wait},
	})
}
