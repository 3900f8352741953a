package meta

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// use is what an account drew on its quotas. The server's mutex guards it.
type use struct {
	score               stage.Window // points in five minutes
	insights, manage    stage.Window // calls in an hour
	insightsWork        stage.Window // the work behind them, in hundredths of a call
	manageWork          stage.Window
	errors              stage.Window // of the user, which lower the insights budget
	blocked             time.Duration
	activeAds           int64
	throttled           refusal
	throttledUntil      time.Duration
	mostScore           int64
	scoreHits, caseHits int64 // refusals
}

type appUse struct {
	calls, insights stage.Window
	throttled       refusal
	throttledUntil  time.Duration
}

// refusal is a throttle that a fault asked for.
type refusal struct {
	code, sub, status int
	wait              time.Duration
}

const (
	scoreSpan = 300 * time.Second
	readCost  = 1
)

// useOf finds or makes what is known of an account. The caller holds s.mu.
func (s *Server) useOf(account int) *use {
	u := s.uses[account]
	if u == nil {
		u = &use{activeAds: s.activeAds(account)}
		u.score.Span = s.host.Scaled(scoreSpan)
		for _, w := range []*stage.Window{&u.insights, &u.manage, &u.insightsWork, &u.manageWork, &u.errors} {
			w.Span = s.host.Scaled(time.Hour)
		}
		s.uses[account] = u
	}
	return u
}

// activeAds counts the ads that can deliver, in the first campaigns, and takes the rest to be like them.
func (s *Server) activeAds(account int) int64 {
	const look = 20
	all := s.w.Campaigns(account)
	var n int64
	for i := range min(all, look) {
		c := s.w.Campaign(account, i)
		for g := range s.cfg.AdSets {
			group := s.w.Group(&c, g)
			for a := range s.cfg.Ads {
				ad := s.w.Ad(&group, a)
				if effective(&c, &group, &ad, world.OfAd) == "ACTIVE" {
					n++
				}
			}
		}
	}
	if all > look {
		n = n * int64(all) / look
	}
	return n
}

func (s *Server) scoreLimit() int64 {
	switch {
	case s.cfg.ScoreLimit > 0:
		return s.cfg.ScoreLimit
	case s.cfg.Tier == "limited":
		return 60
	}
	return 9000
}

func (s *Server) scoreBlock() time.Duration {
	if s.cfg.Tier == "limited" {
		return s.host.Scaled(300 * time.Second)
	}
	return s.host.Scaled(60 * time.Second)
}

func (s *Server) insightsLimit(u *use, now time.Duration) int64 {
	base := int64(190_000)
	switch {
	case s.cfg.InsightsLimit > 0:
		return s.cfg.InsightsLimit
	case s.cfg.Tier == "limited":
		base = 600
	}
	return max(1, base+400*u.activeAds-u.errors.Sum(now)/1000)
}

func (s *Server) manageLimit(u *use) int64 {
	base := int64(100_000)
	switch {
	case s.cfg.ManagementLimit > 0:
		return s.cfg.ManagementLimit
	case s.cfg.Tier == "limited":
		base = 300
	}
	return base + 40*u.activeAds
}

func (s *Server) tierName() string {
	if s.cfg.Tier == "limited" {
		return "development_access"
	}
	return "standard_access"
}

// isInsights says which of an account's budgets a call draws on.
func isInsights(endpoint string) bool {
	switch endpoint {
	case "insights", "job_create", "job", "job_insights":
		return true
	}
	return false
}

