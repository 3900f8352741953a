package report

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// Bounds of what waits for a slow reader of stderr.
const (
	queueLines = 2048
	queueBytes = 1 << 20
	longestLog = 16 << 10 // of one line
)

const (
	frameEvery = 200 * time.Millisecond
	// The contract promises a line every 30 seconds; the difference is for a busy machine.
	heartbeatEvery = 25 * time.Second
	closeWithin    = 2 * time.Second
)

// ConsoleOptions describe stderr.
type ConsoleOptions struct {
	Out    io.Writer
	Format Format
	Level  slog.Leveler
	Red    *Redactor

	// Size is the terminal's, asked anew for each frame; nil where Out is no terminal. Live shows progress on it.
	Size  func() (width, height int)
	Live  bool
	Color bool
}

// Console is stderr: log lines, and live progress below them on a terminal. One goroutine writes; nobody else ever waits for the reader.
type Console struct {
	o   ConsoleOptions
	log *slog.Logger

	mu       sync.Mutex
	lines    bytes.Buffer
	queued   int
	dropped  int64
	flushed  []chan struct{}
	tracker  *tracker // nil while nothing is synced
	live     bool
	lastLine time.Time
	closing  bool
	stuck    bool // a flush gave up

	wake chan struct{}
	done chan struct{}
}

// NewConsole starts the writer. Close ends it.
func NewConsole(o ConsoleOptions) *Console {
	c := &Console{o: o, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.log = slog.New(newHandler(c, o.Format, o.Level, o.Size != nil, o.Color, o.Red))
	go c.loop()
	return c
}

// Log is the logger that writes here.
func (c *Console) Log() *slog.Logger { return c.log }

// Write queues one log line. It never waits, and never fails.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastLine = time.Now()
	if c.queued >= queueLines || c.lines.Len()+len(p) > queueBytes {
		c.dropped++
		return len(p), nil
	}
	if len(p) > longestLog {
		c.lines.Write(bytes.ToValidUTF8(p[:longestLog], nil))
		c.lines.WriteString("…\n")
	} else {
		c.lines.Write(p)
	}
	c.queued++
	c.nudge()
	return len(p), nil
}

func (c *Console) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Begin starts heartbeats, or live progress, of these connections.
func (c *Console) Begin(refs []ads.Ref) {
	c.mu.Lock()
	c.tracker, c.live, c.lastLine = newTracker(refs), c.o.Live && c.o.Size != nil, time.Now()
	c.mu.Unlock()
	c.nudge()
}

// End stops them and leaves the terminal clean.
func (c *Console) End() {
	c.mu.Lock()
	c.tracker = nil
	c.mu.Unlock()
	c.Flush()
}

// Flush waits until what was queued is written, but not for long.
func (c *Console) Flush() {
	ch := make(chan struct{})
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return
	}
	c.flushed = append(c.flushed, ch)
	c.mu.Unlock()
	c.nudge()
	select {
	case <-ch:
	case <-c.done:
	case <-time.After(closeWithin):
		c.mu.Lock()
		c.stuck = true
		c.mu.Unlock()
	}
}

// Close writes what is queued, if the reader takes it within a moment, and ends the writer.
func (c *Console) Close() {
	c.mu.Lock()
	c.closing = true
	within := closeWithin
	if c.stuck {
		within = 0 // the reader has had its moment
	}
	c.mu.Unlock()
	c.nudge()
	select {
	case <-c.done:
	case <-time.After(within):
	}
}

// Observe implements observe.Observer.
func (c *Console) Observe(e observe.Event) {
	c.mu.Lock()
	t := c.tracker
	c.mu.Unlock()
	if t != nil {
		t.apply(e)
	}
	c.logEvent(e, t)
}

// Ended takes note of a connection whose run is over, or never began.
func (c *Console) Ended(ref ads.Ref, o ads.Outcome) {
	c.mu.Lock()
	t := c.tracker
	c.mu.Unlock()
	if t != nil {
		t.end(ref, o)
	}
}

// loop writes until Close. A write that fails ends all writing: there is nobody to tell.
func (c *Console) loop() {
	defer close(c.done)
	var out bytes.Buffer
	drawn := 0 // lines of the frame that is on the screen
	broken := false
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		c.mu.Lock()
		closing, t, live := c.closing, c.tracker, c.live
		flushed := c.flushed
		c.flushed = nil
		out.Reset()
		if drawn > 0 {
			fmt.Fprintf(&out, "\x1b[%dA\r\x1b[J", drawn)
			drawn = 0
		}
		out.Write(c.lines.Bytes())
		c.lines.Reset()
		c.queued = 0
		if c.dropped > 0 {
			fmt.Fprintf(&out, "… %s dropped: whoever reads this is too slow\n", some(c.dropped, "log line"))
			c.dropped = 0
		}
		next := time.Hour
		switch {
		case t == nil:
		case live:
			next = frameEvery
		default:
			next = heartbeatEvery - time.Since(c.lastLine)
			if next <= 0 {
				c.lastLine = time.Now() // also where the level hides the line
				next = heartbeatEvery
			} else {
				t = nil
			}
		}
		c.mu.Unlock()

		if live && t != nil && !closing {
			w, h := c.o.Size()
			frame := t.frame(time.Now(), w, h, c.o.Color, c.o.Red)
			for _, l := range frame {
				out.WriteString(l)
				out.WriteByte('\n')
			}
			drawn = len(frame)
		}
		if out.Len() > 0 && !broken {
			if _, err := c.o.Out.Write(out.Bytes()); err != nil {
				broken = true
			}
		}
		for _, ch := range flushed {
			close(ch)
		}
		if closing {
			return
		}
		if !live && t != nil {
			c.beat(t)
		}
		timer.Reset(next)
		select {
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// beat logs the heartbeat.
func (c *Console) beat(t *tracker) {
	of, lines := t.beats(time.Now())
	for i, l := range lines {
		log := c.log
		if of[i] != nil {
			log = log.With("client", of[i].ref.ClientID, "connection", of[i].ref.Connection)
		}
		log.Info(l)
	}
}
