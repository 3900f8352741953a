package config

import (
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/quota"
)

// Connections to platforms with ad accounts: what is written, and what stands in for what is not.
func TestNetworks(t *testing.T) {
	dir := dirWith(t, map[string]string{DefaultFile: `clients:
  - id: acme
    connections:
      - platform: meta
        app_id: "123"
        credentials: {access_token: "${T}", app_secret: "${S}"}
        accounts: {include: ["1*", act_22], exclude: "*test*"}
        levels: [account, campaign]
        since: 2026-01-01
        lookback: 40
        businesses: all
      - platform: google_ads
        credentials: {client_id: "${T}", client_secret: "${S}", refresh_token: "${T}"}
        login_customer_id: 123-456-7890
        access_level: explorer
        since: 90d
      - platform: google_ads
        name: other
        credentials: {service_account: "file:key.json"}
        access_level: basic
        quota: 100/1d
`, "key.json": `{"type":"service_account"}` + "\n"})
	c, err := Load(Options{Dir: dir, Environ: []string{"T=token-1", "S=secret-1"}})
	if err != nil || len(c.Connections) != 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	m, g, o := c.Connections[0], c.Connections[1], c.Connections[2]
	since, _ := ads.ParseDate("2026-01-01")
	if m.URL != "https://graph.facebook.com" || m.Network.APIVersion != "v26.0" || m.Credentials.Get("access_token").Reveal() != "token-1" || strings.Join(m.Network.Include, " ") != "1* act_22" || strings.Join(m.Network.Exclude, " ") != "*test*" ||
		len(m.Network.Levels) != 2 || m.Network.Since.Date != since || m.Network.Lookback != 40 || !m.Network.Renew || m.QuotaKey() != "https://graph.facebook.com|123" || len(m.Quota) != 0 || m.Timeout != 2*time.Minute || m.CredentialSource != "env S, env T" && m.CredentialSource != "env T, env S" {
		t.Errorf("meta: %+v", m)
	}
	if g.Network.Manager != "1234567890" || g.Network.Since.Days != 90 || g.QuotaKey() != "https://googleads.googleapis.com||acme/google_ads" || len(g.Quota) != 1 || g.Quota[0] != (quota.Limit{N: 2880, Window: 24 * time.Hour}) {
		t.Errorf("google: %+v", g)
	}
	if !strings.Contains(o.Credentials.Get("service_account").Reveal(), "service_account") || len(o.Quota) != 1 || o.Quota[0].N != 100 {
		t.Errorf("the other: %+v", o)
	}
}

func TestNetworkMistakes(t *testing.T) {
	for lines, want := range map[string]string{
		"platform: meta": "credentials.access_token: is missing",
		"platform: meta\n        credentials: {access_token: \"${T}\"}\n        levels: [campaign, keyword]": `"keyword" is not a level`,
		"platform: meta\n        credentials: {access_token: \"${T}\"}\n        since: soon":                 `"soon" is neither a date nor a number of days`,
		"platform: meta\n        credentials: {access_token: \"${T}\"}\n        accounts: {include: \"[a\"}": `"[a" is not a pattern`,
		"platform: meta\n        credentials: {access_token: \"${T}\"}\n        api_version: 26":             `"26" is not the name of a version`,
		"platform: meta\n        credentials: {access_token: \"${T}\"}\n        accounts: {include: [a, a]}": "names one twice",
		"platform: google_ads": "credentials.client_id: is missing",
		"platform: google_ads\n        credentials: {client_id: \"${T}\", client_secret: \"${T}\"}":                                                "credentials.refresh_token: is missing",
		"platform: google_ads\n        credentials: {service_account: \"${T}\"}":                                                                   "is not a JSON object",
		"platform: google_ads\n        page_size: 5\n        credentials: {client_id: \"${T}\", client_secret: \"${T}\", refresh_token: \"${T}\"}": "page_size: there is no such key here",
	} {
		dir := dirWith(t, map[string]string{DefaultFile: "clients:\n  - id: acme\n    connections:\n      - " + lines + "\n"})
		_, err := Load(Options{Dir: dir, Environ: []string{"T=token-1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v\nwant %s", lines, err, want)
		}
	}
}
