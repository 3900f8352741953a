package config

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/quota"
	"adsync/internal/secret"
)

// The names of the platforms that have ad accounts and daily figures.
const (
	Meta      = "meta"
	GoogleAds = "google_ads"
)

// Network is what a connection to a platform with ad accounts of its own has besides.
type Network struct {
	APIVersion string   // empty: the connector's own
	QuotaOwner string   // the app or project that the platform counts requests for; empty: the connection itself
	OAuthURL   string   // where tokens come from, if not from the API itself
	Renew      bool     // exchange the token before it ends
	Manager    string   // by which access is granted
	Businesses []string // business portfolios
	Include    []string // patterns of accounts
	Exclude    []string
	Inactive   bool
	Levels     []string
	Purchases  []string // action types that count as conversions
	Lookback   int      // days for which figures move; 0: the connector's own
	Since      Since
}

// Since is the first day of daily figures that is wanted.
type Since struct {
	Date ads.Date // zero: Days
	Days int      // before today; 0: the engine's own
}

// credentialField is a secret of a connection by the name that its connector asks for.
func credentialField(name string, k *kind, f Field) Field {
	f.Name, f.Secret = "credentials."+name, true
	return field(f, k, func(c *Connection, v any) { c.Credentials = c.Credentials.With(name, secret.New(v.(string))) })
}

func meta() PlatformOptions {
	f := []Field{
		urlField("https://graph.facebook.com"),
		credentialField("access_token", credential, Field{
			Required: true, Example: "${META_ACCESS_TOKEN}",
			Help: "The token of a system user, or a long-lived one of a person. `adsync auth meta` gets one.",
		}),
		credentialField("app_secret", credential, Field{
			Example: "${META_APP_SECRET}", Implied: "none: calls carry no proof",
			Help: "The app's secret. With it every call carries a proof that the app itself sends it, and with `app_id` the token is exchanged before it ends.",
		}),
		field(Field{
			Name: "app_id", Implied: "not told: the quota is the connection's own", Example: "123456789012345",
			Help: "The app that the token belongs to. Connections of one app share its quota.",
		}, text("text", "the number of an app", 100, numberOnly), func(c *Connection, v any) { c.Network.QuotaOwner = v.(string) }),
		field(Field{
			Name: "exchange_token", Default: "true", Example: "false",
			Help: "Whether the token is exchanged for a fresh one at half of its life, where `app_id` and `app_secret` are given. The new one is kept under `token_key`. `false` for a system user's token without an end.",
		}, boolean, func(c *Connection, v any) { c.Network.Renew = v.(bool) }),
		versionField("v26.0", `^v[0-9]{1,3}\.[0-9]$`),
		field(Field{
			Name: "businesses", Implied: "the accounts in which the token's user has a role", Example: "[1234567890]",
			Help: "Business portfolios whose own and clients' accounts are read; `all` takes every one that the token sees. Needs the business_management permission.",
		}, textList("list of business ids", "ids of business portfolios, or all", func(s string) *fault {
			if s == "all" {
				return nil
			}
			return numberOnly(s)
		}), func(c *Connection, v any) { c.Network.Businesses = v.([]string) }),
	}
	f = append(f, accountFields()...)
	f = append(f, field(Field{
		Name: "conversions", Implied: "omni_purchase, else purchase, else offsite_conversion.fb_pixel_purchase", Example: "[lead]",
		Help: "The action types that count as conversions, and whose values as their value: of a row, the first that it has. They overlap, so they are never added up.",
	}, textList("list of action types", "action types, such as purchase", nil), func(c *Connection, v any) { c.Network.Purchases = v.([]string) }))
	f = append(f, figureFields("28")...)
	return PlatformOptions{Name: Meta, Title: "Meta Marketing API", Fields: append(f, sendingFields()...)}
}

