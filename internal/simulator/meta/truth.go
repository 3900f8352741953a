package meta

import (
	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// AccountTruth is an account as it is.
type AccountTruth struct {
	ID        string         `json:"id"` // act_…
	AccountID string         `json:"account_id"`
	Name      string         `json:"name"`
	Currency  string         `json:"currency"`
	Minor     int64          `json:"minor"` // how many of its smallest units make one
	TimeZone  string         `json:"time_zone"`
	Today     string         `json:"today"`
	Denied    bool           `json:"denied"`
	Things    map[string]int `json:"things"` // per level, with those that are archived and deleted
	Listed    map[string]int `json:"listed"` // those that an edge shows without being asked for more
}

// FigureTruth is what something did on a day, as it stands now.
type FigureTruth struct {
	Date        string `json:"date"`
	ID          string `json:"id"`
	Impressions int64  `json:"impressions"`
	Clicks      int64  `json:"clicks"`
	SpendMinor  int64  `json:"spend_minor"`
	Purchases   int64  `json:"purchases"`
	ValueMinor  int64  `json:"value_minor"`
}

// Accounts are all accounts, with how much is in each.
func (s *Server) Accounts() []AccountTruth {
	out := make([]AccountTruth, 0, s.cfg.Accounts)
	for n := 1; n <= s.cfg.Accounts; n++ {
		a := s.w.Account(n)
		t := AccountTruth{
			ID: "act_" + accountID(n), AccountID: accountID(n), Name: a.Name, Currency: a.Currency, Minor: a.Minor, TimeZone: a.ZoneName,
			Today: s.w.Moment(n, s.host.Now()).Today.String(), Denied: s.denied(n), Things: map[string]int{}, Listed: map[string]int{},
		}
		for l := world.OfCampaign; l <= world.OfAd; l++ {
			v := view{s: s, account: a, level: l}
			for i := 0; v.goTo(i); i++ {
				t.Things[levelNames[l]]++
				if !hidden(v.status) {
					t.Listed[levelNames[l]]++
				}
			}
		}
		out = append(out, t)
	}
	return out
}

// Figures are what an account's things of a level (account, campaign, adset, ad) did on each day from one to another, both included;
// those that did nothing are left out. An account or level that there is not has none.
func (s *Server) Figures(account, level, since, until string) []FigureTruth {
	o := parseID(account)
	l := levelOf(level)
	from, err := world.ParseDay(since)
	to, err2 := world.ParseDay(until)
	if o.kind != anAccount || o.account > s.cfg.Accounts || l < 0 || err != nil || err2 != nil {
		return nil
	}
	m := s.w.Moment(o.account, s.host.Now())
	k := s.w.Walk(o.account, m)
	q := &query{account: o.account, obj: object{kind: anAccount, account: o.account}, level: world.Level(l), deep: world.Level(l)}
	first, last := s.campaigns(q)
	var out []FigureTruth
	add := func(d world.Day, id string, f *world.Figures) {
		if f.Zero() {
			return
		}
		out = append(out, FigureTruth{Date: d.String(), ID: id, Impressions: f.Impressions, Clicks: f.Clicks, SpendMinor: f.Spend, Purchases: f.Conversions / 100, ValueMinor: f.Value})
	}
	acc := make([]world.Figures, s.size(q.level))
	for d := from; d <= min(to, m.Today); d++ {
		var sum world.Figures
		for campaign := first; campaign < last; campaign++ {
			clear(acc)
			k.Fill(campaign, q.level, d, d, acc)
			if q.level == world.OfAccount {
				sum.Add(&acc[0])
				continue
			}
			for i := range acc {
				t := k.Campaign()
				if g, a := s.children(k, q.level, i); a != nil {
					t = a
				} else if g != nil {
					t = g
				}
				add(d, string(appendThingID(nil, l, o.account, t.Serial(s.w))), &acc[i])
			}
		}
		if q.level == world.OfAccount {
			add(d, account, &sum)
		}
	}
	return out
}

func levelOf(name string) int {
	for i, n := range levelNames {
		if n == name {
			return i
		}
	}
	return -1
}

// use counts what accounts drew on their quotas.
type useTruth struct {
	MostScore     int64 `json:"most_score"`
	ScoreRefusals int64 `json:"score_refusals"`
	CaseRefusals  int64 `json:"use_case_refusals"`
	UserErrors    int64 `json:"user_errors"`
}

// Extra is what the platform adds to the statistics.
func (s *Server) Extra(reset bool) any {
	jobs := s.jobCounts()
	now := s.host.Elapsed()
	s.mu.Lock()
	defer s.mu.Unlock()
	quotas := map[string]useTruth{}
	for n, u := range s.uses {
		quotas["act_"+accountID(n)] = useTruth{u.mostScore, u.scoreHits, u.caseHits, u.errors.Sum(now)}
		if reset {
			u.mostScore, u.scoreHits, u.caseHits = u.score.Sum(now), 0, 0
		}
	}
	inURL := s.inURL.Load()
	if reset {
		s.inURL.Store(0)
	}
	return map[string]any{"quotas": quotas, "jobs": jobs, "app_calls_in_window": s.app.calls.Sum(now), "tokens_in_urls": inURL}
}

var _ stage.Platform = (*Server)(nil)
