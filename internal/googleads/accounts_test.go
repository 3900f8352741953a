package googleads

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// org is a hierarchy: which customers are reached directly, and which hang below each.
type org struct {
	mu     sync.Mutex
	direct []string
	below  map[string][]string // of a root, itself not included
	fails  map[string]platform.Reply
	trees  int // that were asked for
}

func (o *org) manager(id string) bool { return strings.HasPrefix(id, "1") }

func (o *org) answer(a asking) platform.Reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a.Endpoint == endpointRoots {
		var names []string
		for _, id := range o.direct {
			names = append(names, `"customers/`+id+`"`)
		}
		return text(200, `{"resourceNames":[`+strings.Join(names, ",")+`]}`)
	}
	if r, ok := o.fails[a.customer]; ok {
		return r
	}
	if !slices.Contains(o.direct, a.root) || a.customer != a.root && !slices.Contains(o.below[a.root], a.customer) {
		return refusal(403, "authorizationError", "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION")
	}
	if a.Endpoint != endpointAccounts {
		return text(200, `{"fieldMask":"campaign.id"}`)
	}
	if a.pageToken == "" {
		o.trees++ // further pages are a part of it
	}
	var rows []string
	for _, id := range append([]string{a.customer}, o.below[a.customer]...) {
		status := "ENABLED"
		if strings.HasSuffix(id, "9") {
			status = "CANCELED"
		}
		rows = append(rows, fmt.Sprintf(`{"customerClient":{"resourceName":"customers/%s/customerClients/%s","id":%q,"manager":%t,"status":%q,"descriptiveName":"Shop/%s","currencyCode":"eur","timeZone":"Europe/Berlin"}}`,
			a.customer, id, id, o.manager(id), status, id))
	}
	// Two to a page.
	from := 0
	_, _ = fmt.Sscan(a.pageToken, &from)
	next := ""
	if to := from + 2; to < len(rows) {
		next, rows = fmt.Sprintf(`"nextPageToken":"%d",`, to), rows[:to]
	}
	return text(200, `{`+next+`"results":[`+strings.Join(rows[from:], ",")+`],"fieldMask":"x"}`)
}

func all(p *Platform, api platform.Caller) (found []string, roots map[string]string, errs []string) {
	roots = map[string]string{}
	for acc, err := range p.Accounts(context.Background(), api) {
		if err != nil {
			e, _ := errors.AsType[*ads.Error](err)
			errs = append(errs, acc.ID+" "+e.Code)
			continue
		}
		found = append(found, acc.ID)
		roots[acc.ID] = p.root(acc)
	}
	return found, roots, errs
}

func TestAccounts(t *testing.T) {
	tree := func() *org {
		return &org{direct: []string{"101", "201", "102"}, below: map[string][]string{"101": {"111", "201", "202", "209"}, "102": {"202", "203"}}}
	}
	for name, x := range map[string]struct {
		o     Options
		tune  func(*org)
		want  string
		errs  string
		trees int
	}{
		"all":          {want: "201 202 203", trees: 2}, // 201 hangs in the first tree
		"closed too":   {o: Options{Inactive: true}, want: "201 202 209 203", trees: 2},
		"by manager":   {o: Options{LoginCustomerID: "1-0-2"}, want: "202 203", trees: 1},
		"by id":        {o: Options{Include: []string{"20-1", "203"}}, want: "201 203", trees: 2},
		"by name":      {o: Options{Include: []string{"sHOP/20[13]"}, Exclude: []string{"shop?203"}}, want: "201", trees: 2},
		"all but":      {o: Options{Exclude: []string{"*2"}}, want: "201 203", trees: 2},
		"direct first": {tune: func(o *org) { o.direct = []string{"201", "101", "102"} }, want: "201 202 203", trees: 3},
		"none":         {tune: func(o *org) { o.direct = nil }, want: "", trees: 0},
		"a closed root": {tune: func(o *org) {
			o.fails = map[string]platform.Reply{"101": refusal(403, "authorizationError", "CUSTOMER_NOT_ENABLED")}
		}, want: "201 202 203", trees: 2},
		"a denied root": {tune: func(o *org) {
			o.fails = map[string]platform.Reply{"101": refusal(403, "authorizationError", "USER_PERMISSION_DENIED")}
		}, want: "201 202 203", errs: "101 USER_PERMISSION_DENIED", trees: 2},
		"all denied": {tune: func(o *org) {
			o.direct = []string{"101"}
			o.fails = map[string]platform.Reply{"101": refusal(403, "authorizationError", "USER_PERMISSION_DENIED")}
		}, errs: "101 USER_PERMISSION_DENIED"},
		"no longer alive": {tune: func(o *org) {
			o.fails = map[string]platform.Reply{"102": refusal(401, "authenticationError", "OAUTH_TOKEN_REVOKED")}
		}, want: "201 202", errs: " OAUTH_TOKEN_REVOKED", trees: 1},
		"odd row": {tune: func(o *org) {
			o.fails = map[string]platform.Reply{"102": text(200, `{"results":[{"customerClient":{"id":"203"}}]}`)}
		}, want: "201 202", errs: "102 bad_row", trees: 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := tree()
			if x.tune != nil {
				x.tune(h)
			}
			p := made(t, x.o)
			found, roots, errs := all(p, &caller{p: p, answer: h.answer})
			if strings.Join(found, " ") != x.want || strings.Join(errs, ", ") != x.errs || h.trees != x.trees {
				t.Errorf("found %v, want %s; errors %q, want %q; %d trees asked for, want %d", found, x.want, errs, x.errs, h.trees, x.trees)
			}
			for id, root := range roots {
				if id != root && !slices.Contains(h.below[root], id) {
					t.Errorf("%s is said to be reached by %s", id, root)
				}
			}
		})
	}
}

