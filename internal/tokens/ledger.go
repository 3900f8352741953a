package tokens

import (
	"context"
	"time"

	"adsync/internal/ads"
)

// Ledger is where tokens are kept for all processes. It sees them sealed only. Its clock is one for all who share it.
type Ledger interface {
	// TokenRoot gives the sealed root. Where there is none it keeps first, or gives a zero Sealed where first is zero.
	TokenRoot(ctx context.Context, first Sealed) (Sealed, error)
	// SwapTokenRoot replaces the root by now, if it is was.
	SwapTokenRoot(ctx context.Context, was, now Sealed) (bool, error)

	// ReadToken gives a row; a zero Row where there is none.
	ReadToken(ctx context.Context, id string) (Row, error)
	// LeaseToken takes the right to renew a token of that generation: when nobody has it, or the time of who has is over. A row is made
	// where there is none. The Row that comes back is as it was before; Began says when a renewal was begun of which no end is known.
	LeaseToken(ctx context.Context, id string, l Lease) (Row, bool, error)
	// ExtendToken moves the end of a lease on, if the holder still has it.
	ExtendToken(ctx context.Context, id, holder string, life time.Duration) (bool, error)
	// FreeToken ends a lease. settled says that the renewal is known to have changed nothing.
	FreeToken(ctx context.Context, id, holder string, settled bool) error
	// KeepToken stores the token of the generation after k.Generation, which the row must have, and ends the lease. It is false where
	// the row has another generation. A repeat of what was stored is true.
	KeepToken(ctx context.Context, id string, k Keep) (bool, error)

	// TokensOf gives rows whose key is not this one, ordered by id, from above after, at most limit.
	TokensNotOf(ctx context.Context, key, after string, limit int) ([]Row, error)
	// SwapToken replaces what a row of a generation holds.
	SwapToken(ctx context.Context, id string, generation int64, now Sealed) (bool, error)

	// NoteTokenEnd keeps when the token of a connection ends that cannot be renewed; with a zero time, that there is no such end.
	NoteTokenEnd(ctx context.Context, e End) error
	// TokenEnds gives all of them.
	TokenEnds(ctx context.Context) ([]End, error)
	// ClaimTokenWarning is true for the first who warns of an end so many days ahead, and has not been warned of it later than that.
	ClaimTokenWarning(ctx context.Context, e End, days int) (bool, error)
}

// Row is a token as it is kept.
type Row struct {
	ID         string
	Platform   string
	Sealed     Sealed
	Generation int64         // 0: nothing is kept yet
	Age        time.Duration // since the token was received
	Held       time.Duration // so long the right to renew it is somebody's; ≤ 0: nobody's
	Began      time.Time     // zero: no renewal is open
}

// Lease is the right to renew.
type Lease struct {
	Platform   string
	Holder     string
	Generation int64
	Life       time.Duration
}

// Keep is a token to be stored.
type Keep struct {
	Holder     string
	Generation int64 // of the one before
	Sealed     Sealed
	Age        time.Duration // since it was received
}

// End is when a connection can no longer get a token by itself.
type End struct {
	Ref    ads.Ref
	At     time.Time
	Why    string // in words
	Warned int    // days ahead, of the last warning; 0: none
}
