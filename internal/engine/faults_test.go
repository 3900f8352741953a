package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/simulator"
)

// end is how a run may end under a fault: a word for what the exit code will say.
func endOf(s engine.Summary) string {
	if s.Err == nil {
		return "complete"
	}
	if _, ok := errors.AsType[*engine.PartialError](s.Err); ok {
		return "partial"
	}
	if _, ok := errors.AsType[*engine.RemovalError](s.Err); ok {
		return "upstream"
	}
	switch ads.ClassOf(s.Err) {
	case ads.ClassAuth, ads.ClassDenied:
		return "auth"
	case ads.ClassInternal:
		return "internal"
	}
	return "upstream"
}

const faultCampaigns = 40

// faultCases says for each fault that the simulator can play how the run must end (any of the words), how many campaigns must then be stored (-1: any number), and
// what the error or the notes must say. The numbers are the catalogue's.
var faultCases = []struct {
	fault  string
	number string
	end    string
	stored int
	says   string
	check  func(b *bed, s engine.Summary)
}{
	{"token-dies", "1", "complete", 40, "", func(b *bed, s engine.Summary) { b.atMost("tokens", b.sim.Stats().TokensIssued, 9) }}, // it dies in each pause for the quota, and a slot that goes back may cost a pause more
	{"token-short", "2", "complete", 40, "", func(b *bed, s engine.Summary) {
		b.atMost("401s", b.stats().Unauthorized, b.sim.Stats().TokensIssued+2)
	}},
	{"credentials-wrong", "3", "auth", 0, "credentials refused for client acme (source: env ACME_PASSWORD)", func(b *bed, s engine.Summary) {
		b.atMost("token requests", b.sim.Stats().Requests, 2)
	}},
	{"revoked", "4", "auth", -1, "", func(b *bed, s engine.Summary) { b.atMost("refused tokens", b.stats().TokensRefused, 3) }},
	{"fresh-refused", "5", "auth", 0, "fresh token refused", func(b *bed, s engine.Summary) {
		b.atMost("tokens", b.sim.Stats().TokensIssued, 3)
		b.atMost("requests", b.stats().Unauthorized, 10)
	}},
	{"token-slow", "6", "complete", 40, "", func(b *bed, s engine.Summary) {
		b.atMost("token requests at once", int64(b.sim.Stats().MaxConcurrentTokenRequests), 1)
	}},
	{"token-503", "7", "complete", 40, "", nil},
	{"token-hang", "8", "complete", 40, "", nil},
	{"token-429", "9", "complete", 40, "", nil},
	{"token-rotates", "10", "complete", 40, "", func(b *bed, s engine.Summary) { b.atMost("tokens", b.sim.Stats().TokensIssued, 3) }},
	{"token-no-expiry:value=missing", "12", "complete", 40, "", func(b *bed, s engine.Summary) { b.atMost("tokens", b.sim.Stats().TokensIssued, 3) }},
	{"token-no-expiry:value=0", "12", "complete", 40, "", func(b *bed, s engine.Summary) { b.atMost("tokens", b.sim.Stats().TokensIssued, 3) }},
	{"token-no-expiry:value=-1", "12", "complete", 40, "", func(b *bed, s engine.Summary) { b.atMost("tokens", b.sim.Stats().TokensIssued, 3) }},
	{"token-expiry-string", "13", "complete", 40, "", nil},
	{"token-expiry-huge", "14", "complete", 40, "", func(b *bed, s engine.Summary) { b.atMost("tokens", b.sim.Stats().TokensIssued, 1) }},
	{"clock-off:by=6h", "15", "complete", 40, "", nil},
	{"clock-off:by=-6h", "15", "complete", 40, "", nil},
	{"token-html", "16", "upstream", 0, "the token answer is not JSON (text/html", nil},
	{"token-empty", "17", "upstream", 0, "empty token", nil},
	{"token-crlf", "17", "upstream", 0, "no token may have", nil},
	{"token-type-lower", "18", "complete", 40, "", nil},
	{"token-redirect:to=http://platform.test:81/x", "19", "upstream", 0, "refused redirect", nil},

	{"retry-after-seconds:wait=12s", "21", "complete", 40, "", nil},
	{"retry-after-date", "22", "complete", 40, "", nil},
	{"retry-after-date-skewed", "23", "complete", 40, "", nil},
	{"retry-after-body", "24", "complete", 40, "", nil},
	{"retry-after-none", "25", "complete", 40, "", nil},
	{"retry-after-odd:value=0", "26", "complete", 40, "", nil},
	{"retry-after-odd:value=-5", "26", "complete", 40, "", nil},
	{"retry-after-odd:value=soon", "26", "complete", 40, "", nil},
	{"retry-after-odd:value=1.5", "26", "complete", 40, "", nil},
	{"retry-after-huge", "27", "upstream", -1, "32 years, capped at 24 hours", nil},
	{"retry-after-huge:value=99999999999999999999999", "27", "upstream", -1, "years, capped at 24 hours", nil},
	{"throttle-403", "28", "complete", 40, "", nil},
	{"throttle-200", "29", "complete", 40, "", nil},
	{"usage-header:percent=95", "30", "complete", 40, "", nil},
	{"ratelimit-fields", "31", "complete", 40, "", nil},
	{"quota-shared:percent=50", "32", "complete", 40, "", func(b *bed, s engine.Summary) {
		if st := b.stats(); st.Throttled*4 > st.Arrivals {
			b.t.Errorf("%d of %d refused", st.Throttled, st.Arrivals)
		}
	}},
	{"early-restarts", "33", "complete", 40, "", func(b *bed, s engine.Summary) { b.atMost("early requests", b.stats().Early, 0) }},

	{"reset-before-headers", "41", "complete", 40, "", nil},
	{"reset-before-headers:endpoint=sync,on=3", "41", "complete", 40, "", nil},
	{"reset-mid-body", "42", "complete", 40, "", nil},
	{"hang", "43", "complete", 40, "", nil},
	{"hang-mid-body", "44", "complete", 40, "", nil},
	{"drip", "45", "complete", 40, "", nil},
	{"chunked-no-end", "46", "complete", 40, "", nil},
	{"length-long", "47", "complete", 40, "", nil},
	{"length-short", "47", "complete", 40, "", nil},
	{"gzip-bomb:mib=40", "48", "complete", 40, "", nil},
	{"endless-body:mib=40", "48", "complete", 40, "", nil},
	{"header-flood", "49", "complete", 40, "", nil},
	{"close-after-each", "50", "complete", 40, "", nil},
	{"close-silently", "50", "complete", 40, "", nil},
	{"redirect-other-port:to=http://platform.test:81/x", "51", "upstream", -1, "refused redirect to origin", nil},
	{"redirect-other-host", "52", "upstream", -1, "refused redirect to origin", nil},
	{"redirect-sync:to=http://platform.test:81/x", "52", "partial", 39, "1 of 40 failed", nil},
	{"redirect-self", "52", "upstream", 0, "refused redirect", func(b *bed, s engine.Summary) { b.atMost("requests", b.sim.Stats().Requests, 30) }},
	{"bad-gateway-html", "56", "complete", 40, "", nil},
	{"503-retry-after", "56", "complete", 40, "", nil},
	{"outage:after=10,for=8s", "57", "complete", 40, "", func(b *bed, s engine.Summary) { b.atMost("requests while down", b.sim.Stats().DuringOutage, 40) }},
	{"outage:after=10,for=0", "57", "upstream", -1, "has not answered", func(b *bed, s engine.Summary) { b.atMost("requests while down", b.sim.Stats().DuringOutage, 60) }},
	{"mixture", "58", "complete", 40, "", nil},

	{"html-200", "59", "complete", 40, "", nil},
	{"empty-200", "59", "complete", 40, "", nil},
	{"no-content", "59", "complete", 40, "", nil},
	{"html-200:page=2,on=1-,times=0", "59", "upstream", -1, "page 2: the answer is not JSON", nil},
	{"data-null", "60", "complete", 40, "", nil},
	{"bare-array", "60", "complete", 40, "", nil},
	{"no-pagination", "60", "complete", 40, "", nil},
	{"no-pagination:page=2,on=1-,times=0", "60", "upstream", -1, "page 2: the answer has no pagination", nil},
	{"cut-json", "61", "complete", 40, "", nil},
	{"two-documents", "61", "complete", 40, "", nil},
	{"deep-nesting", "61", "complete", 40, "", nil},

	{"dup-keys", "62", "partial", 39, "", nil},
	{"case-keys", "63", "complete", 40, "", nil},
	{"numbers", "64", "partial complete", -1, "", nil},
	{"numbers-big", "65", "partial complete", -1, "", nil},
	{"id-bad", "67", "partial", 39, "", nil},
	{"item-bad", "67", "partial", 39, "", nil},
	{"id-number", "67", "complete partial", -1, "", nil},
	{"id-long", "68", "partial", 39, "", nil},
	{"id-nul", "68", "partial", 39, "", nil},
	{"id-hostile", "69", "complete", 40, "", func(b *bed, s engine.Summary) { b.atMost("stray requests", b.sim.Stats().StrayRequests, 0) }},
	{"id-dots", "69", "complete", 40, "", nil},
	{"name-hostile", "70", "complete partial", -1, "", nil},
	{"invalid-utf8", "71", "partial", 39, "", nil},
	{"dates", "72", "complete", 40, "", func(b *bed, s engine.Summary) {
		if n := query[int](b, "SELECT count(*) FROM campaigns WHERE created_at < '1971' OR created_at > '2026-11'"); n > 0 {
			b.t.Errorf("%d dates of 1970 or now", n)
		}
	}},
	{"status-unknown", "73", "complete", 40, "", func(b *bed, s engine.Summary) {
		if n := query[int](b, "SELECT count(*) FROM campaigns WHERE status = 'unknown' AND platform_status <> ''"); n == 0 {
			b.t.Error("no unknown status was kept")
		}
	}},
	{"extra-fields", "73", "complete", 40, "", nil},

	{"more-for-ever", "76", "complete partial", 40, "", nil},
	{"more-for-ever:kind=last", "76", "complete partial", 40, "", nil},
	{"more-for-ever-new", "77", "partial upstream", -1, "", nil},
	{"page-repeated", "78", "complete", 40, "", nil},
	{"page-wrong-number", "78", "complete", 40, "", nil},
	{"page-empty", "79", "complete", 40, "", nil},
	{"total-high", "80", "partial", 40, "the platform says that there are 60 records, but 40 came", nil},
	{"total-low", "80", "partial", 40, "the platform says that there are 20 records, but 40 came", nil},
	{"total-moves", "80", "complete partial", 40, "", nil},
	{"has-more-missing", "81", "complete", 40, "", nil},
	{"has-more-string", "81", "complete", 40, "", nil},
	{"cursor-expired", "83", "complete", 40, "", nil},
	{"insert-while-listing", "84", "complete", 41, "", nil},
	{"delete-while-listing", "85", "complete partial", -1, "", nil},
	{"limit-ignored", "86", "complete", 40, "", nil},
	{"limit-refused", "86", "upstream", 0, "400", func(b *bed, s engine.Summary) {
		b.atMost("listings", b.stats().Requests["list"], 1)
		if e, _ := errors.AsType[*ads.Error](s.Err); e == nil || !strings.Contains(e.Hint, "page_size") {
			b.t.Errorf("the setting is not named: %+v", s.Err)
		}
	}},
	{"next-foreign:to=http://platform.test:81/x", "87", "complete", 40, "", nil},
	{"id-twice", "88", "complete partial", -1, "", nil},

	{"done-then-lost", "90", "complete", 40, "", func(b *bed, s engine.Summary) {
		for id, n := range b.stats().Synced {
			b.atMost("syncs of "+id, n, 1)
		}
	}},
	{"sync-always-500", "91", "partial", 39, "1 of 40 failed", func(b *bed, s engine.Summary) { b.atMost("calls", b.stats().Called["campaign_7"], 8) }},
	{"sync-hangs", "91", "partial", 39, "1 of 40 failed", func(b *bed, s engine.Summary) { b.atMost("calls", b.stats().Called["campaign_7"], 8) }},
	{"sync-404", "92", "partial", 39, "1 of 40 failed", func(b *bed, s engine.Summary) { b.atMost("calls", b.stats().Called["campaign_7"], 2) }},
	{"sync-success-false", "93", "partial", 39, "1 of 40 failed", nil},
	{"sync-other-id", "93", "partial", 39, "1 of 40 failed", nil},
}

