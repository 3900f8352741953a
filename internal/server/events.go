package server

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	eventEvery = freshFor        // at most one event in that time
	eventAlive = 4 * time.Second // pages count in relative times: they are drawn anew at least so often
	maxViewers = 500             // open streams; a page beyond is not live
)

// viewers counts the open streams.
type viewers struct{ n atomic.Int64 }

var seed = maphash.MakeSeed()

// events tells a page whenever what it shows has changed. It ends with the server, or with its reader.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	if s.viewers.n.Add(1) > maxViewers {
		s.viewers.n.Add(-1)
		plain(w, http.StatusServiceUnavailable, "too many pages are open")
		return
	}
	defer s.viewers.n.Add(-1)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c := http.NewResponseController(w)
	write := func(text string) bool {
		_ = c.SetWriteDeadline(time.Now().Add(queryTimeout))
		_, err := w.Write([]byte(text))
		return err == nil && c.Flush() == nil
	}
	if !write("retry: 3000\n\n") {
		return
	}
	t := time.NewTicker(eventEvery)
	defer t.Stop()
	last, told := s.mark(r), time.Now()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.ending:
			return
		case <-t.C:
		}
		if now := s.mark(r); now != last || time.Since(told) >= eventAlive {
			last, told = now, time.Now()
			if !write(fmt.Sprintf("event: changed\ndata: %x\n\n", now)) {
				return
			}
		}
	}
}

// mark changes with anything that a page could show.
func (s *Server) mark(r *http.Request) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	status, err := s.board.read(r.Context(), s.o.Store, s.o.Log)
	if err != nil {
		return 0
	}
	for _, k := range status {
		fmt.Fprint(&h, k.Ref, k.LastComplete, k.Running, k.Wait, k.Campaigns, k.OpenFailures)
		if k.Last != nil {
			fmt.Fprint(&h, *k.Last)
		}
	}
	if s.o.Live != nil {
		fmt.Fprint(&h, s.o.Live.Version())
	}
	return h.Sum64()
}
