package googleads_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/googleads"
	"adsync/internal/observe"
	"adsync/internal/secret"
	sim "adsync/internal/simulator/googleads"
)

func ids(accs []ads.Account) (out []string) {
	for _, a := range accs {
		out = append(out, a.ID)
	}
	slices.Sort(out)
	return out
}

// Whatever the platform's shape, each account that can be read is found once and reached; all streams and levels are as they are there.
func TestAgainstThePlatform(t *testing.T) {
	for name, tune := range map[string]struct {
		world   func(*sim.Config)
		options func(*googleads.Options)
		want    int
	}{
		"a manager":               {nil, nil, 3},
		"two managers, a few too": {func(c *sim.Config) { c.Managers, c.Accounts, c.Direct = 2, 5, 2 }, nil, 5},
		"no manager":              {func(c *sim.Config) { c.Managers, c.Accounts = 0, 2 }, nil, 2},
		"a named manager":         {func(c *sim.Config) { c.Managers, c.Accounts = 2, 4 }, func(o *googleads.Options) { o.LoginCustomerID = "100-000-0002" }, 2},
		"some closed":             {func(c *sim.Config) { c.Accounts, c.Canceled = 4, 2 }, nil, 2},
		"chosen":                  {nil, func(o *googleads.Options) { o.Include, o.Exclude = []string{"400-*"}, []string{"4000000002"} }, 2},
		"small pages":             {func(c *sim.Config) { c.PageRows = 7 }, nil, 3},
		"streams":                 {func(c *sim.Config) { c.StreamRows = 11 }, func(o *googleads.Options) { o.Stream = true }, 3},
		"zeros left out":          {func(c *sim.Config) { c.OmitZeros = true }, nil, 3},
		"performance max":         {func(c *sim.Config) { c.PerformanceMax, c.Campaigns = true, 12 }, nil, 3},
		"narrow ranges":           {func(c *sim.Config) { c.MaxDays = 8 }, func(o *googleads.Options) { o.Days = 8 }, 3},
		"a developer token":       {func(c *sim.Config) { c.DeveloperToken = "dev-1" }, nil, 3},
	} {
		t.Run(name, func(t *testing.T) {
			onBed(t, tune.world, tune.options, func(b *bed) {
				if b.sim.Config().DeveloperToken != "" {
					b.creds = b.creds.With("developer_token", secret.New("dev-1"))
					b.connect(nil)
				}
				accs, errs := b.accounts()
				if len(errs) > 0 || len(accs) != tune.want || len(slices.Compact(ids(accs))) != tune.want {
					b.Fatalf("accounts %v, errors %v", ids(accs), errs)
				}
				truth := map[string]sim.AccountTruth{}
				for _, a := range b.sim.Accounts() {
					truth[a.ID] = a
				}
				from, to := b.since, ads.DateOf(time.Now())
				days := b.p.Spec().Reports.Levels[0].Days
				for _, acc := range accs {
					a := truth[acc.ID]
					if acc.Name != a.Name || acc.Currency != a.Currency || acc.TimeZone != a.TimeZone || acc.PlatformStatus != a.Status || acc.Status != ads.StatusActive {
						b.Errorf("%+v, want %+v", acc, a)
					}
					for stream, resource := range map[string]string{ads.StreamCampaigns: "campaign", ads.StreamAdGroups: "ad_group", ads.StreamAds: "ad_group_ad"} {
						list, _, err := b.list(acc, stream)
						if err != nil || len(list) != a.Things[resource] {
							b.Errorf("%s of %s: %d, want %d, %v", stream, acc.ID, len(list), a.Things[resource], err)
						}
						for _, e := range list {
							if e.Status == ads.StatusUnknown || e.Currency != a.Currency || len(e.Raw) == 0 || stream == ads.StreamCampaigns && (!e.Budget.Set || e.BudgetPeriod == "") || stream != ads.StreamCampaigns && e.CampaignID == "" || stream == ads.StreamAds && (e.AdGroupID == "" || e.Name == "") {
								b.Errorf("%s: %+v", stream, e)
								break
							}
						}
					}
					for level := range resources {
						var rows []ads.DailyMetrics
						for d := from; !to.Before(d); d = d.Add(days) {
							last := d.Add(days - 1)
							if to.Before(last) {
								last = to
							}
							got, err := b.read(acc, level, d, last)
							if err != nil {
								b.Fatal(err)
							}
							rows = append(rows, got...)
						}
						b.holds(acc, level, from, to, rows)
					}
				}
			})
		})
	}
}

