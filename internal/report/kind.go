package report

import (
	"context"
	"errors"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/store"
)

// Kind is how something ended, as the exit code and the word for it.
type Kind struct {
	Code int
	Name string
}

// The kinds of the contract.
var (
	OK       = Kind{0, "ok"}
	Config   = Kind{2, "config"}
	Partial  = Kind{3, "partial"}
	Auth     = Kind{4, "auth"}
	Upstream = Kind{5, "upstream"}
	Store    = Kind{6, "store"}
	Busy     = Kind{7, "busy"}
	Internal = Kind{70, "internal"}
)

// Stopped is the cause of a context that a signal ended.
type Stopped struct {
	Signal string // "SIGINT"
	Code   int    // 130, 143
}

func (s *Stopped) Error() string { return "stopped by " + s.Signal }

// UnfitError is what strict mode refuses and is only warned about otherwise, where it shows no sooner than on the spot.
type UnfitError struct{ What, Hint string }

func (e *UnfitError) Error() string { return e.What }

// KindOf classifies the error that a run, or what came before it, ended with.
func KindOf(err error) Kind {
	if err == nil {
		return OK
	}
	if s, ok := errors.AsType[*Stopped](err); ok {
		return Kind{s.Code, "stopped"}
	}
	if _, ok := errors.AsType[*engine.InternalError](err); ok {
		return Internal
	}
	if _, ok := errors.AsType[*UnfitError](err); ok {
		return Config
	}
	if _, ok := errors.AsType[*store.Error](err); ok {
		return Store
	}
	if _, ok := errors.AsType[*store.BusyError](err); ok || errors.Is(err, store.ErrFenced) {
		return Busy
	}
	if _, ok := errors.AsType[*engine.PartialError](err); ok {
		return Partial
	}
	if _, ok := errors.AsType[*engine.RemovalError](err); ok {
		return Upstream
	}
	if e, ok := errors.AsType[*ads.Error](err); ok {
		switch e.Class {
		case ads.ClassAuth, ads.ClassTokenDead, ads.ClassDenied:
			return Auth
		case ads.ClassInternal:
			return Internal
		}
		return Upstream
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Upstream
	case errors.Is(err, context.Canceled):
		return Kind{130, "stopped"}
	}
	return Internal
}

// Together is the kind of a command that did several things: a bug or a broken database outranks all, being stopped comes next; else
// what all agree on, or partial.
func Together(kinds []Kind) Kind {
	if len(kinds) == 0 {
		return OK
	}
	for _, worst := range []func(Kind) bool{
		func(k Kind) bool { return k == Internal },
		func(k Kind) bool { return k == Store },
		func(k Kind) bool { return k.Name == "stopped" },
	} {
		for _, k := range kinds {
			if worst(k) {
				return k
			}
		}
	}
	for _, k := range kinds[1:] {
		if k != kinds[0] {
			return Partial
		}
	}
	return kinds[0]
}