func googleads() PlatformOptions {
	f := []Field{
		urlField("https://googleads.googleapis.com"),
		field(Field{
			Name: "oauth_url", Default: "https://oauth2.googleapis.com", Example: "http://localhost:3003",
			Help: "Where access tokens come from.",
		}, baseURL, func(c *Connection, v any) { c.Network.OAuthURL = v.(string) }),
		credentialField("client_id", credential, Field{Implied: "needed without a service account", Example: "${GOOGLE_CLIENT_ID}", Help: "The OAuth client that the refresh token was given to."}),
		credentialField("client_secret", credential, Field{Implied: "needed without a service account", Example: "${GOOGLE_CLIENT_SECRET}", Help: "The OAuth client's secret."}),
		credentialField("refresh_token", credential, Field{Implied: "needed without a service account", Example: "${GOOGLE_REFRESH_TOKEN}", Help: "The refresh token of a person who can read the accounts. `adsync auth google` gets one."}),
		credentialField("service_account", keyFile, Field{
			Implied: "none", Example: "file:/run/secrets/google-ads.json",
			Help: "The JSON key of a service account that has been added to the Google Ads account, instead of the three above.",
		}),
		credentialField("developer_token", credential, Field{Implied: "not sent", Example: "${GOOGLE_DEVELOPER_TOKEN}", Help: "Sent where it is given. The platform no longer asks for it."}),
		field(Field{
			Name: "project", Implied: "not told: the quota is the connection's own", Example: "my-cloud-project",
			Help: "The Google Cloud project that the client or service account belongs to, as you call it: connections of one project share its operations per day.",
		}, text("text", "a name of up to 100 bytes", 100, nil), func(c *Connection, v any) { c.Network.QuotaOwner = v.(string) }),
		versionField("v26", `^v[0-9]{1,3}$`),
		field(Field{
			Name: "login_customer_id", Implied: "every account that the credentials reach is looked at", Example: "123-456-7890",
			Help: "The manager account by which access is granted.",
		}, text("text", "ten digits, with or without dashes", 20, func(s string) *fault { return numberOnly(strings.ReplaceAll(s, "-", "")) }), func(c *Connection, v any) {
			c.Network.Manager = strings.ReplaceAll(v.(string), "-", "")
		}),
	}
	f = append(f, accountFields()...)
	f = append(f, field(Field{
		Name: "inactive", Default: "false", Example: "true",
		Help: "Whether accounts that are not enabled are read too. Test accounts are such.",
	}, boolean, func(c *Connection, v any) { c.Network.Inactive = v.(bool) }))
	f = append(f, figureFields("30")...)
	f = append(f, sendingFields()...)
	f = append(f, field(Field{
		Name: "access_level", Implied: "no limit is known beforehand", Example: "basic",
		Help: "The access level of the Cloud project, which says how many operations it has per day: test and basic 15,000, explorer 2,880, standard no limit. They are counted as `quota: [15000/1d]` would, where no quota is given.",
	}, word("test", "explorer", "basic", "standard"), func(c *Connection, v any) {
		if n := operations[v.(string)]; n > 0 && len(c.Quota) == 0 {
			c.Quota = []quota.Limit{{N: n, Window: 24 * time.Hour}}
		}
	}))
	return PlatformOptions{Name: GoogleAds, Title: "Google Ads API", Fields: f, missing: func(given func(string) bool) (name, message, cure string) {
		if given("credentials.service_account") {
			return "", "", ""
		}
		for _, name := range []string{"credentials.client_id", "credentials.client_secret", "credentials.refresh_token"} {
			if !given(name) {
				return name, "is missing", "give client_id, client_secret and refresh_token, or service_account instead; `adsync auth google` gets them"
			}
		}
		return "", "", ""
	}}
}

// operations are those that a project of an access level has in any 24 hours.
var operations = map[string]int{"test": 15_000, "explorer": 2_880, "basic": 15_000}

func urlField(def string) Field {
	return field(Field{Name: "url", Default: def, Example: "http://localhost:3002", Help: "Where the API is."}, baseURL, func(c *Connection, v any) { c.URL = v.(string) })
}

func versionField(def, form string) Field {
	pattern := regexp.MustCompile(form)
	return field(Field{
		Name: "api_version", Default: def, Example: def,
		Help: "The version of the API that is asked for. `adsync check` says when it is about to be switched off.",
	}, text("version", "a version such as "+def, 20, func(s string) *fault {
		if !pattern.MatchString(s) {
			return faultf("write one such as "+def, "is not the name of a version")
		}
		return nil
	}), func(c *Connection, v any) { c.Network.APIVersion = v.(string) })
}

func accountFields() []Field {
	const help = "Patterns of ad accounts, by id or name: `*` stands for anything, `?` for one character; case makes no difference. "
	return []Field{
		field(Field{
			Name: "accounts.include", Implied: "all", Example: `["123*", "*shoes*"]`,
			Help: help + "Only those are read; accounts that appear later join by themselves.",
		}, textList("list of patterns", "ids or names of accounts, with * and ?", isPattern), func(c *Connection, v any) { c.Network.Include = v.([]string) }),
		field(Field{
			Name: "accounts.exclude", Implied: "none", Example: `["*test*"]`,
			Help: help + "Those are left out.",
		}, textList("list of patterns", "ids or names of accounts, with * and ?", isPattern), func(c *Connection, v any) { c.Network.Exclude = v.([]string) }),
	}
}

