package googleads

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// AccountTruth is an account as it is.
type AccountTruth struct {
	ID       string         `json:"id"`
	Manager  string         `json:"manager,omitempty"` // the root by which access is granted
	Name     string         `json:"name"`
	Currency string         `json:"currency"`
	TimeZone string         `json:"time_zone"`
	Today    string         `json:"today"`
	Status   string         `json:"status"`
	Denied   bool           `json:"denied"`
	Things   map[string]int `json:"things"` // per resource, with those that are removed
}

// FigureTruth is what something did on a day, as it stands now.
type FigureTruth struct {
	Date        string  `json:"date"`
	ID          string  `json:"id"`
	Impressions int64   `json:"impressions"`
	Clicks      int64   `json:"clicks"`
	CostMicros  int64   `json:"cost_micros"`
	Conversions float64 `json:"conversions"`
	Value       float64 `json:"conversions_value"`
}

// Accounts are all accounts with ads, with how much is in each.
func (s *Server) Accounts() []AccountTruth {
	out := make([]AccountTruth, 0, s.cfg.Accounts)
	for n := 1; n <= s.cfg.Accounts; n++ {
		a, x := s.w.Account(n), node{account: n, manager: s.rootOf(n)}
		t := AccountTruth{
			ID: x.text(), Name: a.Name, Currency: a.Currency, TimeZone: a.ZoneName, Today: s.w.Moment(n, s.host.Now()).Today.String(), Status: s.life(x), Denied: s.denied(x),
			Things: map[string]int{},
		}
		if x.manager > 0 {
			t.Manager = node{manager: x.manager}.text()
		}
		for i := range s.w.Campaigns(n) {
			c := s.w.Campaign(n, i)
			t.Things["campaign"]++
			if !s.adless(&c) {
				t.Things["ad_group"] += s.size(world.OfGroup)
				t.Things["ad_group_ad"] += s.size(world.OfAd)
			}
		}
		out = append(out, t)
	}
	return out
}

// Figures are what an account's things (customer, campaign, ad_group, ad_group_ad) did on each day from one to another, both included;
// those that did nothing are left out. An account or level that there is not has none.
func (s *Server) Figures(account, level, since, until string) []FigureTruth {
	x, ok := s.find(account)
	r, known := resources[level]
	from, err := world.ParseDay(since)
	to, err2 := world.ParseDay(until)
	if !ok || x.account == 0 || !known || !r.figures || err != nil || err2 != nil {
		return nil
	}
	m := s.w.Moment(x.account, s.host.Now())
	k := s.w.Walk(x.account, m)
	w := row{s: s, customer: x, account: s.w.Account(x.account)}
	acc := make([]world.Figures, s.size(r.level))
	var out []FigureTruth
	for d := from; d <= min(to, m.Today); d++ {
		var sum world.Figures
		for campaign := range s.w.Campaigns(x.account) {
			clear(acc)
			k.Fill(campaign, r.level, d, d, acc)
			w.c = k.Campaign()
			if r.level > world.OfCampaign && s.adless(w.c) {
				continue
			}
			for i := range acc {
				id := campaignID(w.c)
				switch r.level {
				case world.OfAccount:
					sum.Add(&acc[i])
					continue
				case world.OfGroup:
					w.g = &k.Groups()[i]
					id = w.groupID()
				case world.OfAd:
					w.g, w.a = &k.Groups()[i/s.cfg.Ads], &k.Ads()[i]
					id = w.adID()
				case world.OfCampaign:
				}
				out = s.truth(out, &w, d, fmt.Sprint(id), &acc[i])
			}
		}
		if r.level == world.OfAccount {
			out = s.truth(out, &w, d, account, &sum)
		}
	}
	return out
}

func (s *Server) truth(out []FigureTruth, w *row, d world.Day, id string, f *world.Figures) []FigureTruth {
	if f.Zero() {
		return out
	}
	return append(out, FigureTruth{
		Date: d.String(), ID: id, Impressions: f.Impressions, Clicks: f.Clicks, CostMicros: micros(f.Spend, w.account.Minor),
		Conversions: float64(f.Conversions) / 100, Value: w.money(f.Value),
	})
}

// Extra is what the platform adds to the statistics.
func (s *Server) Extra(reset bool) any {
	now := s.host.Elapsed()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]any{
		"operations_in_24h": s.quota.ops.Sum(now), "most_operations_in_24h": s.quota.most, "operations_limit": s.operations(), "operations_refused": s.quota.refused,
		"access_tokens": len(s.creds.access),
	}
	if reset {
		s.quota.most, s.quota.refused = s.quota.ops.Sum(now), 0
	}
	return out
}

