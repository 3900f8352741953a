package service

import (
	"context"
	"errors"
	"time"

	"adsync/internal/ads"
	"adsync/internal/queue"
	"adsync/internal/store"
)

// Paused is the state of a connection that somebody has paused: nothing is asked for, and nothing comes back by itself.
const Paused queue.State = "paused"

var errPaused = errors.New("somebody has paused this connection")

// pauseLook is how long a job of a paused connection is put off at most, before it looks again. Resume does not wait for it.
const pauseLook = 24 * time.Hour

func pauseWords(p store.Pause) string {
	return "paused by " + ads.Printable(p.By, 100) + " since " + p.At.UTC().Format("2006-01-02 15:04:05 UTC")
}

// Pause keeps a connection from being synced until Resume, in all processes and over restarts. A run that is going stops in good order: here at once, in
// another process with its next beat.
func (s *Service) Pause(ctx context.Context, ref ads.Ref, by string) error {
	if s.conn(ref) == nil {
		return &UnknownError{ref}
	}
	if err := s.o.Store.SetPaused(ctx, ref, by, true); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused[ref] = true
	if c := s.conns[ref]; c != nil && c.cancel != nil {
		c.cancel(errPaused)
	}
	return nil
}

// Resume ends a pause and asks for a run. A connection that waits for a quota goes on waiting, and so does one whose credentials were refused. One that is not
// paused is asked for a run as well.
func (s *Service) Resume(ctx context.Context, ref ads.Ref) (Answer, error) {
	if s.conn(ref) == nil {
		return Answer{}, &UnknownError{ref}
	}
	if err := s.o.Store.SetPaused(ctx, ref, "", false); err != nil {
		return Answer{}, err
	}
	s.mu.Lock()
	delete(s.paused, ref)
	s.mu.Unlock()
	w, err := s.o.Store.ReadWait(ctx, ref)
	if err != nil {
		return Answer{}, err
	}
	if !refusedMark(w.Mark) {
		got, err := Ask(ctx, s.o.Store, s.o.Queue, []ads.Ref{ref}, false)
		if err != nil {
			return Answer{}, err
		}
		return got[0], nil
	}
	// The job looks for itself whether they have changed. To ask as a person does would have them tried again.
	got, err := s.o.Queue.Enqueue(ctx, []queue.Job{{Ref: ref, Trigger: store.TriggerManual}})
	if err != nil {
		return Answer{}, err
	}
	s.mu.Lock()
	s.refused[ref] = true
	s.mu.Unlock()
	return Answer{Ref: ref, Joined: got[0].Joined, State: queue.Parked, Until: w.Until, Reason: w.Reason}, s.o.Queue.Wake(ctx, got[0])
}

func (s *Service) isPaused(ref ads.Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused[ref]
}

// learnPauses takes on what other processes were told, and stops what they paused.
func (s *Service) learnPauses(ctx context.Context) error {
	all, err := s.o.Store.Paused(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.paused)
	for ref := range all {
		s.paused[ref] = true
		if c := s.conns[ref]; c != nil && c.cancel != nil {
			c.cancel(errPaused)
		}
	}
	return nil
}

// parkPaused puts a job of a paused connection off: no longer than a quota that it waits for, so that it need not be woken too early.
func (s *Service) parkPaused(ref ads.Ref, w store.Wait) queue.Outcome {
	s.o.Log.Info(ref.String() + " is paused: its work is put off")
	if waitsForQuota(w) {
		return queue.Park(min(time.Until(w.Until), pauseLook))
	}
	return queue.Park(pauseLook)
}
