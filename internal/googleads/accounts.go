package googleads

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"path"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// accountFilter chooses accounts by patterns (* ? [a-z], case ignored) over their id, with or without dashes, or their name.
type accountFilter struct{ include, exclude []pattern }

// pattern is one as it is compared with names, and with ids.
type pattern struct{ name, id string }

func newAccountFilter(include, exclude []string) (accountFilter, error) {
	read := func(in []string) ([]pattern, error) {
		out := make([]pattern, len(in))
		for i, s := range in {
			low := strings.ToLower(strings.TrimSpace(s))
			out[i] = pattern{strings.ReplaceAll(low, "/", " "), low}
			if strings.Trim(low, "0123456789-*?") == "" {
				out[i].id = bare(low)
			}
			if _, err := path.Match(low, ""); err != nil || low == "" {
				return nil, fmt.Errorf("%q is not a pattern of accounts: want an id or a name, with * and ? where anything may stand", s)
			}
		}
		return out, nil
	}
	inc, err := read(include)
	if err != nil {
		return accountFilter{}, err
	}
	exc, err := read(exclude)
	return accountFilter{inc, exc}, err
}

func (f accountFilter) wants(acc ads.Account) bool {
	name := strings.ReplaceAll(strings.ToLower(acc.Name), "/", " ")
	matches := func(patterns []pattern) bool {
		for _, p := range patterns {
			byID, _ := path.Match(p.id, acc.ID)
			byName, _ := path.Match(p.name, name)
			if byID || byName {
				return true
			}
		}
		return false
	}
	return (len(f.include) == 0 || matches(f.include)) && !matches(f.exclude)
}

// clientsQuery lists the tree below a customer, itself included.
const clientsQuery = "SELECT customer_client.id, customer_client.client_customer, customer_client.level, customer_client.manager, customer_client.status, " +
	"customer_client.descriptive_name, customer_client.currency_code, customer_client.time_zone, customer_client.test_account, customer_client.hidden, " +
	"customer_client.resource_name FROM customer_client"

// Bounds of discovery.
const (
	maxPages    = 10_000
	maxRestarts = 3 // of one customer's tree, when the platform drops the page token
)

// client is a customer in a tree.
type client struct {
	account ads.Account
	manager bool
	root    string // by which it is reached
}

// Accounts implements platform.Platform. Customers that cannot be read are left out where they are only closed; what else keeps one from being read is
// yielded last, together with the customer that it is about, so that it stops no other.
func (p *Platform) Accounts(ctx context.Context, api platform.Caller) iter.Seq2[ads.Account, error] {
	return func(yield func(ads.Account, error) bool) {
		p.forget()
		failed, on, err := p.discover(ctx, api, func(c client) bool {
			wanted := !c.manager && (p.o.Inactive || c.account.PlatformStatus == "ENABLED") && p.filter.wants(c.account)
			return !wanted || yield(c.account, nil)
		})
		if err != nil {
			yield(ads.Account{}, err)
			return
		}
		for _, f := range failed {
			if !on || !yield(ads.Account{ID: f.root, Status: ads.StatusUnknown}, f.err) {
				return
			}
		}
	}
}

// failedRoot is a customer whose tree could not be read.
type failedRoot struct {
	root string
	err  error
}

// discover goes through all customers that the user reaches, each once, until each says false (on is false then). Trees that could not be read are given
// back; an error is what would meet all of them.
func (p *Platform) discover(ctx context.Context, api platform.Caller, each func(client) bool) (failed []failedRoot, on bool, err error) {
	roots := []string{p.o.LoginCustomerID}
	if p.o.LoginCustomerID == "" {
		if roots, err = p.accessible(ctx, api); err != nil {
			return nil, true, err
		}
	}
	seen, read := map[string]bool{}, map[string]bool{}
	for _, root := range roots {
		if read[root] {
			continue // it hangs in a tree that has been read, and all below it with it: another query would be an operation for nothing
		}
		on := true
		var inside []string
		err := p.tree(ctx, api, root, func(c client) bool {
			inside = append(inside, c.account.ID)
			if seen[c.account.ID] {
				return true
			}
			seen[c.account.ID] = true
			on = each(c)
			return on
		})
		if err == nil {
			for _, id := range inside {
				read[id] = true
			}
		}
		switch {
		case !on:
			return nil, false, nil
		case err == nil || isClosed(err):
		case ctx.Err() == nil && aboutOne(err):
			failed = append(failed, failedRoot{root, err})
		default:
			return nil, true, err
		}
	}
	return failed, true, nil
}

// isClosed says that a customer is closed, canceled or not set up yet: it is listed all the same.
func isClosed(err error) bool {
	e, ok := errors.AsType[*ads.Error](err)
	return ok && (e.Code == "CUSTOMER_NOT_ENABLED" || e.Code == "INCOMPLETE_SIGNUP" || e.Code == "MISSING_TOS")
}

// aboutOne says that an error is about one customer and need not meet the others.
func aboutOne(err error) bool {
	e, ok := errors.AsType[*ads.Error](err)
	if !ok || e.Code == codeVersion || e.Code == codeOutage {
		return false
	}
	switch e.Class {
	case ads.ClassDenied, ads.ClassPermanent, ads.ClassBadReply, ads.ClassTransient, ads.ClassStaleCursor:
		return true
	}
	return false
}

