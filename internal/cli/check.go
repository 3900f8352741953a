package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/platform"
	"adsync/internal/report"
	"adsync/internal/store"
	"adsync/internal/tokens"
)

type checkCmd struct {
	selection
	Offline bool `name:"offline" help:"Stop after validation: no secret store, database or platform is asked."`
	Migrate bool `name:"migrate" help:"Bring a PostgreSQL database's schema up to date first."`
}

// Bounds of a check. A host that does not answer is given up sooner than in a sync.
const (
	loginWithin   = 40 * time.Second
	loginAttempt  = 10 * time.Second
	loginsAtOnce  = 32
	databaseCheck = "database"
)

// finding is what was found out about one thing.
type finding struct {
	Check   string  `json:"check"`   // "configuration", "database", "login"
	Subject string  `json:"subject"` // the file, the database, client/connection
	OK      bool    `json:"ok"`
	Message string  `json:"message"`
	Blame   *string `json:"blame"` // "yours", "the platform's", "the network's"; null where all is well
	Cure    *string `json:"cure"`

	kind report.Kind
}

func (c *checkCmd) Run(a *app) error {
	cfg, err := a.load(c.Offline)
	var found []finding
	if err != nil {
		found = a.misconfigured(err)
		return a.checked(found)
	}
	conns, err := c.of(cfg)
	if err != nil {
		return err
	}
	found = append(found, finding{
		Check: "configuration", Subject: cfg.Source, OK: true,
		Message: plural(int64(len(conns)), "connection") + warned(len(cfg.Warnings)),
	})
	if !c.Offline {
		database := a.checkDatabase(cfg.Database, c.Migrate)
		var m *tokens.Manager
		switch {
		case !database.OK:
			found = append(found, database)
		case len(cfg.TokenKeys) == 0:
			database.Message += "; " + inMemory
			found = append(found, database)
		default:
			var f finding
			var done func()
			m, done, f = a.checkTokens(cfg.TokenKeys, cfg.Database)
			defer done()
			found = append(found, database, f)
		}
		found = append(found, a.checkLogins(conns, m)...)
	}
	return a.checked(found)
}

func warned(n int) string {
	if n == 0 {
		return ""
	}
	return " (" + plural(int64(n), "warning") + " above)"
}

// misconfigured gives one finding for each mistake in the configuration.
func (a *app) misconfigured(err error) []finding {
	ce, ok := errors.AsType[*config.Error](err)
	if !ok {
		return []finding{bad("configuration", "", report.KindOf(err), err.Error(), "yours", "")}
	}
	var out []finding
	for _, p := range ce.Problems {
		cure := p.Cure
		p.Cure = ""
		out = append(out, bad("configuration", p.File, report.Config, p.String(), "yours", cure))
	}
	return out
}

func bad(check, subject string, kind report.Kind, message, blame, cure string) finding {
	f := finding{Check: check, Subject: subject, Message: message, Blame: &blame, kind: kind}
	if cure != "" {
		f.Cure = &cure
	}
	return f
}

func (a *app) checkDatabase(db config.Database, migrate bool) finding {
	st, err := a.ready(db, migrate)
	if err != nil {
		x := report.ExplainError(err, time.Now())
		blame := "yours"
		if e, ok := errors.AsType[*store.Error](err); ok && e.Kind == store.KindUnreachable {
			blame = "the network's"
		}
		return bad(databaseCheck, db.Display, x.Kind, x.Why, blame, x.Next)
	}
	defer st.Close()
	msg := "can be written"
	if have, err := st.Schema(a.ctx); err == nil {
		msg += fmt.Sprintf(", schema at version %d", have.Current)
	}
	if p, err := privileged(a.ctx, st); err == nil && p != nil { // where it must be told, the database was not opened without
		a.problem(slog.LevelWarn, *p)
		msg += warned(1)
	}
	return finding{Check: databaseCheck, Subject: st.Describe(), OK: true, Message: msg}
}

// checkLogins logs in to every connection, several at a time. Connections with the same credentials at the same host share one login.
func (a *app) checkLogins(conns []config.Connection, m *tokens.Manager) []finding {
	type key struct{ platform, url, login string }
	first := map[key]int{}
	out := make([]finding, len(conns))
	shared, kept := apiclient.NewShared(apiclient.SharedConfig{}), apiclient.NewShared(apiclient.SharedConfig{Tokens: m})
	defer shared.CloseIdle()
	defer kept.CloseIdle()
	free := make(chan struct{}, loginsAtOnce)
	var wg sync.WaitGroup
	same := make([]int, len(conns))
	for i, c := range conns {
		login := ""
		for _, s := range c.Logins() {
			login += strconv.Quote(s.Reveal())
		}
		k := key{c.Platform, c.URL, login}
		if j, ok := first[k]; ok {
			same[i] = j
			continue
		}
		first[k], same[i] = i, i
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			out[i] = a.checkLogin(c, shared, kept, m != nil)
		})
	}
	wg.Wait()
	for i, c := range conns {
		if same[i] != i {
			out[i] = out[same[i]]
			out[i].Subject = c.Ref.String()
		}
	}
	return out
}