// notPlayedHere are faults of the simulator that have their test elsewhere, or need a real socket.
var notPlayedHere = map[string]string{
	"rule": "general", "status": "general", "slow": "general", "throttle": "general",
	"stale-connection": "50: internal/apiclient TestDroppedConnection", "idle-close": "50: internal/apiclient TestIdleConnections",
	"tls-expired": "54: internal/apiclient TestTLS", "tls-wrong-name": "54: internal/apiclient TestTLS", "tls-downgrade": "51: internal/apiclient TestRedirects",
	"has-more-fixed-size": "82: TestListingEnds", "list-empty": "89: TestMostGoneIsRefused",
}

func (b *bed) atMost(what string, got, most int64) {
	b.t.Helper()
	if got > most {
		b.t.Errorf("%d %s, at most %d allowed", got, what, most)
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range faultCases {
		t.Run(tt.number+" "+tt.fault, func(t *testing.T) {
			inBubble(t, func(c *simulator.Config) {
				c.Campaigns, c.Faults = faultCampaigns, []string{tt.fault}
			}, func(b *bed) {
				t := b.t
				begin := time.Now()
				s := b.run(t.Context())
				if s.RunID != "" {
					b.addsUp(s)
				}
				if end := endOf(s); !slices.Contains(strings.Fields(tt.end), end) {
					t.Fatalf("ended %s (%v), want %s; %+v, notes %v", end, s.Err, tt.end, s.Figures, b.notes())
				}
				if n := query[int](b, "SELECT count(*) FROM campaigns"); tt.stored >= 0 && n != tt.stored {
					t.Errorf("%d campaigns stored, want %d (%v)", n, tt.stored, s.Err)
				}
				if tt.says != "" && !strings.Contains(fmt.Sprint(s.Err), tt.says) {
					t.Errorf("%q does not say %q", s.Err, tt.says)
				}
				if tt.check != nil {
					tt.check(b, s)
				}
				if st := b.sim.Stats(); st.CredentialsSentAbroad > 0 || st.ForeignRequests > 0 {
					t.Errorf("%d requests went abroad, %d with credentials", st.ForeignRequests, st.CredentialsSentAbroad)
				}
				if took := time.Since(begin); took > 45*time.Minute {
					t.Errorf("took %v", took)
				}
				if s.Outcome == ads.Complete {
					b.truth()
				}
			})
		})
	}
}

// truth holds the database to what the platform has.
func (b *bed) truth() {
	b.t.Helper()
	altered := b.sim.Altered(b.opts.XClientID)
	stored := map[string]string{}
	var all []struct{ ID, Name string }
	text := query[string](b, "SELECT json_group_array(json_object('ID', id, 'Name', name)) FROM campaigns WHERE removed_at IS NULL")
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		b.t.Fatal(err)
	}
	for _, c := range all {
		stored[c.ID] = c.Name
	}
	for _, c := range b.sim.Truth(b.opts.XClientID) {
		if _, ok := altered[c.ID]; !ok && stored[c.ID] != c.Name {
			b.t.Errorf("%s is stored as %q, the platform has %q", c.ID, stored[c.ID], c.Name)
		}
	}
}

// Every fault that the simulator can play is played here, or says where.
func TestFaultsAreAllPlayed(t *testing.T) {
	for _, f := range simulator.Catalogue() {
		played := slices.ContainsFunc(faultCases, func(c struct {
			fault  string
			number string
			end    string
			stored int
			says   string
			check  func(b *bed, s engine.Summary)
		},
		) bool {
			name, _, _ := strings.Cut(c.fault, ":")
			return name == f.Name
		})
		if _, elsewhere := notPlayedHere[f.Name]; !played && !elsewhere {
			t.Errorf("nobody plays %s (%v)", f.Name, f.Numbers)
		}
	}
}