// Runs into a database: complete, with all sums as they are, and again after the platform has changed its mind.
func TestRuns(t *testing.T) {
	onBed(t, func(c *sim.Config) { c.Managers, c.Accounts, c.Direct, c.Canceled, c.PageRows = 2, 5, 1, 1, 50 }, nil, func(b *bed) {
		st := b.books()
		defer st.Close()
		if s := b.run(st); s.Outcome != ads.Complete || s.Err != nil || s.Figures.Listed == 0 || s.Figures.Listed != s.Figures.Synced {
			b.Fatalf("%+v", s)
		}
		accs, _ := b.accounts()
		b.balanced(st, ids(accs)...)
		time.Sleep(26 * time.Hour)
		to := ads.DateOf(time.Now())
		if err := b.sim.Control(sim.Command{Restate: []sim.Restating{{Since: to.Add(-10).String(), Until: to.Add(-4).String(), PerMille: 1100}}}); err != nil {
			b.Fatal(err)
		}
		if s := b.run(st); s.Outcome != ads.Complete {
			b.Fatalf("the next day: %+v", s)
		}
		b.balanced(st, ids(accs)...)
	})
}

// A run that ends anywhere goes on where it was: at once with the page tokens that it kept, and hours later, when these have ended, without them.
func TestResumed(t *testing.T) {
	for _, pause := range []time.Duration{time.Minute, 3 * time.Hour} {
		ended := 0 // page tokens
		for _, after := range []int{2, 7, 16, 31} {
			t.Run(fmt.Sprintf("%s after %d", pause, after), func(t *testing.T) {
				onBed(t, func(c *sim.Config) { c.Accounts, c.PageRows = 2, 25 }, nil, func(b *bed) {
					st := b.books()
					defer st.Close()
					ctx, cancel := context.WithCancel(b.Context())
					defer cancel()
					b.stop = func(sent int) {
						if sent == after {
							cancel()
						}
					}
					s := b.runIn(ctx, st)
					if s.Outcome != ads.Interrupted {
						b.Fatalf("%+v", s)
					}
					b.stop = nil
					b.connect(nil) // another process
					time.Sleep(pause)
					again := b.run(st)
					if again.Outcome != ads.Complete || again.RunID != s.RunID {
						b.Fatalf("%+v", again)
					}
					for _, e := range b.events {
						if e, ok := e.(observe.RequestEnded); ok && e.Class == ads.ClassStaleCursor {
							ended++
						}
					}
					if pause > time.Hour {
						b.until = ads.DateOf(time.Now()).Add(-5) // what was read before the pause and has moved since is read with the next run
					}
					accs, _ := b.accounts()
					b.balanced(st, ids(accs)...)
				})
			})
		}
		if (ended > 0) != (pause > time.Hour) {
			t.Errorf("%d page tokens had ended after %s", ended, pause)
		}
	}
}

// What goes wrong on the way and passes leaves no trace in the figures.
func TestFaultsThatPass(t *testing.T) {
	for _, fault := range []string{
		"throttle", "throttle:scope=DEVELOPER,wait=40s", "throttle:value=RESOURCE_EXHAUSTED,scope=DEVELOPER,wait=10m", "too-expensive:wait=60s",
		"token-expired", "token-expired:on=9,times=2", "transient", "internal", "transient:on=6,times=3", "token-expired-page", "token-expired-page:level=ad_group_ad,page=3,times=2",
		"duplicate:level=campaign,times=1", "stream-cut", "stream-error:chunks=2", "stream-cut:on=4,chunks=0", "stream-error:on=3,chunks=0,times=2",
		"deadline:level=campaign,on=2,times=1",
	} {
		t.Run(fault, func(t *testing.T) {
			onBed(t, func(c *sim.Config) {
				c.Accounts, c.PageRows, c.StreamRows, c.Faults = 2, 40, 30, []string{fault}
			}, func(o *googleads.Options) { o.Stream = strings.HasPrefix(fault, "stream") }, func(b *bed) {
				st := b.books()
				defer st.Close()
				s := b.run(st)
				if s.Outcome != ads.Complete || s.Err != nil {
					b.Fatalf("%+v", s)
				}
				accs, _ := b.accounts()
				b.balanced(st, ids(accs)...)
				if stats := b.sim.Stats(); stats.FaultsPlayed[strings.Split(fault, ":")[0]] == 0 {
					b.Errorf("the fault has not played: %v", stats.FaultsPlayed)
				}
			})
		})
	}
}

