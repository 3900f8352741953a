package meta

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// Command changes things while the simulator runs. Faults are switched off before others are switched on.
type Command struct {
	Advance    stage.Wait  `json:"advance,omitempty"` // puts the platform's clock forward
	FaultsOn   []string    `json:"faults_on,omitempty"`
	FaultsOff  []string    `json:"faults_off,omitempty"`  // names, or * for all
	KillTokens int         `json:"kill_tokens,omitempty"` // ends every token with this subcode of error 190
	Edit       []Edit      `json:"edit,omitempty"`
	Add        []Addition  `json:"add,omitempty"`
	Restate    []Restating `json:"restate,omitempty"`
}

// Edit changes a campaign, ad set or ad from now on.
type Edit struct {
	ID     string  `json:"id"`
	Name   *string `json:"name,omitempty"`
	Status string  `json:"status,omitempty"` // ACTIVE, PAUSED, ARCHIVED or DELETED
	Budget *int64  `json:"budget,omitempty"` // minor units
}

// Addition is one more campaign in an account.
type Addition struct {
	Account string `json:"account"`
	Name    string `json:"name"`
}

// Restating changes figures of the past.
type Restating struct {
	Account  string `json:"account,omitempty"` // empty: all
	Since    string `json:"since"`
	Until    string `json:"until"`
	PerMille int64  `json:"per_mille"` // of what they were
}

// Control does what a command says; it stops at the first thing that cannot be done.
func (s *Server) Control(cmd Command) error {
	if len(cmd.FaultsOn)+len(cmd.FaultsOff) > 0 {
		if err := s.host.Switch(cmd.FaultsOn, cmd.FaultsOff); err != nil {
			return err
		}
	}
	if err := s.host.Advance(time.Duration(cmd.Advance)); err != nil {
		return err
	}
	if cmd.KillTokens != 0 {
		s.KillTokens(cmd.KillTokens)
	}
	now := s.host.Now()
	for _, x := range cmd.Edit {
		o := parseID(x.ID)
		e := world.Edit{Name: x.Name, Budget: x.Budget}
		if x.Status != "" {
			states := map[string]world.State{"ACTIVE": world.Active, "PAUSED": world.Paused, "ARCHIVED": world.Archived, "DELETED": world.Removed}
			state, ok := states[x.Status]
			if !ok {
				return fmt.Errorf("edit %s: status %q: want ACTIVE, PAUSED, ARCHIVED or DELETED", x.ID, x.Status)
			}
			e.State = &state
		}
		if o.kind != aThing {
			return fmt.Errorf("edit: %q is not a campaign, ad set or ad", x.ID)
		}
		if err := s.w.Edit(o.account, o.level, o.serial, e, now); err != nil {
			return fmt.Errorf("edit %s: %w", x.ID, err)
		}
	}
	for _, x := range cmd.Add {
		if err := s.w.Add(parseID(x.Account).account, x.Name, now); err != nil {
			return fmt.Errorf("add to %q: %w", x.Account, err)
		}
	}
	for _, x := range cmd.Restate {
		from, err := world.ParseDay(x.Since)
		to, err2 := world.ParseDay(x.Until)
		o := parseID(x.Account)
		if x.Account != "" && o.kind != anAccount {
			err = fmt.Errorf("%q is not an account", x.Account)
		}
		if x.PerMille < 0 || x.PerMille > 1_000_000 {
			err = fmt.Errorf("per_mille %d: want 0 to 1000000", x.PerMille)
		}
		if err = errors.Join(err, err2); err != nil {
			return fmt.Errorf("restate: %w", err)
		}
		if err := s.w.Restate(world.Restatement{Account: o.account, From: from, To: to, PerMille: x.PerMille}); err != nil {
			return fmt.Errorf("restate: %w", err)
		}
	}
	return nil
}

// Own answers the simulator's own pages.
func (s *Server) Own(_ http.ResponseWriter, r *http.Request) any {
	switch r.URL.Path + " " + r.Method {
	case "/__truth GET":
		q := r.URL.Query()
		if account := q.Get("account"); account != "" {
			rows := s.Figures(account, q.Get("level"), q.Get("since"), q.Get("until"))
			if rows == nil {
				return errors.New("/__truth?account=act_…&level=account|campaign|adset|ad&since=2026-11-01&until=2026-11-07: nothing is known under these")
			}
			return map[string]any{"figures": rows}
		}
		return map[string]any{"now": s.host.Now(), "accounts": s.Accounts()}
	case "/__control POST":
		var cmd Command
		if err := stage.Decode(r, &cmd); err != nil {
			return err
		}
		if err := s.Control(cmd); err != nil {
			return err
		}
		return map[string]any{"done": true, "now": s.host.Now()}
	}
	return nil
}
