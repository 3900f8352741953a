package googleads

import (
	"strconv"

	"adsync/internal/simulator/internal/world"
)

// Ids are made of positions, so that no table is needed to find what they stand for.
const (
	managerBase  = 1_000_000_000
	branchBase   = 1_500_000_000
	accountBase  = 4_000_000_000
	budgetBase   = 8_000_000_000
	campaignBase = 20_000_000_000
	groupBase    = 150_000_000_000_000
	adBase       = 600_000_000_000_000
	perAccount   = world.MaxCampaigns // ids of campaigns
	perAccount2  = 1_000_000_000      // ids of ad groups and of ads
)

// node is a customer: a manager, a manager below one, or an account with ads.
type node struct {
	manager int // its root, from 1; 0: an account that hangs under none
	branch  bool
	account int // from 1; 0: it is a manager
}

func (n node) id() int64 {
	switch {
	case n.account > 0:
		return accountBase + int64(n.account)
	case n.branch:
		return branchBase + int64(n.manager)
	}
	return managerBase + int64(n.manager)
}

func (n node) text() string { return strconv.FormatInt(n.id(), 10) }

// branched says whether an account hangs under its root's second manager.
func branched(account int) bool { return account%3 == 0 }

// rootOf is the manager that an account belongs to; 0: none.
func (s *Server) rootOf(account int) int {
	if s.cfg.Managers == 0 {
		return 0
	}
	return (account-1)%s.cfg.Managers + 1
}

// find is the customer with an id as it stands in a path or header; false when there is none.
func (s *Server) find(text string) (node, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text {
		return node{}, false
	}
	switch {
	case n > accountBase && n <= accountBase+int64(s.cfg.Accounts):
		a := int(n - accountBase)
		return node{account: a, manager: s.rootOf(a)}, true
	case n > branchBase && n <= branchBase+int64(s.cfg.Managers):
		return node{manager: int(n - branchBase), branch: true}, true
	case n > managerBase && n <= managerBase+int64(s.cfg.Managers):
		return node{manager: int(n - managerBase)}, true
	}
	return node{}, false
}

// under says whether a customer is another one or hangs below it.
func under(n, top node) bool {
	switch {
	case n == top:
		return true
	case top.account > 0 || n.manager != top.manager || n.manager == 0:
		return false
	case top.branch:
		return n.account > 0 && branched(n.account)
	}
	return true
}

// direct says whether the user reaches a customer without a manager.
func (s *Server) direct(n node) bool {
	if n.account > 0 {
		return n.manager == 0 || n.account <= s.cfg.Direct
	}
	return !n.branch
}

func isID(s string) bool {
	if len(s) == 0 || len(s) > 19 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
