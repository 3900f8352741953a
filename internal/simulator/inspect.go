package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
)

// Command changes the platform while it runs. All of it is checked before any of it is done, except that an edit may still meet a
// campaign that is gone.
type Command struct {
	Client       string   `json:"client"` // whose campaigns
	Add          []Edit   `json:"add,omitempty"`
	Change       []Edit   `json:"change,omitempty"`
	Delete       []string `json:"delete,omitempty"`
	FaultsOn     []string `json:"faults_on,omitempty"`  // NAME[:key=value,…], as Config.Faults
	FaultsOff    []string `json:"faults_off,omitempty"` // by name; "*": all
	RevokeTokens bool     `json:"revoke_tokens,omitempty"`
	Revoke       []string `json:"revoke,omitempty"`  // accounts (emails) whose credentials are refused from now on
	Restore      []string `json:"restore,omitempty"` // the contrary
}

// maxEdits bounds what one command may ask for.
const maxEdits = 10_000

// Control does what the command says.
func (s *Server) Control(cmd Command) error {
	on, err := compile(cmd.FaultsOn, s.cfg.Seed)
	if err != nil {
		return err
	}
	if n := len(cmd.Add) + len(cmd.Change) + len(cmd.Delete); n > maxEdits {
		return fmt.Errorf("simulator: %d edits in one command: at most %d, send them in parts", n, maxEdits)
	}
	s.mu.Lock()
	var names []string
	for _, f := range *s.faults.Load() {
		names = append(names, f.name())
	}
	for _, name := range cmd.FaultsOff {
		if name != "*" && !slices.Contains(names, name) {
			s.mu.Unlock()
			return fmt.Errorf("simulator: fault %q is not on", name)
		}
	}
	s.switchFaults(on, cmd.FaultsOff)
	for _, email := range cmd.Revoke {
		s.revoke(email)
	}
	for _, email := range cmd.Restore {
		delete(s.revoked, email)
	}
	cl := s.client(cmd.Client)
	s.mu.Unlock()
	if cmd.RevokeTokens {
		s.RevokeTokens()
	}
	if cl == nil {
		return fmt.Errorf("simulator: there is no client %.50q", cmd.Client)
	}
	return cl.edit(cmd)
}

// switchFaults puts the new list of faults in place; requests in hand go on with the one they have, without those that are off. The
// caller holds s.mu.
func (s *Server) switchFaults(on []*activeFault, off []string) {
	var next []*activeFault
	for _, f := range *s.faults.Load() {
		if slices.Contains(off, "*") || slices.Contains(off, f.name()) {
			f.mu.Lock()
			f.off = true
			s.played[f.name()] += f.played
			f.mu.Unlock()
			continue
		}
		next = append(next, f)
	}
	next = append(next, on...)
	s.faults.Store(&next)
}

// revoke refuses an account's credentials and ends its tokens. The caller holds s.mu.
func (s *Server) revoke(email string) {
	s.revoked[email] = true
	for _, t := range s.tokens.byText {
		if t.email == email {
			t.kill(s.since())
		}
	}
}

func (c *client) edit(cmd Command) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, id := range cmd.Delete {
		if n := c.set.lookup(id); n == 0 || !c.set.remove(n) {
			errs = append(errs, fmt.Errorf("delete %.50q: there is no such campaign", id))
		}
	}
	for _, e := range cmd.Add {
		if _, err := c.add(e); err != nil {
			errs = append(errs, err)
		}
	}
	for _, e := range cmd.Change {
		errs = append(errs, c.change(e))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	return nil
}

// serveOwn answers the simulator's own pages, which no platform has: they are not counted and ask for no token.
func (s *Server) serveOwn(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, message string) {
		w.Header().Set("Content-Type", jsonType)
		w.WriteHeader(status)
		_, _ = w.Write(failure(status, http.StatusText(status), message).body)
	}
	show := func(v any) {
		w.Header().Set("Content-Type", jsonType)
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(v)
	}
	// A web page that the user happens to look at must not steer the simulator: a browser names the page's origin.
	if r.Method == http.MethodPost && r.Header.Get("Origin") != "" && r.Header.Get("Origin") != "http://"+r.Host && r.Header.Get("Origin") != "https://"+r.Host {
		fail(http.StatusForbidden, "requests from other web pages are refused")
		return
	}
	switch r.URL.Path + " " + r.Method {
	case "/__stats GET":
		show(s.Stats())
	case "/__stats POST":
		if r.URL.Query().Get("reset") != "1" {
			fail(http.StatusBadRequest, "POST /__stats?reset=1 starts the figures anew; GET /__stats shows them")
			return
		}
		s.ResetStats()
		show(s.Stats())
	case "/__truth GET":
		id := r.URL.Query().Get("client")
		list := s.Truth(id)
		show(map[string]any{"client": id, "total": len(list), "campaigns": list, "altered": s.Altered(id)})
	case "/__faults GET":
		var texts []string
		for _, f := range *s.faults.Load() {
			texts = append(texts, f.text)
		}
		show(map[string]any{"active": texts})
	case "/__control POST":
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
			fail(http.StatusUnsupportedMediaType, "send the command as application/json")
			return
		}
		dec := json.NewDecoder(io.LimitReader(r.Body, maxRequestBody))
		dec.DisallowUnknownFields()
		var cmd Command
		if err := dec.Decode(&cmd); err != nil {
			fail(http.StatusBadRequest, "command: "+err.Error())
			return
		}
		if err := s.Control(cmd); err != nil {
			fail(http.StatusBadRequest, err.Error())
			return
		}
		show(map[string]any{"ok": true})
	default:
		fail(http.StatusNotFound, "the simulator's own pages: GET /__stats, POST /__stats?reset=1, GET /__truth?client=ID, GET /__faults, POST /__control")
	}
}
