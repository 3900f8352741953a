package googleads_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/googleads"
	"adsync/internal/platform"
	"adsync/internal/platform/platformtest"
	"adsync/internal/secret"
	sim "adsync/internal/simulator/googleads"
	"adsync/internal/store"
)

func TestConformance(t *testing.T) {
	for name, stream := range map[string]bool{"pages": false, "streams": true} {
		t.Run(name, func(t *testing.T) { conformance(t, stream) })
	}
}

func conformance(t *testing.T, stream bool) {
	start := func(t testing.TB, faults ...string) platformtest.Site {
		cfg := sim.Default()
		cfg.Accounts, cfg.Campaigns, cfg.Days, cfg.PageRows, cfg.StreamRows, cfg.Faults = 2, 4, 20, 30, 25, faults
		s, err := sim.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return platformtest.Site{
			Handler: s, Close: func() { _ = s.Close() }, Days: 20,
			Platform: func() platform.Platform {
				p, err := googleads.New(googleads.Options{OAuthURL: platformtest.Base, Stream: stream})
				if err != nil {
					t.Fatal(err)
				}
				return p
			},
			Credentials: secret.Bag{}.With("client_id", secret.New(sim.DefaultClientID)).With("client_secret", secret.New(sim.DefaultClientSecret)).With("refresh_token", secret.New(sim.DefaultRefreshToken)),
			Truth: func(from, to ads.Date) platformtest.Truth {
				out := platformtest.Truth{Entities: map[string]int{}, Totals: map[platformtest.Place]map[ads.Date]store.DayTotal{}}
				for _, a := range s.Accounts() {
					for stream, kind := range map[string]string{ads.StreamCampaigns: "campaign", ads.StreamAdGroups: "ad_group", ads.StreamAds: "ad_group_ad"} {
						out.Entities[stream] += a.Things[kind]
					}
					for level, resource := range resources {
						days := map[ads.Date]store.DayTotal{}
						for _, f := range s.Figures(a.ID, resource, from.String(), to.String()) {
							day, _ := ads.ParseDate(f.Date)
							d := days[day]
							d.Rows++
							d.Impressions += f.Impressions
							d.Clicks += f.Clicks
							d.Spend += ads.Micros(f.CostMicros)
							days[day] = d
						}
						out.Totals[platformtest.Place{Account: a.ID, Level: level}] = days
					}
				}
				return out
			},
			Played:    func(fault string) int64 { name, _, _ := strings.Cut(fault, ":"); return s.Stats().FaultsPlayed[name] },
			Misplaced: func() map[string]int64 { return s.Stats().Misplaced },
			Token:     func(r *http.Request) bool { return r.URL.Path == "/token" },
		}
	}
	fails := func(name string, status int, family, value string, class ads.Class) platformtest.Reply {
		return platformtest.Reply{
			Name: name, Endpoint: "report", Status: status, Class: class, Body: fmt.Sprintf(
				`{"error":{"code":%d,"message":"Said.","status":"X","details":[{"@type":"type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure","errors":[{"errorCode":{%q:%q},"message":"Said."}],"requestId":"r1"}]}}`,
				status, family, value),
		}
	}
	passing := []string{
		"throttle:times=1", "throttle:scope=DEVELOPER,wait=40s,times=1", "too-expensive:wait=60s,times=1", "token-expired", "transient", "internal", "transient:on=6,times=3", "deadline:level=campaign,on=2,times=1",
	}
	if stream {
		passing = append(passing, "stream-cut", "stream-error:chunks=2", "stream-cut:on=4,chunks=0")
	} else {
		passing = append(passing, "token-expired-page", "duplicate:level=campaign,times=1")
	}
	day := fails("the day's operations", 429, "quotaError", "RESOURCE_EXHAUSTED", ads.ClassThrottled)
	day.Whole, day.Wait = true, 30*time.Minute
	platformtest.Run(t, platformtest.Subject{
		Start: start, Passing: passing, Brief: stream,
		Replies: []platformtest.Reply{
			{Name: "a page", Endpoint: "report", Status: 200, Body: `{"results":[]}`},
			{Name: "html of the edge", Endpoint: "report", Status: 502, Body: `<html>`, Class: ads.ClassTransient},
			day,
			fails("token ended", 401, "authenticationError", "OAUTH_TOKEN_EXPIRED", ads.ClassTokenDead),
			fails("revoked", 401, "authenticationError", "OAUTH_TOKEN_REVOKED", ads.ClassAuth),
			fails("no permission", 403, "authorizationError", "USER_PERMISSION_DENIED", ads.ClassDenied),
			fails("a mistake in the query", 400, "queryError", "UNRECOGNIZED_FIELD", ads.ClassPermanent),
			fails("too long", 504, "internalError", "DEADLINE_EXCEEDED", ads.ClassTooLarge),
			fails("passes", 500, "internalError", "TRANSIENT_ERROR", ads.ClassTransient),
			fails("a page token that has ended", 400, "requestError", "EXPIRED_PAGE_TOKEN", ads.ClassStaleCursor),
			fails("never heard of, 500", 500, "newError", "NEW", ads.ClassTransient),
			fails("never heard of, 400", 400, "newError", "NEW", ads.ClassPermanent),
		},
	})
}
