package adplatform_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/platform"
	"adsync/internal/platform/platformtest"
	"adsync/internal/secret"
	"adsync/internal/simulator"
)

func TestConformance(t *testing.T) {
	platformtest.Run(t, platformtest.Subject{
		Start: func(t testing.TB, faults ...string) platformtest.Site {
			cfg := simulator.Default()
			cfg.Campaigns, cfg.ListFailRate503, cfg.ListSilenceRate, cfg.Quota, cfg.SyncLatency, cfg.Static, cfg.Faults = 47, 0, 0, simulator.Quota{}, time.Second, true, faults
			cfg.Email, cfg.Password = "user@example.com", "a password of a test"
			s, err := simulator.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return platformtest.Site{
				Handler: s, Close: func() { _ = s.Close() },
				Platform: func() platform.Platform {
					return adplatform.New(adplatform.Options{Account: "acme", XClientID: "acme", PageSize: 10, PerCampaignSync: true})
				},
				Email: secret.New(cfg.Email), Password: secret.New(cfg.Password),
				Truth: func(_, _ ads.Date) platformtest.Truth {
					return platformtest.Truth{Entities: map[string]int{ads.StreamCampaigns: len(s.Truth("acme"))}}
				},
				Played:    func(fault string) int64 { name, _, _ := strings.Cut(fault, ":"); return s.Stats().FaultsPlayed[name] },
				Misplaced: func() map[string]int64 { return nil },
				Token:     func(r *http.Request) bool { return r.URL.Path == "/auth/token" },
			}
		},
		Passing: []string{"throttle", "token-503", "token-short", "token-dies", "retry-after-body", "throttle-403", "throttle-200", "hang", "cut-json", "html-200", "page-repeated", "status:code=503,times=2"},
		Replies: []platformtest.Reply{
			{Name: "a page", Endpoint: "list campaigns", Status: 200, Body: `{"data":[],"pagination":{"has_more":false}}`},
			{Name: "refused for quota", Endpoint: "list campaigns", Status: 429, Body: `{"error":"Rate limit exceeded","retry_after":30}`, Class: ads.ClassThrottled, Wait: 30 * time.Second},
			{Name: "refused for quota under 403", Endpoint: "list campaigns", Status: 403, Body: `{"error":"Too many requests"}`, Class: ads.ClassThrottled},
			{Name: "refused for quota in a 200", Endpoint: "list campaigns", Status: 200, Body: `{"error":"Rate limit exceeded"}`, Class: ads.ClassThrottled},
			{Name: "token ended", Endpoint: "list campaigns", Status: 401, Body: `{"error":"Token expired"}`, Class: ads.ClassTokenDead},
			{Name: "password wrong", Endpoint: "token", Status: 401, Body: `{"error":"Invalid credentials"}`, Class: ads.ClassAuth},
			{Name: "no right", Endpoint: "list campaigns", Status: 403, Body: `{"error":"Forbidden"}`, Class: ads.ClassDenied},
			{Name: "gone", Endpoint: "list campaigns", Status: 410, Body: ``, Class: ads.ClassStaleCursor},
			{Name: "not there", Endpoint: "sync campaign", Status: 404, Body: `{"error":"Not found"}`, Class: ads.ClassPermanent},
			{Name: "down", Endpoint: "list campaigns", Status: 503, Body: `{"error":"Service unavailable"}`, Class: ads.ClassTransient},
			{Name: "html of the edge", Endpoint: "list campaigns", Status: 502, Body: `<html>`, Class: ads.ClassTransient},
		},
	})
}