// An account is what the platform says of it; the record as received tells by whom it is reached, in another process too.
func TestAccountFields(t *testing.T) {
	p := made(t, Options{})
	h := &org{direct: []string{"101"}, below: map[string][]string{"101": {"202"}}}
	for acc, err := range p.Accounts(t.Context(), &caller{p: p, answer: h.answer}) {
		if err != nil || acc.ID != "202" || acc.Name != "Shop/202" || acc.Status != ads.StatusActive || acc.PlatformStatus != "ENABLED" || acc.Currency != "EUR" || acc.TimeZone != "Europe/Berlin" {
			t.Errorf("%+v, %v", acc, err)
		}
		if got := made(t, Options{}).root(ads.Account{ID: acc.ID, Raw: acc.Raw}); got != "101" {
			t.Errorf("after a restart it is reached by %q", got)
		}
	}
}

func TestAccountsStop(t *testing.T) {
	p := made(t, Options{})
	h := &org{direct: []string{"101", "102"}, below: map[string][]string{"101": {"201", "202"}, "102": {"203"}}}
	c := &caller{p: p, answer: h.answer}
	for range p.Accounts(t.Context(), c) {
		break
	}
	if h.trees > 1 || len(c.asked) > 2 {
		t.Errorf("%d pages were asked for after nobody wanted more", h.trees)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	for _, err := range p.Accounts(ctx, c) {
		if !errors.Is(err, stopped) {
			t.Errorf("%v", err)
		}
	}
}

// A page token that ends in the middle of a tree begins it again, not for ever, and names nobody twice.
func TestTreeBeginsAgain(t *testing.T) {
	for _, times := range []int{1, 3, 4} {
		h := &org{direct: []string{"101"}, below: map[string][]string{"101": {"201", "202", "203", "204"}}}
		p := made(t, Options{})
		left := times
		found, _, errs := all(p, &caller{p: p, answer: func(a asking) platform.Reply {
			if a.pageToken == "4" && left > 0 {
				left--
				return refusal(400, "requestError", "EXPIRED_PAGE_TOKEN")
			}
			return h.answer(a)
		}})
		if ok := len(found) == 4 && len(errs) == 0; ok != (times <= maxRestarts) {
			t.Errorf("%d times: %v, %v", times, found, errs)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(found)))) != len(found) {
			t.Errorf("twice: %v", found)
		}
	}
	p := made(t, Options{LoginCustomerID: "101"})
	_, _, errs := all(p, &caller{p: p, answer: func(asking) platform.Reply { return text(200, `{"results":[],"nextPageToken":"same"}`) }})
	if len(errs) != 1 || errs[0] != "101 cursor_stuck" {
		t.Errorf("a page that names itself: %v", errs)
	}
}

