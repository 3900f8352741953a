package queue

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

var quietLog = slog.New(slog.DiscardHandler)

// sayAgain is how soon River's same complaint is logged once more: with the database gone it has several each second.
const sayAgain = time.Minute

// sparse lets warnings and errors of River through, each at most once a minute.
type sparse struct {
	next slog.Handler
	said *said
}

type said struct {
	mu sync.Mutex
	at map[string]time.Time
}

func newSparse(next slog.Handler) *sparse { return &sparse{next, &said{at: map[string]time.Time{}}} }

// Enabled implements slog.Handler.
func (s *sparse) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && s.next.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (s *sparse) Handle(ctx context.Context, r slog.Record) error {
	s.said.mu.Lock()
	last, again := s.said.at[r.Message]
	again = again && r.Time.Sub(last) < sayAgain
	if !again {
		if len(s.said.at) > 1000 {
			clear(s.said.at)
		}
		s.said.at[r.Message] = r.Time
	}
	s.said.mu.Unlock()
	if again {
		return nil
	}
	r.Message = "queue: " + r.Message
	return s.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (s *sparse) WithAttrs(a []slog.Attr) slog.Handler { return &sparse{s.next.WithAttrs(a), s.said} }

// WithGroup implements slog.Handler.
func (s *sparse) WithGroup(n string) slog.Handler { return &sparse{s.next.WithGroup(n), s.said} }
