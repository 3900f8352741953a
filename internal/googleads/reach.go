package googleads

import (
	"cmp"
	"context"
	"errors"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// root is the customer by which an account is reached: the one that was found last, else the one in whose tree it was listed.
func (p *Platform) root(acc ads.Account) string {
	p.mu.Lock()
	found := p.roots[acc.ID]
	p.mu.Unlock()
	return cmp.Or(found, rootOf(acc.Raw), p.o.LoginCustomerID)
}

// forget drops what was found by looking: accounts that are listed anew tell it themselves.
func (p *Platform) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.roots)
}

// movedAway says that an account does not hang below the root by which it was asked for.
func movedAway(err error) bool {
	e, ok := errors.AsType[*ads.Error](err)
	if !ok {
		return false
	}
	switch e.Code {
	case "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION", "INVALID_LOGIN_CUSTOMER_ID", "LOGIN_CUSTOMER_ID_PARAMETER_MISSING", "LOGIN_CUSTOMER_ID_INVALID":
		return true
	}
	return false
}

// reach does what is to be done with an account by its root. Where the account has moved to another manager since it was listed, it is looked for once.
func (p *Platform) reach(ctx context.Context, api platform.Caller, acc ads.Account, do func(root string) error) error {
	p.mu.Lock()
	looks := p.looks
	p.mu.Unlock()
	tried := p.root(acc)
	err := do(tried)
	if !movedAway(err) || p.o.LoginCustomerID != "" {
		return err
	}
	if lost := p.look(ctx, api, looks); lost != nil {
		return lost
	}
	if root := p.root(acc); root != tried {
		return do(root)
	}
	return err
}

// look discovers the hierarchy again, unless somebody has done so since looks were counted: all accounts of a manager may have moved at once.
func (p *Platform) look(ctx context.Context, api platform.Caller, looks int) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.mu.Lock()
	done := p.looks != looks
	p.mu.Unlock()
	if done {
		return nil
	}
	roots := map[string]string{}
	failed, _, err := p.discover(ctx, api, func(c client) bool {
		roots[c.account.ID] = c.root
		return true
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looks++
	if len(failed) == 0 {
		p.roots = roots
		return nil
	}
	for id, root := range roots { // what could not be read may hold what was known
		p.roots[id] = root
	}
	return nil
}