// An account without permission, and a day's quota that is used up: the one is a failure among others that go on, the other a wait until it is told.
func TestDenied(t *testing.T) {
	onBed(t, func(c *sim.Config) { c.Accounts, c.Denied = 4, 1 }, nil, func(b *bed) {
		st := b.books()
		defer st.Close()
		s := b.run(st)
		if s.Outcome != ads.Partial || !strings.Contains(fmt.Sprint(s.Err), "USER_PERMISSION_DENIED") || s.Figures.Failed != 0 {
			b.Fatalf("%+v", s)
		}
		b.balanced(st, "4000000001", "4000000002", "4000000003")
	})
}

func TestDailyQuota(t *testing.T) {
	onBed(t, func(c *sim.Config) { c.Operations = 9 }, nil, func(b *bed) {
		st := b.books()
		defer st.Close()
		s := b.run(st)
		e, ok := s.Err.(*ads.Error)
		if !ok || e.Class != ads.ClassDeferred || e.Told < 23*time.Hour || e.Told > 25*time.Hour {
			b.Fatalf("%+v", s)
		}
		if stats := b.sim.Stats(); stats.Total.Throttled == 0 || stats.Total.Throttled > 8 {
			b.Errorf("asked %d times for what is used up", stats.Total.Throttled)
		}
	})
}

func TestServiceAccount(t *testing.T) {
	onBed(t, nil, nil, func(b *bed) {
		key, err := b.sim.ServiceAccount(base)
		if err != nil {
			b.Fatal(err)
		}
		if err := googleads.CheckServiceAccount(string(key)); err != nil {
			b.Error(err)
		}
		b.creds = secret.Bag{}.With("service_account", secret.New(string(key)))
		b.connect(nil)
		accs, errs := b.accounts()
		if len(accs) != 3 || len(errs) > 0 {
			b.Fatalf("%v, %v", ids(accs), errs)
		}
		time.Sleep(5 * time.Hour) // tokens end after one
		if _, _, err := b.list(accs[0], ads.StreamCampaigns); err != nil {
			b.Error(err)
		}
		if n := b.sim.Stats().Endpoints["token"].Requests; n != 2 {
			b.Errorf("%d tokens fetched", n)
		}
	})
}

// Credentials that are refused stop all at once, and say what to do.
func TestRefused(t *testing.T) {
	for name, x := range map[string]struct {
		world func(*sim.Config)
		creds map[string]string
		code  string
		hint  string
	}{
		"refresh token":   {nil, map[string]string{"refresh_token": "1//another-token"}, "invalid_grant", "adsync auth google"},
		"client secret":   {nil, map[string]string{"client_secret": "another-secret"}, "invalid_client", "client_secret"},
		"service account": {nil, map[string]string{"service_account": `{"type":"service_account"}`}, "invalid_grant", "key"},
		"test access":     {func(c *sim.Config) { c.Access = "test" }, nil, "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION", "access level"},
		"not enabled":     {func(c *sim.Config) { c.Faults = []string{"service-disabled"} }, nil, "SERVICE_DISABLED", "enable the Google Ads API"},
	} {
		t.Run(name, func(t *testing.T) {
			onBed(t, x.world, nil, func(b *bed) {
				for k, v := range x.creds {
					b.creds = b.creds.With(k, secret.New(v))
				}
				b.connect(nil)
				for range 2 {
					accs, errs := b.accounts()
					e, ok := errs[0].(*ads.Error)
					if !ok || len(accs) != 0 || len(errs) != 1 || e.Class != ads.ClassAuth || e.Code != x.code || !strings.Contains(e.Hint, x.hint) {
						b.Fatalf("%v, %+v", ids(accs), errs)
					}
				}
				if n := b.sim.Stats().Total.Requests; n > 3 {
					b.Errorf("%d requests with credentials that are refused", n)
				}
			})
		})
	}
}

func TestRevoked(t *testing.T) {
	onBed(t, nil, nil, func(b *bed) {
		acc := b.first()
		b.sim.Revoke()
		_, _, err := b.list(acc, ads.StreamCampaigns)
		if e, ok := err.(*ads.Error); !ok || e.Class != ads.ClassAuth || e.Code != "OAUTH_TOKEN_REVOKED" || e.RequestID == "" {
			b.Errorf("%+v", err)
		}
	})
}

// A version that has been switched off is named, with one that works.
func TestVersionSwitchedOff(t *testing.T) {
	onBed(t, nil, func(o *googleads.Options) { o.Version = "v22" }, func(b *bed) {
		_, errs := b.accounts()
		e, ok := errs[0].(*ads.Error)
		if !ok || e.Class != ads.ClassPermanent || e.Code != "UNSUPPORTED_VERSION" || !strings.Contains(e.Message, "v22") || !strings.Contains(e.Hint, googleads.DefaultVersion) {
			b.Errorf("%+v", errs)
		}
	})
}
