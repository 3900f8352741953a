package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"adsync/internal/simulator"
)

// pty opens a terminal: what is written to tty comes out of screen.
func pty(t testing.TB, width, height uint16) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	}
	if err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

// A terminal gets live progress instead of milestones; NO_COLOR is kept; and it is left clean.
func TestTerminal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		env   []string
		args  []string
		want  []string
		never []string
	}{
		{name: "colour", env: []string{"TERM=xterm"}, want: []string{"\x1b[32m█", "waiting", "quota of default", "25"}, never: []string{"page 1: 10 of 25 listed", "sync started"}},
		{name: "no colour", env: []string{"TERM=xterm", "NO_COLOR=1"}, want: []string{"█", "\x1b[1A\r\x1b[J"}, never: []string{"\x1b[32m", "sync started"}},
		{name: "log level", env: []string{"TERM=xterm", "NO_COLOR=1"}, args: []string{"--log-level", "info"}, want: []string{"█", "page 1: 10 of 25 listed"}},
		{name: "dumb", env: []string{"TERM=dumb"}, want: []string{"page 1: 10 of 25 listed"}, never: []string{"█", "\x1b["}},
		{name: "quiet", env: []string{"TERM=xterm"}, args: []string{"-q"}, never: []string{"█", "page"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, url := startPlatform(t, func(s *simulator.Config) { s.Quota = simulator.Quota{N: 20, Window: 2 * time.Second} })
			screen, tty := pty(t, 100, 24)
			cmd := spawn(t, append(environ(t, url, "AD_PLATFORM_QUOTA=20/2s"), c.env...), append([]string{"sync"}, c.args...)...)
			cmd.Stderr = tty
			got := make(chan string)
			go func() {
				b, _ := io.ReadAll(screen) // ends with EIO when nobody has the terminal any more
				got <- string(b)
			}()
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
			tty.Close()
			out := strings.ReplaceAll(<-got, "\r\n", "\n")
			screen.Close()
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("no %q in %q", w, out)
				}
			}
			for _, n := range c.never {
				if strings.Contains(out, n) {
					t.Errorf("%q in %q", n, out)
				}
			}
			if i := strings.LastIndex(out, "█"); i >= 0 && !strings.Contains(out[i:], "\x1b[1A\r\x1b[J") {
				t.Errorf("the display is left behind: %q", out[i:])
			}
		})
	}
}
