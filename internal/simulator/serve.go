package simulator

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// stopGrace is how long work in hand may go on when the server is to end: the slow sync, and a little.
const stopGrace = 3 * time.Second

// httpServer sets up the server for Serve.
func (s *Server) httpServer(base context.Context) *http.Server {
	srv := &http.Server{
		Handler:           s,
		IdleTimeout:       s.cfg.IdleTimeout,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          log.New(io.Discard, "", 0), // cut connections are its trade, not news
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.mu.Lock()
				s.global.connections++
				s.mu.Unlock()
			}
		},
	}
	for _, f := range *s.faults.Load() {
		if f.def.Name == "idle-close" {
			srv.IdleTimeout = f.dur("idle")
		}
	}
	srv.TLSConfig = s.TLSConfig()
	return srv
}