func figureFields(lookback string) []Field {
	levels := []string{ads.LevelAccount, ads.LevelCampaign, ads.LevelAdGroup, ads.LevelAd}
	return []Field{
		field(Field{
			Name: "levels", Implied: "all", Example: "[account, campaign]",
			Help: "At which levels daily figures are read: account, campaign, ad_group, ad. With account and campaign the one is held against the other.",
		}, textList("list of levels", "account, campaign, ad_group or ad", func(s string) *fault {
			if !slices.Contains(levels, s) {
				return faultf("write any of "+strings.Join(levels, ", "), "is not a level")
			}
			return nil
		}), func(c *Connection, v any) { c.Network.Levels = v.([]string) }),
		field(Field{
			Name: "since", Default: "30d", Example: "2026-01-01",
			Help: "The first day of daily figures: a date, or how many days back from today. Older days are read once, newest first, as far as the platform still has them.",
		}, since, func(c *Connection, v any) { c.Network.Since = v.(Since) }),
		field(Field{
			Name: "lookback", Default: lookback, Example: "60",
			Help: "For how many days the platform still restates figures: until then days are `provisional` and read again, the younger the more often; after it they are `final`.",
		}, wholeNumber(1, 400), func(c *Connection, v any) { c.Network.Lookback = v.(int) }),
	}
}

// sendingFields are how requests are sent, as for any platform.
func sendingFields() []Field {
	all := adplatform().Fields
	var out []Field
	for _, name := range []string{caFile, "quota", "timeout", "max_elapsed", "concurrency", "schedule"} {
		f := *byName(all, name)
		f.Env = ""
		switch name {
		case "quota":
			f.Default = "none"
			f.Help = "How many requests are allowed in any window of that length, by an agreement of yours: what the platform itself allows is learnt from its answers. Several hold together."
		case "timeout":
			f.Default = "2m"
		case "schedule":
			f.Default = "every 1h"
		}
		out = append(out, f)
	}
	return out
}

func numberOnly(s string) *fault {
	if !digitsOnly(s) {
		return faultf("write its digits", "is not a number")
	}
	return nil
}

func isPattern(s string) *fault {
	if _, err := path.Match(s, ""); err != nil {
		return faultf("write an id or a name, with * for anything; a \\ in front of [ makes it plain", "is not a pattern")
	}
	return nil
}

// textList is one or more texts.
func textList(name, allowed string, check func(string) *fault) *kind {
	one := text(name, allowed, 300, check)
	return &kind{
		name: name, allowed: allowed + ", one or a list", list: true,
		schema: map[string]any{"anyOf": []any{
			map[string]any{"type": []any{"string", "integer"}},
			map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"type": []any{"string", "integer"}}},
		}},
		parse: func(s string) (any, *fault) {
			if s == "" {
				return nil, faultf(one.cure(), "is empty")
			}
			v, f := one.parse(s)
			if f != nil {
				return nil, f
			}
			return []string{v.(string)}, nil
		},
		join: func(items []any) (any, *fault) {
			var all []string
			for _, it := range items {
				for _, s := range it.([]string) {
					if slices.Contains(all, s) {
						return nil, faultf("keep one of them", "names one twice")
					}
					all = append(all, s)
				}
			}
			if len(all) > 10_000 {
				return nil, faultf("use patterns", "holds more than 10000")
			}
			return all, nil
		},
	}
}

// since is a date or a number of days.
var since = &kind{
	name: "date or days", allowed: "a date such as 2026-01-01, or how many days back from today, such as 90d", schema: map[string]any{"type": "string", "pattern": `^([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,5}d)$`},
	parse: func(s string) (any, *fault) {
		const cure = "write a date such as 2026-01-01, or how many days back from today, such as 90d"
		if days, ok := strings.CutSuffix(s, "d"); ok && digitsOnly(days) {
			n, err := strconv.Atoi(days)
			if err != nil || n < 1 || n > 5000 {
				return nil, faultf(cure, "is not between 1d and 5000d")
			}
			return Since{Days: n}, nil
		}
		d, err := ads.ParseDate(s)
		if err != nil {
			return nil, faultf(cure, "is neither a date nor a number of days")
		}
		if y := d.Time().Year(); y < 2000 || y > 2200 {
			return nil, faultf(cure, "is not of this century")
		}
		return Since{Date: d}, nil
	},
}

// keyFile is a secret that is a whole JSON document.
var keyFile = &kind{
	name: "secret reference", allowed: "a secret reference to the JSON key, such as file:/run/secrets/key.json", refs: true, schema: map[string]any{"type": "string", "minLength": 1},
	parse: func(s string) (any, *fault) {
		switch {
		case len(s) > 32<<10:
			return nil, faultf("check where it comes from", "is longer than 32 KiB")
		case !json.Valid([]byte(s)) || !strings.HasPrefix(strings.TrimSpace(s), "{"):
			return nil, faultf("name the key with file:PATH, or another secret reference", "is not a JSON object")
		}
		return s, nil
	},
}

// QuotaKey names what the platform counts requests by. Connections with the same one share a quota.
func (c Connection) QuotaKey() string {
	switch {
	case c.Platform == AdPlatform && c.SendXClientID:
		return c.URL + "|" + c.XClientID
	case c.Platform == AdPlatform:
		return c.URL + "|"
	case c.Network.QuotaOwner != "":
		return c.URL + "|" + c.Network.QuotaOwner
	}
	return fmt.Sprintf("%s||%s", c.URL, c.Ref)
}