// Command changes things while the simulator runs. Faults are switched off before others are switched on.
type Command struct {
	Advance   stage.Wait  `json:"advance,omitempty"` // puts the platform's clock forward
	FaultsOn  []string    `json:"faults_on,omitempty"`
	FaultsOff []string    `json:"faults_off,omitempty"` // names, or * for all
	Revoke    bool        `json:"revoke,omitempty"`     // ends every refresh token and access token
	Edit      []Edit      `json:"edit,omitempty"`
	Add       []Addition  `json:"add,omitempty"`
	Restate   []Restating `json:"restate,omitempty"`
}

// Edit changes a campaign of an account from now on.
type Edit struct {
	Account  string  `json:"account"`
	Campaign string  `json:"campaign"`
	Name     *string `json:"name,omitempty"`
	Status   string  `json:"status,omitempty"` // ENABLED, PAUSED or REMOVED
}

// Addition is one more campaign in an account.
type Addition struct {
	Account string `json:"account"`
	Name    string `json:"name"`
}

// Restating changes figures of the past.
type Restating struct {
	Account  string `json:"account,omitempty"` // empty: all
	Since    string `json:"since"`
	Until    string `json:"until"`
	PerMille int64  `json:"per_mille"` // of what they were
}

// Control does what a command says; it stops at the first thing that cannot be done.
func (s *Server) Control(cmd Command) error {
	if len(cmd.FaultsOn)+len(cmd.FaultsOff) > 0 {
		if err := s.host.Switch(cmd.FaultsOn, cmd.FaultsOff); err != nil {
			return err
		}
	}
	if err := s.host.Advance(time.Duration(cmd.Advance)); err != nil {
		return err
	}
	if cmd.Revoke {
		s.Revoke()
	}
	now := s.host.Now()
	for _, x := range cmd.Edit {
		if err := s.edit(x, now); err != nil {
			return fmt.Errorf("edit %s: %w", x.Campaign, err)
		}
	}
	for _, x := range cmd.Add {
		n, _ := s.find(x.Account)
		if err := s.w.Add(n.account, x.Name, now); err != nil {
			return fmt.Errorf("add to %q: %w", x.Account, err)
		}
	}
	for _, x := range cmd.Restate {
		n, ok := s.find(x.Account)
		from, err := world.ParseDay(x.Since)
		to, err2 := world.ParseDay(x.Until)
		if x.Account != "" && (!ok || n.account == 0) {
			err = fmt.Errorf("%q is not an account", x.Account)
		}
		if x.PerMille < 0 || x.PerMille > 1_000_000 {
			err = fmt.Errorf("per_mille %d: want 0 to 1000000", x.PerMille)
		}
		if err = errors.Join(err, err2); err == nil {
			err = s.w.Restate(world.Restatement{Account: n.account, From: from, To: to, PerMille: x.PerMille})
		}
		if err != nil {
			return fmt.Errorf("restate: %w", err)
		}
	}
	return nil
}

func (s *Server) edit(x Edit, now time.Time) error {
	n, ok := s.find(x.Account)
	if !ok || n.account == 0 {
		return fmt.Errorf("%q is not an account", x.Account)
	}
	e := world.Edit{Name: x.Name}
	if x.Status != "" {
		states := map[string]world.State{"ENABLED": world.Active, "PAUSED": world.Paused, "REMOVED": world.Removed}
		state, ok := states[x.Status]
		if !ok {
			return fmt.Errorf("status %q: want ENABLED, PAUSED or REMOVED", x.Status)
		}
		e.State = &state
	}
	for i := range s.w.Campaigns(n.account) {
		c := s.w.Campaign(n.account, i)
		if fmt.Sprint(campaignID(&c)) == x.Campaign {
			return s.w.Edit(n.account, world.OfCampaign, i, e, now)
		}
	}
	return errors.New("there is no such campaign")
}

// Own answers the simulator's own pages.
func (s *Server) Own(_ http.ResponseWriter, r *http.Request) any {
	switch r.URL.Path + " " + r.Method {
	case "/__truth GET":
		q := r.URL.Query()
		if account := q.Get("account"); account != "" {
			rows := s.Figures(account, q.Get("level"), q.Get("since"), q.Get("until"))
			if rows == nil {
				return errors.New("/__truth?account=ID&level=customer|campaign|ad_group|ad_group_ad&since=2026-11-01&until=2026-11-07: nothing is known under these")
			}
			return map[string]any{"figures": rows}
		}
		return map[string]any{"now": s.host.Now(), "accounts": s.Accounts()}
	case "/__control POST":
		var cmd Command
		if err := stage.Decode(r, &cmd); err != nil {
			return err
		}
		if err := s.Control(cmd); err != nil {
			return err
		}
		return map[string]any{"done": true, "now": s.host.Now()}
	}
	return nil
}
