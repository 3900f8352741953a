package apiclient

import (
	"context"
	"runtime"
	"testing"

	"pgregory.net/rapid"
)

// Whatever connections take, leave and give up waiting for: no more places are held than there are, none is lost, and none is free while a connection waits that
// may have it.
func TestPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "places")
		p := newPlaces(n)
		lines := make([]line, rapid.IntRange(1, 8).Draw(t, "connections"))
		type taker struct {
			line   *line
			cancel context.CancelFunc
			got    chan *place
		}
		var out []taker
		settle := func() { // every take has its place, or waits in its line
			p.mu.Lock()
			defer p.mu.Unlock()
			held := 0
			for i := range lines {
				l := &lines[i]
				held += l.held
				if l.share > p.most() || l.held < 0 || (len(l.waiters) > 0) != (l.at != nil) {
					t.Fatalf("%+v", l)
				}
				if len(l.waiters) > 0 && p.may(l) {
					t.Fatalf("%d free while %+v waits", p.free, l)
				}
			}
			if held+p.free != n || p.free < 0 {
				t.Fatalf("%d held and %d free of %d", held, p.free, n)
			}
		}
		waitersOf := func(l *line) int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return l.held + len(l.waiters)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch pick := rapid.IntRange(0, 2).Draw(t, "step"); {
			case pick == 0 || len(out) == 0:
				ctx, cancel := context.WithCancel(context.Background())
				k := taker{&lines[rapid.IntRange(0, len(lines)-1).Draw(t, "line")], cancel, make(chan *place, 1)}
				before := waitersOf(k.line)
				go func() {
					x, _ := p.take(ctx, k.line)
					k.got <- x
				}()
				for waitersOf(k.line) == before {
					// until it stands in line
				}
				out = append(out, k)
			default:
				i := rapid.IntRange(0, len(out)-1).Draw(t, "who")
				k := out[i]
				out = append(out[:i], out[i+1:]...)
				k.cancel()
				if x := <-k.got; x != nil {
					x.came = came(rapid.IntRange(-1, 1).Draw(t, "came"))
					x.leave()
					x.leave()
				}
			}
			settle()
		}
		for _, k := range out {
			k.cancel()
			(<-k.got).leave()
		}
		settle()
		if p.free != n || p.queue.Len() > 0 {
			t.Fatalf("%d of %d free in the end, %d in line", p.free, n, p.queue.Len())
		}
	})
}

// A place that is given to one who leaves at that moment is not lost.
func TestPlaceGivenToOneWhoLeaves(t *testing.T) {
	for range 100 {
		p := newPlaces(1)
		var a, b line
		x, err := p.take(t.Context(), &a)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			y, _ := p.take(ctx, &b)
			y.leave()
			close(done)
		}()
		for waiting := 0; waiting == 0; {
			p.mu.Lock()
			waiting = len(b.waiters)
			p.mu.Unlock()
		}
		p.mu.Lock()
		cancel()
		for range 10 {
			runtime.Gosched() // so that it has seen that, and stands before the lock
		}
		p.free, x.line.held, x.left = 1, 0, true
		p.give()
		p.mu.Unlock()
		<-done
		if p.free != 1 || b.held != 0 {
			t.Fatal("the place is lost")
		}
	}
}
