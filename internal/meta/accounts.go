package meta

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// accountFilter chooses accounts by patterns (* ? [a-z], case ignored) over their id, with or without act_, or their name.
type accountFilter struct{ include, exclude []string }

func newAccountFilter(include, exclude []string) (accountFilter, error) {
	low := func(in []string) ([]string, error) {
		out := make([]string, len(in))
		for i, s := range in {
			out[i] = strings.TrimPrefix(strings.ToLower(s), "act_")
			if _, err := path.Match(out[i], ""); err != nil {
				return nil, fmt.Errorf("%q is not a pattern: %w", s, err)
			}
		}
		return out, nil
	}
	inc, err := low(include)
	if err != nil {
		return accountFilter{}, err
	}
	exc, err := low(exclude)
	return accountFilter{inc, exc}, err
}

func (f accountFilter) wants(acc ads.Account) bool {
	name := strings.ReplaceAll(strings.ToLower(acc.Name), "/", " ")
	any := func(patterns []string) bool {
		for _, p := range patterns {
			if ok, _ := path.Match(p, acc.ID); ok {
				return true
			}
			if ok, _ := path.Match(strings.ReplaceAll(p, "/", " "), name); ok {
				return true
			}
		}
		return false
	}
	return (len(f.include) == 0 || any(f.include)) && !any(f.exclude)
}

// ids are the accounts that are wanted where all of them are named by their ids, so that nothing has to be listed.
func (f accountFilter) ids() []string {
	for _, p := range f.include {
		if _, err := strconv.ParseUint(p, 10, 64); err != nil {
			return nil
		}
	}
	return f.include
}

const accountFields = "account_id,name,currency,timezone_name,account_status,disable_reason,amount_spent,balance,spend_cap,business{id,name},created_time"

// maxPages bounds a listing of accounts.
const maxPages = 10_000

// Accounts implements platform.Platform.
func (p *Platform) Accounts(ctx context.Context, api platform.Caller) iter.Seq2[ads.Account, error] {
	return func(yield func(ads.Account, error) bool) {
		if ids := p.filter.ids(); len(ids) > 0 {
			p.named(ctx, api, ids, yield)
			return
		}
		seen := map[string]bool{}
		each := func(acc ads.Account) bool {
			if seen[acc.ID] {
				return true
			}
			seen[acc.ID] = true
			return !p.filter.wants(acc) || yield(acc, nil)
		}
		edges := []string{p.path("me", "adaccounts")}
		if len(p.o.Businesses) > 0 {
			businesses := p.o.Businesses
			if businesses[0] == AllBusinesses {
				businesses = nil
				err := p.pages(ctx, api, endpointBusiness, p.path("me", "businesses"), "id,name", func(row jsontext.Value) bool {
					var b struct {
						ID scalar `json:"id"`
					}
					if json.Unmarshal(row, &b, decoding) == nil && b.ID != "" {
						businesses = append(businesses, string(b.ID))
					}
					return true
				})
				if err != nil {
					yield(ads.Account{}, err)
					return
				}
			}
			edges = edges[:0]
			for _, id := range businesses {
				edges = append(edges, p.path(id, "owned_ad_accounts"), p.path(id, "client_ad_accounts"))
			}
		}
		for _, edge := range edges {
			on := true
			err := p.pages(ctx, api, endpointAccounts, edge, accountFields, func(row jsontext.Value) bool {
				acc, ok := readAccount(row)
				on = !ok || each(acc)
				return on
			})
			if err != nil {
				yield(ads.Account{}, err)
				return
			}
			if !on {
				return
			}
		}
	}
}

// named reads each account by itself, so that one that is denied does not hide the others.
func (p *Platform) named(ctx context.Context, api platform.Caller, ids []string, yield func(ads.Account, error) bool) {
	for _, id := range ids {
		acc := ads.Account{ID: id, Status: ads.StatusUnknown}
		r := p.get(endpointAccount, p.path("act_"+id), url.Values{"fields": {accountFields}})
		r.Scope = scope(acc)
		r.Parse = func(reply platform.Reply) error {
			got, ok := readAccount(reply.Body)
			if !ok || got.ID != id {
				return badReply(endpointAccount, "shape", "the answer is not account %s", id)
			}
			acc = got
			return nil
		}
		_, err := api.Do(ctx, r)
		switch ads.ClassOf(err) {
		case ads.ClassOK:
			if p.filter.wants(acc) && !yield(acc, nil) {
				return
			}
		case ads.ClassDenied, ads.ClassPermanent, ads.ClassBadReply:
			if !yield(acc, err) {
				return
			}
		default:
			yield(ads.Account{}, err)
			return
		}
	}
}

// pages goes through a listing that has no resume: it is short.
func (p *Platform) pages(ctx context.Context, api platform.Caller, endpoint, edge, fields string, each func(jsontext.Value) bool) error {
	limit, after := 100, ""
	for range maxPages {
		var l list
		q := url.Values{"fields": {fields}, "limit": {strconv.Itoa(limit)}}
		if after != "" {
			q.Set("after", after)
		}
		r := p.get(endpoint, edge, q)
		r.Parse = func(reply platform.Reply) (err error) {
			l, err = parseList(reply)
			return err
		}
		if _, err := api.Do(ctx, r); err != nil {
			if ads.ClassOf(err) == ads.ClassTooLarge && limit > 1 {
				limit = max(1, limit/2)
				continue
			}
			if after != "" && staleCursor(err) {
				after = "" // those that were seen are known
				continue
			}
			return err
		}
		for _, row := range l.rows {
			if !each(row) {
				return nil
			}
		}
		if !l.more {
			return nil
		}
		if l.after == after {
			return badReply(endpoint, "cursor_stuck", "the platform names the page just read as the next one")
		}
		after = l.after
	}
	return badReply(endpoint, "never_ends", "the listing does not end within %d pages", maxPages)
}

// staleCursor says whether an error may come from the cursor that was sent: all else of the request had been accepted before.
func staleCursor(err error) bool {
	e, ok := err.(*ads.Error)
	return ok && (e.Class == ads.ClassPermanent && e.Code == "100" || e.Class == ads.ClassStaleCursor)
}

func readAccount(row []byte) (ads.Account, bool) {
	var a struct {
		ID       scalar `json:"account_id"`
		Long     scalar `json:"id"`
		Name     scalar `json:"name"`
		Currency scalar `json:"currency"`
		Zone     scalar `json:"timezone_name"`
		Status   scalar `json:"account_status"`
	}
	if err := json.Unmarshal(row, &a, decoding); err != nil {
		return ads.Account{}, false
	}
	id := string(a.ID)
	if id == "" {
		id = strings.TrimPrefix(string(a.Long), "act_")
	}
	if _, err := strconv.ParseUint(id, 10, 64); err != nil {
		return ads.Account{}, false
	}
	return ads.Account{
		ID: id, Name: ads.Text(string(a.Name)), Status: accountStatus(string(a.Status)), PlatformStatus: ads.Text(string(a.Status)),
		Currency: currency(a.Currency), TimeZone: ads.Text(string(a.Zone)), Raw: row,
	}, true
}

func currency(s scalar) string {
	if len(s) != 3 {
		return ""
	}
	return strings.ToUpper(string(s))
}
