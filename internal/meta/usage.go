package meta

import (
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"adsync/internal/ads"
)

// usage is what an answer's headers tell of quotas. Each comes only when enough of it is used, so what is absent says nothing.
type usage struct {
	app     ads.Opt[float64] // of the app's, 1 being all
	account ads.Opt[float64] // of the account's, in the use case that the request is of
	regain  time.Duration    // until the use case is open again
	reset   time.Duration    // until the account's score is back
	limited bool             // the app's tier is the lower one
}

type percents struct {
	Calls  float64 `json:"call_count"`
	Time   float64 `json:"total_time"`
	CPU    float64 `json:"total_cputime"`
	App    float64 `json:"app_id_util_pct"`
	Acc    float64 `json:"acc_id_util_pct"`
	Reset  float64 `json:"reset_time_duration"`             // seconds
	Regain float64 `json:"estimated_time_to_regain_access"` // minutes
	Type   string  `json:"type"`
	Tier   string  `json:"ads_api_access_tier"`
}

func (p percents) most() float64 { return max(p.Calls, p.Time, p.CPU, p.App, p.Acc) / 100 }

// longest bounds a wait that a header tells; beyond it all is the same.
const longest = 7 * 24 * time.Hour

func length(n float64, unit time.Duration) time.Duration {
	if !(n > 0) {
		return 0
	}
	return time.Duration(min(n, float64(longest/unit)) * float64(unit))
}

// usageOf reads the headers. Those of use cases that the request is not of are left aside: insights and entities have quotas apart.
func usageOf(h http.Header, endpoint string) (u usage) {
	kind := "ads_management"
	switch endpoint {
	case endpointInsights, endpointAsk, endpointJob, endpointRows:
		kind = "ads_insights"
	}
	raise := func(o *ads.Opt[float64], v float64) {
		if !o.Set || v > o.Value {
			*o = ads.Some(v)
		}
	}
	tier := func(s string) { u.limited = u.limited || strings.HasPrefix(s, "development") }
	one := func(name string) (p percents, ok bool) {
		text := h.Get(name)
		return p, text != "" && len(text) < 64<<10 && json.Unmarshal([]byte(text), &p, decoding) == nil
	}
	if p, ok := one("X-App-Usage"); ok {
		raise(&u.app, p.most())
	}
	if p, ok := one("X-Ad-Account-Usage"); ok {
		raise(&u.account, p.Acc/100)
		u.reset = length(p.Reset, time.Second)
		tier(p.Tier)
	}
	if p, ok := one("X-Fb-Ads-Insights-Throttle"); ok {
		raise(&u.app, p.App/100)
		raise(&u.account, p.Acc/100)
		tier(p.Tier)
	}
	if text := h.Get("X-Business-Use-Case-Usage"); text != "" && len(text) < 64<<10 {
		var by map[string][]percents
		if json.Unmarshal([]byte(text), &by, decoding) == nil {
			for _, list := range by {
				for _, p := range list {
					tier(p.Tier)
					if p.Type != kind && p.Type != "" {
						continue
					}
					raise(&u.account, p.most())
					u.regain = max(u.regain, length(p.Regain, time.Minute))
				}
			}
		}
	}
	return u
}

// block is how long an account is shut that has spent its score, by the app's tier.
func (u usage) block() time.Duration {
	if u.limited {
		return 5 * time.Minute
	}
	return time.Minute
}

// wait is what a refusal tells; unset where it tells nothing.
func (u usage) wait() ads.Opt[time.Duration] {
	switch {
	case u.regain > 0:
		return ads.Some(u.regain)
	case u.reset > 0:
		return ads.Some(u.reset)
	}
	return ads.Opt[time.Duration]{}
}

// hold is how long the account is left alone after a good answer: the more of its quota is used, the longer, so that others who share it find some left.
func (u usage) hold() time.Duration {
	share := u.account.Value
	switch {
	case u.regain > 0:
		return u.regain
	case share >= 0.95:
		return time.Minute
	case share >= 0.90:
		return 20 * time.Second
	case share >= 0.75:
		return time.Duration((share - 0.75) * float64(40*time.Second))
	}
	return 0
}
