package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	maxClients  = 100_000 // clients remembered; more are refused
	maxClientID = 256
)

// client is one X-Client-ID: its campaigns, its quota and how it behaved. The empty id is everybody who sends none.
type client struct {
	id       string
	base     uint64 // seed of its data
	nameTail string // what follows the number in a campaign's name, escaped for JSON

	mu    sync.Mutex
	set   campaigns
	tick  int64 // listing and sync calls answered so far: the lifetime figures grow with it
	quota arrivals
	// over is enforced: until then every request is refused, with the refusal's own shape.
	blocked      time.Duration
	blockedShape *activeFault
	foreign      int64 // requests of the other program that shares this quota, let in or not
	seq          map[string]int64
	alias        map[string]int // ids that a fault gave to campaigns, as far as they were listed
	track        tracker
}

// find is the number of the campaign that the client knows by that id, 0 when there is none.
func (c *client) find(id string) int {
	if n, ok := c.alias[id]; ok {
		return n
	}
	return c.set.lookup(id)
}

func newClient(id string, cfg Config) *client {
	c := &client{id: id, base: hashText(cfg.Seed, "client", id), seq: map[string]int64{}}
	if id != "" {
		tail := quote(" of " + id)
		c.nameTail = tail[1 : len(tail)-1]
	}
	c.set = campaigns{made: cfg.Campaigns, next: cfg.Campaigns + 1}
	c.quota.window = cfg.Quota.Window
	c.track = newTracker(cfg.Quota.Window)
	return c
}

// nth counts the requests of a kind, for choices by chance: the n-th listing of a client meets the same fate under one seed.
func (c *client) nth(kind string) int64 {
	c.seq[kind]++
	return c.seq[kind]
}

// campaigns is a client's campaigns in listing order. As long as nobody changed them they are the numbers 1 to made and take no memory.
type campaigns struct {
	made  int
	next  int            // number of the next campaign that is added
	order []int32        // nil: 1 to made
	known map[int32]bool // the numbers in order; nil with it
	over  map[int32]Campaign
	named map[string]int32 // ids that are not campaign_N
}

func (s *campaigns) total() int {
	if s.order == nil {
		return s.made
	}
	return len(s.order)
}

// at is the number of the campaign at a position counted from 0.
func (s *campaigns) at(pos int) int {
	if s.order == nil {
		return pos + 1
	}
	return int(s.order[pos])
}

// lookup is the number of the campaign with that id, 0 when there is none.
func (s *campaigns) lookup(id string) int {
	if n, ok := s.named[id]; ok {
		return int(n)
	}
	n := numberOf(id)
	if o, ok := s.over[int32(n)]; ok && o.ID != id {
		return 0
	}
	if s.order == nil {
		if n > s.made {
			return 0
		}
		return n
	}
	if !s.known[int32(n)] {
		return 0
	}
	return n
}

func (s *campaigns) materialise() {
	if s.order != nil {
		return
	}
	s.order = make([]int32, s.made)
	s.known = make(map[int32]bool, s.made)
	for i := range s.order {
		s.order[i] = int32(i + 1)
		s.known[int32(i+1)] = true
	}
}

// insert adds a campaign at a position; the numbers go on counting.
func (s *campaigns) insert(pos int) int {
	s.materialise()
	n := s.next
	s.next++
	s.order = slices.Insert(s.order, min(max(pos, 0), len(s.order)), int32(n))
	s.known[int32(n)] = true
	return n
}

func (s *campaigns) remove(n int) bool {
	s.materialise()
	i := slices.Index(s.order, int32(n))
	if i < 0 {
		return false
	}
	s.order = slices.Delete(s.order, i, i+1)
	delete(s.known, int32(n))
	if o, ok := s.over[int32(n)]; ok {
		delete(s.named, o.ID)
		delete(s.over, int32(n))
	}
	return true
}

func (s *campaigns) put(n int, c Campaign) {
	if s.over == nil {
		s.over, s.named = map[int32]Campaign{}, map[string]int32{}
	}
	if old, ok := s.over[int32(n)]; ok {
		delete(s.named, old.ID)
	}
	s.over[int32(n)] = c
	if numberOf(c.ID) != n {
		s.named[c.ID] = int32(n)
	}
}

// campaign is number n as it stands at a tick.
func (c *client) campaign(n int, tick int64) Campaign {
	g := generated(c.base, c.id, n, tick)
	o, ok := c.set.over[int32(n)]
	if !ok {
		return g
	}
	o.Impressions, o.Clicks, o.Conversions = g.Impressions, g.Clicks, g.Conversions
	return o
}

// Edit says what a campaign is to become. Fields left nil stay as they are, or are generated when the campaign is new.
type Edit struct {
	ID     string       `json:"id"`
	Name   *string      `json:"name,omitempty"`
	Status *string      `json:"status,omitempty"`
	Budget *json.Number `json:"budget,omitempty"`
	At     *int         `json:"at,omitempty"` // a new one's position in the listing, from 0; nil: at the end
}

var errDuplicate = errors.New("there is a campaign with that id already")

// add makes a campaign. Without an id it gets the next number's.
func (c *client) add(e Edit) (string, error) {
	if e.ID != "" && c.set.lookup(e.ID) != 0 {
		return "", fmt.Errorf("add %.50q: %w", e.ID, errDuplicate)
	}
	pos := c.set.total()
	if e.At != nil {
		pos = *e.At
	}
	// An id of our own pattern takes its number, so that it is found by the number again.
	n := numberOf(e.ID)
	if n > 0 && n < maxCampaigns {
		c.set.materialise()
		next := c.set.next
		c.set.next = n
		c.set.insert(pos)
		c.set.next = max(next, n+1)
	} else {
		n = c.set.insert(pos)
	}
	if e.ID == "" {
		e.ID = idPrefix + strconv.Itoa(n)
	}
	return e.ID, c.apply(n, e)
}

func (c *client) change(e Edit) error {
	n := c.set.lookup(e.ID)
	if n == 0 {
		return fmt.Errorf("change %.50q: there is no such campaign", e.ID)
	}
	return c.apply(n, e)
}

func (c *client) apply(n int, e Edit) error {
	v := c.campaign(n, 0)
	v.ID = e.ID
	if e.Name != nil {
		v.Name = *e.Name
	}
	if e.Status != nil {
		v.Status = *e.Status
	}
	if e.Budget != nil {
		if !json.Valid([]byte(*e.Budget)) {
			return fmt.Errorf("budget %.20q: not a number", string(*e.Budget))
		}
		v.Budget = *e.Budget
	}
	c.set.put(n, v)
	return nil
}
