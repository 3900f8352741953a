//go:build unix

package cli

import (
	"bufio"
	"io"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The demo that is kept shows its clients on a dashboard until it is stopped.
func TestDemoKept(t *testing.T) {
	t.Parallel()
	cmd := spawn(t, nil, "demo", "--keep")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address := regexp.MustCompile(`dashboard is on (http://127\.0\.0\.1:\d+)`)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		found := address.FindStringSubmatch(lines.Text())
		if found == nil {
			continue
		}
		resp, err := http.Get(found[1] + "/") // answered as soon as the service is up
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(page), "globex") {
			t.Errorf("the dashboard: %d, %v\n%s", resp.StatusCode, err, page)
		}
		_ = cmd.Process.Signal(syscall.SIGINT)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 130 {
		t.Errorf("exit %d", got)
	}
}