// accessible are the customers that the user reaches directly.
func (p *Platform) accessible(ctx context.Context, api platform.Caller) ([]string, error) {
	var roots []string
	_, err := api.Do(ctx, platform.Request{
		Endpoint: endpointRoots, Method: http.MethodGet, Path: "/" + p.o.Version + "/customers:listAccessibleCustomers", Header: header(""),
		Repeatable: true, Critical: true, Seal: seal,
		Parse: func(r platform.Reply) (err error) {
			roots, err = parseRoots(r)
			return err
		},
	})
	return roots, err
}

// parseRoots reads {"resourceNames": ["customers/1234567890", …]}; a user who reaches none gets an empty object.
func parseRoots(r platform.Reply) ([]string, error) {
	var a map[string]jsontext.Value
	if err := json.Unmarshal(r.Body, &a, loose); err != nil || a == nil {
		return nil, badReply(endpointRoots, "shape", "the answer is no object with resource names (%s)", bodyKind(r))
	}
	list, ok := a["resourceNames"]
	if !ok && len(a) > 0 {
		return nil, badReply(endpointRoots, "shape", "the answer has no resource names (%s)", bodyKind(r))
	}
	var names []scalar
	if ok {
		if err := json.Unmarshal(list, &names, loose); err != nil || list.Kind() != '[' {
			return nil, badReply(endpointRoots, "shape", "the resource names cannot be read (%s)", bodyKind(r))
		}
	}
	var roots []string
	for _, n := range names {
		id, ok := strings.CutPrefix(n.text, "customers/")
		if !ok || !isID(id) {
			return nil, badReply(endpointRoots, "shape", "a resource name is not that of a customer: %q", ads.Printable(n.text, 60))
		}
		roots = append(roots, id)
	}
	return roots, nil
}

// tree goes through the customers below a root, the root itself included, until each says false.
func (p *Platform) tree(ctx context.Context, api platform.Caller, root string, each func(client) bool) error {
	token, restarts := "", 0
	for range maxPages {
		var got page
		var clients []client
		r := p.ask(endpointAccounts, "search", root, root, clientsQuery, token, false)
		r.Parse = func(reply platform.Reply) (err error) {
			if got, err = parsePage(reply); err != nil {
				return err
			}
			clients = clients[:0]
			for i, row := range got.rows {
				c, err := readClient(row, root)
				if err != nil {
					return badReply(endpointAccounts, "bad_row", "row %d: %s", i+1, err)
				}
				clients = append(clients, c)
			}
			return nil
		}
		_, err := api.Do(ctx, r)
		if ads.ClassOf(err) == ads.ClassStaleCursor && token != "" && restarts < maxRestarts {
			token, restarts = "", restarts+1 // those that were seen are known
			continue
		}
		if err != nil {
			return explain(err, clientsQuery)
		}
		for _, c := range clients {
			if !each(c) {
				return nil
			}
		}
		switch got.next {
		case "":
			return nil
		case token:
			return badReply(endpointAccounts, "cursor_stuck", "the platform names the page just read as the next one")
		}
		token = got.next
	}
	return badReply(endpointAccounts, "never_ends", "the tree below %s does not end within %d pages", root, maxPages)
}

type clientRow struct {
	Client struct {
		Resource scalar `json:"resourceName"`
		ID       scalar `json:"id"`
		Customer scalar `json:"clientCustomer"`
		Manager  scalar `json:"manager"`
		Status   scalar `json:"status"`
		Name     scalar `json:"descriptiveName"`
		Currency scalar `json:"currencyCode"`
		Zone     scalar `json:"timeZone"`
	} `json:"customerClient"`
}

// readClient reads a row of customer_client. Its resource name says from which customer's tree it was read, so the record as received tells later by
// which root the account is reached.
func readClient(raw []byte, root string) (client, error) {
	var x clientRow
	if err := json.Unmarshal(raw, &x, loose); err != nil {
		return client{}, errors.New("it cannot be read: " + reason(err))
	}
	id, ok := x.Client.ID.id()
	if !ok {
		id, ok = strings.CutPrefix(x.Client.Customer.text, "customers/")
		if ok = ok && isID(id); !ok {
			return client{}, errors.New("it has no id that can be used")
		}
	}
	if rootOf(raw) != root {
		return client{}, fmt.Errorf("account %s comes without the name of the tree that it is in", id)
	}
	return client{
		account: ads.Account{
			ID: id, Name: x.Client.Name.clean(), Status: accountStatus(x.Client.Status.text), PlatformStatus: x.Client.Status.clean(),
			Currency: currency(x.Client.Currency.text), TimeZone: x.Client.Zone.clean(), Raw: raw,
		},
		manager: x.Client.Manager.is(), root: root,
	}, nil
}

// rootOf is the customer from whose tree an account's record was read; empty where the record does not tell.
func rootOf(raw []byte) string {
	var x clientRow
	if len(raw) == 0 || json.Unmarshal(raw, &x, loose) != nil {
		return ""
	}
	rest, ok := strings.CutPrefix(x.Client.Resource.text, "customers/")
	root, _, below := strings.Cut(rest, "/customerClients/")
	if !ok || !below || !isID(root) {
		return ""
	}
	return root
}

func currency(s string) string {
	if len(s) != 3 {
		return ""
	}
	return strings.ToUpper(ads.Text(s))
}