// Accounts that move to another manager in the middle of a run are found there: once for all of them.
func TestMoved(t *testing.T) {
	h := &org{direct: []string{"101", "102"}, below: map[string][]string{"101": {"201", "202", "203"}, "102": {"204"}}}
	p := made(t, Options{})
	c := &caller{p: p, answer: h.answer}
	var accs []ads.Account
	for acc, err := range p.Accounts(t.Context(), c) {
		if err != nil {
			t.Fatal(err)
		}
		accs = append(accs, acc)
	}
	h.mu.Lock()
	h.below = map[string][]string{"101": {"203"}, "102": {"204", "201", "202"}}
	h.trees = 0
	h.mu.Unlock()
	step := func(acc ads.Account) error {
		_, err := p.Step(t.Context(), c, platform.Task{Account: acc, Stream: ads.StreamCampaigns}, func(ads.Record) error { return nil })
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(accs))
	for i, acc := range accs {
		wg.Go(func() { errs[i] = step(acc) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if h.trees != 2 {
		t.Errorf("%d trees were asked for, want each of the two once", h.trees)
	}
	h.mu.Lock()
	h.below["102"] = []string{"204"}
	h.mu.Unlock()
	for range 2 {
		if err := step(accs[0]); ads.ClassOf(err) != ads.ClassDenied || !movedAway(err) {
			t.Errorf("gone: %v", err)
		}
	}
	h.mu.Lock()
	h.below["102"] = []string{"204", "201"}
	h.mu.Unlock()
	if err := step(accs[0]); err != nil {
		t.Errorf("back again: %v", err)
	}
}

// A tree that cannot be read while an account is looked for does not take away what was known of the others.
func TestMovedAndDenied(t *testing.T) {
	h := &org{direct: []string{"101", "102", "103"}, below: map[string][]string{"101": {"201"}, "102": {"202"}, "103": {"203"}}}
	p := made(t, Options{})
	c := &caller{p: p, answer: h.answer}
	raw := func(root, id string) ads.Account {
		return ads.Account{ID: id, Raw: []byte(`{"customerClient":{"resourceName":"customers/` + root + `/customerClients/` + id + `"}}`)}
	}
	step := func(acc ads.Account) error {
		_, err := p.Step(t.Context(), c, platform.Task{Account: acc, Stream: ads.StreamAds}, func(ads.Record) error { return nil })
		return err
	}
	if err := step(raw("101", "202")); err != nil { // it has moved to 102
		t.Fatal(err)
	}
	h.fails = map[string]platform.Reply{"102": refusal(403, "authorizationError", "USER_PERMISSION_DENIED")}
	if err := step(raw("102", "203")); err != nil { // to 103; 102 is not read
		t.Fatal(err)
	}
	if got := p.root(raw("101", "202")); got != "102" {
		t.Errorf("202 is said to be reached by %q", got)
	}
	h.fails = map[string]platform.Reply{"101": refusal(401, "authenticationError", "OAUTH_TOKEN_REVOKED")}
	if err := step(raw("103", "204")); ads.ClassOf(err) != ads.ClassAuth { // what meets all ends the search, and is the answer
		t.Errorf("%v", err)
	}
	for range p.Accounts(t.Context(), c) {
	}
	if got := p.root(raw("101", "202")); got != "101" {
		t.Errorf("once they are listed anew the record counts: %q", got)
	}
}

func TestParseRoots(t *testing.T) {
	for body, want := range map[string]string{
		`{"resourceNames":["customers/1","customers/22"]}`: "1 22",
		`{"resourceNames":[]}`:                             "",
		`{}`:                                               "",
		`{"resourceNames":null}`:                           "error",
		`{"resourceNames":["customers/1","people/2"]}`: "error",
		`{"resourceNames":["customers/1-2"]}`:          "error",
		`{"names":["customers/1"]}`:                    "error",
		`[]`:                                           "error",
		`null`:                                         "error",
		``:                                             "error",
		`{"resourceNames":["customers/1"`:              "error",
	} {
		got, err := parseRoots(text(200, body))
		if s := strings.Join(got, " "); err == nil && s != want || (err != nil) != (want == "error") || err != nil && ads.ClassOf(err) != ads.ClassBadReply {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"version of the API":  {Version: "26"},
		"login_customer_id":   {LoginCustomerID: "manager"},
		"token endpoint":      {OAuthURL: "https://oauth2.example.com/token"},
		"days for which":      {Restated: 2000},
		"days in one query":   {Days: 31},
		"no level":            {Levels: []string{"keyword"}},
		"pattern of accounts": {Include: []string{"[a"}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	s := made(t, Options{Levels: []string{ads.LevelAd, ads.LevelAccount}, Restated: 60, Days: 14}).Spec()
	if l := s.Reports.Levels; len(l) != 2 || l[0] != (platform.Level{Name: ads.LevelAccount, Days: 14}) || l[1].Name != ads.LevelAd {
		t.Errorf("levels %+v", l)
	}
	if r := s.Reports.Reread; len(r) != 3 || r[0].Age != 2 || r[0].Every != 0 || r[1].Age != 30 || r[2].Age != 60 || r[2].Every >= 7*day {
		t.Errorf("cadence %+v", r)
	}
	for _, v := range Versions() {
		if !isVersion(v.Name) || !v.Released.IsZero() && !v.Sunset.IsZero() && v.Sunset.Before(v.Released) {
			t.Errorf("%+v", v)
		}
	}
	if v := made(t, Options{Version: "v22"}).Spec().Version; v.Name != "v22" || v.Sunset != date("2026-10-07") {
		t.Errorf("%+v", v)
	}
	if v := made(t, Options{Version: "v31"}).Spec().Version; v != (platform.Version{Name: "v31"}) {
		t.Errorf("%+v", v)
	}
	if Versions()[0].Name != DefaultVersion {
		t.Errorf("the default is %s", DefaultVersion)
	}
}
