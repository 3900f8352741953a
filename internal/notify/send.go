package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"adsync/internal/ads"
	"adsync/internal/retry"
	"adsync/internal/secret"
	"adsync/internal/store"
)

const (
	sendWithin = 10 * time.Second // one try of one message
	sendTries  = 3                // at once; then later, with other looks
	mostTries  = 24               // looks in a row that could not tell, over most of a day: then it is given up
	mostLater  = time.Hour
	mostTold   = 24 * time.Hour // that a receiver may ask to wait
	maxAnswer  = 4 << 10

	settleWithin = 5 * time.Second // also when the process is told to stop: a message that was sent is not sent again
)

var (
	between = retry.Backoff{Base: 2 * time.Second, Cap: 10 * time.Second}
	later   = retry.Backoff{Base: 2 * time.Minute, Cap: mostLater}
)

// newClient follows no redirect: the address is a secret, and what is said is for it alone.
func newClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost, t.MaxConnsPerHost, t.MaxResponseHeaderBytes = 1, 1, 1, 64<<10
	return &http.Client{Transport: t, Timeout: sendWithin}
}

// sendError is why a message did not arrive. It never holds the address.
type sendError struct {
	what  string
	hard  bool          // the same again will not do
	after time.Duration // what the receiver asked for
}

func (e *sendError) Error() string { return e.what }

// tell sends what was claimed, in as few messages as may be, and writes down what became of it.
func (n *Notifier) tell(ctx context.Context, to secret.Text, due []store.Notice, conns []Connection) {
	if len(due) == 0 {
		return
	}
	platforms := make(map[ads.Ref]string, len(conns))
	for _, c := range conns {
		platforms[c.Ref] = c.Platform
	}
	for part := range slices.Chunk(due, perMessage) {
		err := n.send(ctx, to, newMessage(part, platforms, time.Now()))
		if err != nil && ctx.Err() != nil {
			return // the claims lapse, and another process tells
		}
		if err := n.settled(context.WithoutCancel(ctx), part, err); err != nil {
			n.complain(ctx, "that somebody was told could not be written down; they may be told twice: "+err.Error())
		}
		if err != nil {
			n.complain(ctx, "a notification could not be sent; it is tried again later: "+err.Error())
			// What fails for one message fails for the next: their claims are given back with this one's wait.
			rest := due[slices.IndexFunc(due, func(x store.Notice) bool { return x.NoticeKey == part[len(part)-1].NoticeKey })+1:]
			if err := n.settled(ctx, rest, err); err != nil {
				n.complain(ctx, "what could not be told could not be put off: "+err.Error())
			}
			return
		}
		n.o.Log.Info("a notification was sent", "troubles", len(part))
	}
}

// send sends one message, and again where that may help.
func (n *Notifier) send(ctx context.Context, to secret.Text, m message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return &sendError{what: "the message could not be written", hard: true}
	}
	for try := 1; ; try++ {
		err := n.post(ctx, to, body)
		e, failed := errors.AsType[*sendError](err)
		if !failed || e.hard || e.after > between.Cap || try == sendTries {
			return err
		}
		t := time.NewTimer(max(e.after, between.Delay(try, rand.Float64())))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

func (n *Notifier) post(ctx context.Context, to secret.Text, body []byte) error {
	limited, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, to.Reveal(), bytes.NewReader(body))
	if err != nil {
		return &sendError{what: "the webhook's address is no URL", hard: true} // the error repeats it
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "adsync")
	c := *n.o.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := c.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok { // its text has the address
			err = u.Err
		}
		if limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %s", sendWithin)
		}
		return &sendError{what: "the webhook cannot be reached: " + ads.Printable(err.Error(), maxReason)}
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // what it says is not needed, and may repeat the address
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return nil
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		return &sendError{what: fmt.Sprintf("the webhook answers %d", res.StatusCode), after: min(retry.After(res.Header, -1, time.Now()).Wait, mostTold)}
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return &sendError{what: fmt.Sprintf("the webhook answers %d, a redirect, which is not followed: correct the address under notify:", res.StatusCode), hard: true}
	}
	return &sendError{what: fmt.Sprintf("the webhook answers %d: correct the address under notify:", res.StatusCode), hard: true}
}

// settled writes down what became of claims: they were told, or are tried again later, or given up.
func (n *Notifier) settled(ctx context.Context, claims []store.Notice, failure error) error {
	if len(claims) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	var after time.Duration
	if e, ok := errors.AsType[*sendError](failure); ok {
		after = e.after
	}
	rnd := 0.5 + rand.Float64()/2
	gaveUp := 0
	err := n.o.Ledger.UpdateNotices(limited, func(all []store.Notice, now time.Time) (put []store.Notice, drop []store.NoticeKey) {
		gaveUp = 0
		for _, c := range claims {
			i := slices.IndexFunc(all, func(x store.Notice) bool { return x.NoticeKey == c.NoticeKey })
			if i < 0 || all[i].ClaimedBy != n.o.ID || !all[i].ClaimedUntil.Equal(c.ClaimedUntil.Truncate(time.Microsecond)) {
				continue // somebody else has it now
			}
			x := all[i]
			x.ClaimedBy, x.ClaimedUntil = "", time.Time{}
			if failure != nil && x.Tries+1 < mostTries {
				x.Tries++
				x.ClaimedUntil = now.Add(n.o.Pace(max(later.Delay(x.Tries, rnd), after)))
				put = append(put, x)
				continue
			}
			if failure != nil {
				gaveUp++
			}
			x.Tries = 0
			switch {
			case eventOf(c) != recovered:
				x.ToldAt = now
			case !x.EndedAt.IsZero():
				drop = append(drop, x.NoticeKey)
				continue
			default: // it came back while its end was told: that is a new one
				x.Since, x.ToldAt = now, time.Time{}
			}
			put = append(put, x)
		}
		return put, drop
	})
	if gaveUp > 0 {
		n.o.Log.Error("notifications are given up: the webhook took none for too long", "troubles", gaveUp)
	}
	return err
}