// charge draws a call on every quota that it touches, or gives the refusal.
func (s *Server) charge(c *stage.Call, rq *request) *stage.Reply {
	rq.insights = isInsights(c.Endpoint)
	account := rq.obj.account
	if rq.obj.kind == aReport {
		if j := s.job(rq.obj.serial); j != nil {
			account = j.q.account
		}
	}
	waits := []string{"app"}
	kind := "management"
	if rq.insights {
		kind = "insights"
	}
	if account > 0 {
		waits = append(waits, c.Account, c.Account+" "+kind)
	}
	c.Arrive(waits...)
	if f := c.Play("throttle"); f != nil {
		s.throttle(c, f, account)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := c.Now
	if now < s.app.throttledUntil {
		return s.refuse(c, s.app.throttled, "app", s.app.throttledUntil-now)
	}
	if s.cfg.Tier != "none" && s.cfg.AppLimit > 0 && s.app.calls.Sum(now) >= s.cfg.AppLimit {
		sub := 1504039
		if rq.insights {
			sub = 1504022
		}
		return s.refuse(c, refusal{code: 4, sub: sub}, "app", s.app.calls.Until(now, s.cfg.AppLimit))
	}
	s.app.calls.Add(now, 1)
	if rq.insights {
		s.app.insights.Add(now, 1)
	}
	if account == 0 {
		return nil
	}
	rq.charged = true
	u := s.useOf(account)
	if now < u.throttledUntil {
		return s.refuse(c, u.throttled, c.Account, u.throttledUntil-now)
	}
	if s.cfg.Tier == "none" {
		return nil
	}
	if rq.insights {
		if limit := s.insightsLimit(u, now); u.insights.Sum(now) >= limit {
			u.caseHits++
			return s.refuse(c, refusal{code: 80000, sub: 2446079}, c.Account+" insights", u.insights.Until(now, limit))
		}
		u.insights.Add(now, 1)
		return nil
	}
	if now < u.blocked {
		u.scoreHits++
		return s.refuse(c, refusal{code: 17, sub: 2446079}, c.Account+" management", u.blocked-now)
	}
	if u.score.Sum(now)+readCost > s.scoreLimit() {
		u.blocked = now + s.scoreBlock()
		u.scoreHits++
		return s.refuse(c, refusal{code: 17, sub: 2446079}, c.Account+" management", s.scoreBlock())
	}
	if limit := s.manageLimit(u); u.manage.Sum(now) >= limit {
		u.caseHits++
		return s.refuse(c, refusal{code: 80004, sub: 2446079}, c.Account+" management", u.manage.Until(now, limit))
	}
	u.score.Add(now, readCost)
	u.mostScore = max(u.mostScore, u.score.Sum(now))
	u.manage.Add(now, 1)
	return nil
}

// throttle starts the refusals that a fault asks for.
func (s *Server) throttle(c *stage.Call, f *stage.Active, account int) {
	r := refusal{code: int(f.Num("code")), status: int(f.Num("status")), wait: f.Dur("wait")}
	switch r.code {
	case 4:
		r.sub = 1504022
	case 17, 80000, 80001, 80002, 80003, 80004:
		r.sub = 2446079
	case 613:
		r.sub = 1487742
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.code == 4 || r.code == 341 || account == 0 {
		s.app.throttled, s.app.throttledUntil = r, c.Now+r.wait
		return
	}
	u := s.useOf(account)
	u.throttled, u.throttledUntil = r, c.Now+r.wait
}

var throttleWords = map[int]string{
	4:   "(#4) Application request limit reached",
	17:  "User request limit reached",
	32:  "(#32) Page request limit reached",
	341: "(#341) Feed action request limit reached",
	368: "(#368) The action attempted has been deemed abusive or is otherwise disallowed",
	613: "(#613) Calls to this api have exceeded the rate limit.",
}

// refuse is the answer to a call beyond a quota; wait is the truth about when the next may come.
func (s *Server) refuse(c *stage.Call, r refusal, about string, wait time.Duration) *stage.Reply {
	told := wait
	if r.code >= 80000 {
		told = time.Duration(math.Ceil(wait.Minutes())) * time.Minute // minutes are all that a header can say
	}
	c.Tell(about, told)
	status := s.cfg.ThrottleStatus
	if r.status != 0 {
		status = r.status
	}
	message := throttleWords[r.code]
	if message == "" {
		message = fmt.Sprintf("(#%d) There have been too many calls from this ad-account. Wait a bit and try again. For more info, please refer to the documentation on rate limiting.", r.code)
	}
	return s.fail(c, graphError{status: status, code: r.code, sub: r.sub, message: message, transient: r.code != 368, outcome: stage.Throttled})
}

// blame notes a call that was the caller's mistake: too many of them lower the insights budget.
func (s *Server) blame(c *stage.Call, rq *request) {
	if !rq.charged || !rq.insights {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.useOf(s.accountOf(rq)).errors.Add(c.Now, 1)
}

func (s *Server) accountOf(rq *request) int {
	if rq.obj.kind == aReport {
		if j := s.jobLocked(rq.obj.serial); j != nil {
			return j.q.account
		}
	}
	return rq.obj.account
}

// tellUse adds the usage headers; those of quotas that are hardly touched stay away, as they do in life.
func (s *Server) tellUse(c *stage.Call, rq *request, rp *stage.Reply) {
	usage := c.Play("usage-header")
	if rq.token == nil || s.cfg.Tier == "none" && usage == nil && rp.Outcome != stage.Throttled {
		return
	}
	now := c.Now
	s.mu.Lock()
	defer s.mu.Unlock()
	force := rp.Outcome == stage.Throttled
	from := s.cfg.HeadersFrom
	percent := func(n, limit int64) int64 {
		if usage != nil {
			return usage.Num("percent")
		}
		if limit <= 0 {
			return 0
		}
		return n * 100 / limit
	}
	if limit := s.cfg.AppLimit; limit > 0 || usage != nil || now < s.app.throttledUntil {
		n := percent(s.app.calls.Sum(now), limit)
		if now < s.app.throttledUntil {
			n = 100
		}
		if n >= int64(from) || force {
			rp.With("X-App-Usage", fmt.Sprintf(`{"call_count":%d,"total_time":%d,"total_cputime":%d}`, n, n*3/4, n/2))
		}
	}
	account := s.accountOf(rq)
	if !rq.charged || account == 0 {
		return
	}
	u := s.useOf(account)
	if rq.insights {
		work := int64(1)
		work += rp.Rows / 100
		u.insightsWork.Add(now, work)
	} else {
		u.manageWork.Add(now, 1+rp.Rows/100)
		used := float64(u.score.Sum(now)) * 100 / float64(s.scoreLimit())
		reset := u.score.Until(now, 1)
		if now < u.blocked {
			used, reset = max(used, 100), u.blocked-now
		}
		if usage != nil {
			used = float64(usage.Num("percent"))
		}
		if used >= float64(from) || force {
			rp.With("X-Ad-Account-Usage", fmt.Sprintf(`{"acc_id_util_pct":%s,"reset_time_duration":%d,"ads_api_access_tier":%q}`,
				strconv.FormatFloat(math.Round(used*100)/100, 'f', -1, 64), int64(math.Ceil(reset.Seconds())), s.tierName()))
		}
	}
	insightsMax, manageMax := s.insightsLimit(u, now), s.manageLimit(u)
	type row struct {
		kind        string
		calls, work int64
		wait        time.Duration
	}
	rows := []row{
		{"ads_insights", percent(u.insights.Sum(now), insightsMax), u.insightsWork.Sum(now) * 100 / (insightsMax * 10), u.insights.Until(now, insightsMax)},
		{"ads_management", percent(u.manage.Sum(now), manageMax), u.manageWork.Sum(now) * 100 / (manageMax * 10), u.manage.Until(now, manageMax)},
	}
	for i := range rows {
		if mine := rq.insights == (i == 0); mine && now < u.throttledUntil && u.throttled.code >= 80000 {
			rows[i].calls, rows[i].wait = max(100, rows[i].calls), u.throttledUntil-now
		}
	}
	b := []byte(nil)
	for _, r := range rows {
		if r.calls < int64(from) && r.wait == 0 && !(force && b == nil) {
			continue
		}
		sep := byte(',')
		if b == nil {
			sep = '['
		}
		b = append(b, sep)
		b = fmt.Appendf(b, `{"type":%q,"call_count":%d,"total_cputime":%d,"total_time":%d,"estimated_time_to_regain_access":%d,"ads_api_access_tier":%q}`,
			r.kind, r.calls, r.work, r.work, int64(math.Ceil(r.wait.Minutes())), s.tierName())
	}
	if b != nil {
		rp.With("X-Business-Use-Case-Usage", fmt.Sprintf(`{%q:%s]}`, accountID(account), b))
	}
	if rq.insights {
		appPct := float64(0)
		if s.cfg.AppLimit > 0 {
			appPct = float64(s.app.insights.Sum(now)) * 100 / float64(s.cfg.AppLimit)
		}
		accPct := float64(u.insights.Sum(now)) * 100 / float64(insightsMax)
		if usage != nil {
			accPct = float64(usage.Num("percent"))
		}
		rp.With("X-Fb-Ads-Insights-Throttle", fmt.Sprintf(`{"app_id_util_pct":%.2f,"acc_id_util_pct":%.2f,"ads_api_access_tier":%q}`, appPct, accPct, s.tierName()))
	}
}

// broken is the API when it is down.
func (s *Server) broken(c *stage.Call, code int) *stage.Reply {
	e := graphError{status: code, code: 2, message: "Service temporarily unavailable", transient: true, outcome: stage.Failed}
	if code < http.StatusInternalServerError {
		e = graphError{status: code, code: 1, message: "An unknown error occurred", outcome: stage.Bad}
	}
	return s.fail(c, e)
}