// checkLogin logs in, also where a token is kept: what is asked is whether the credentials are good. Tokens that are had from earlier ones are had as in a
// sync: a renewal may use the earlier one up, so there is none where the next one would be kept nowhere.
func (a *app) checkLogin(c config.Connection, shared, kept *apiclient.Shared, keeps bool) finding {
	ctx, cancel := context.WithTimeout(a.ctx, loginWithin)
	defer cancel()
	c.Timeout, c.MaxElapsed, c.Quota = min(c.Timeout, loginAttempt), min(c.MaxElapsed, loginWithin-loginAttempt), nil
	tried := true
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = report.Caught(a.log(), "logging in to "+c.Ref.String())
			}
		}()
		p, err := connect.Platform(c)
		if err != nil {
			return err
		}
		if _, renews := p.(platform.Refresher); renews {
			if tried = keeps; !tried {
				return nil
			}
			shared = kept
		}
		api, err := (&connect.Maker{Shared: shared, Observer: a.console, MaxWait: loginAttempt}).Client(p, c)
		if err != nil {
			return err
		}
		return api.Login(ctx)
	}()
	subject := c.Ref.String()
	switch {
	case err == nil && !tried:
		return finding{Check: "login", Subject: subject, OK: true, Message: "not tried: a renewal may use up the configured token, and without token_key the next one would be lost"}
	case err == nil:
		return finding{Check: "login", Subject: subject, OK: true, Message: "logged in to " + c.URL}
	case a.ctx.Err() != nil:
		err = context.Cause(a.ctx)
	}
	x := report.ExplainError(err, time.Now())
	cure := x.Next
	e, ok := errors.AsType[*ads.Error](err)
	switch {
	case !ok:
	case e.Hint != "":
		cure = e.Hint
	case e.Class == ads.ClassUnreachable:
		cure = fmt.Sprintf("check url: (%s), that the host is up, and what stands between (proxy, firewall)", c.URL)
	case x.Kind == report.Upstream:
		cure = "wait and check again; if it lasts, ask the platform's support"
	}
	return bad("login", subject, x.Kind, x.Why, blameOf(err), cure)
}

// blameOf says whose fault a failed login is.
func blameOf(err error) string {
	switch ads.ClassOf(err) {
	case ads.ClassAuth, ads.ClassDenied, ads.ClassTokenDead:
		return "yours"
	case ads.ClassUnreachable:
		return "the network's"
	case ads.ClassInternal:
		if report.KindOf(err) == report.Config {
			return "yours"
		}
		return "adsync's"
	}
	return "the platform's"
}

// checked prints the findings and gives the failure that they make together.
func (a *app) checked(found []finding) error {
	var broken int
	var kinds []report.Kind
	all := report.OK
	for i, f := range found {
		found[i].Message = report.OneLine(a.red.String(f.Message))
		if !f.OK {
			broken++
		}
		if f.Check == "login" {
			kinds = append(kinds, kindOf(f))
		} else if !f.OK && all != report.Store {
			all = f.kind
		}
	}
	if all == report.OK {
		all = report.Together(kinds)
	} else if worst := report.Together(append(kinds, all)); worst == report.Internal {
		all = worst
	}
	if a.JSON {
		_ = a.writeJSON(struct {
			OK     bool      `json:"ok"`
			Checks []finding `json:"checks"`
		}{broken == 0, found})
	} else {
		for _, f := range found {
			a.stdout.printf("%s\n", f)
		}
	}
	if broken == 0 {
		return nil
	}
	return &failure{
		kind: all, why: fmt.Sprintf("%d of %d checks failed", broken, len(found)), next: "Each line says whose fault it is and what to do.",
	}
}

func kindOf(f finding) report.Kind {
	if f.OK {
		return report.OK
	}
	return f.kind
}

func (f finding) String() string {
	word := "ok  "
	if !f.OK {
		word = "FAIL"
	}
	s := fmt.Sprintf("%s  %-13s  ", word, f.Check)
	if f.Subject != "" && !strings.HasPrefix(f.Message, f.Subject) {
		s += f.Subject + ": "
	}
	s += f.Message
	if f.Blame != nil {
		s += " [" + *f.Blame + " to mend]"
	}
	if f.Cure != nil {
		s += "\n      → " + *f.Cure
	}
	return s
}
