package cli

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"adsync/internal/leaktest"
)

// What a process prints when it is made to die in the middle of its work, all stacks included, holds no secret, and the system keeps no copy of its memory.
func TestNothingLeaksFromACrash(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"sync"}, {"serve", "--listen", "127.0.0.1:0"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(3, 4))
			b := newLeakBed(t, leakCase{format: "text", faults: []string{"sync-hangs:id=campaign_7|campaign_8", "slow:by=100ms"}}, rnd)
			cmd := spawn(t, append(b.env, "GOTRACEBACK=crash"), append(args, "--config", b.file, "--log-level", "debug")...)
			cmd.Dir = b.dir
			var stdout bytes.Buffer
			cmd.Stdout = &stdout
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var limits []byte
			done, all := follow(t, stderr, "page 1", func() {
				limits, _ = os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
				_ = cmd.Process.Signal(syscall.SIGQUIT)
			})
			<-done
			_ = cmd.Wait()
			if n := strings.Count(all(), "\ngoroutine "); n < 10 {
				t.Fatalf("%d stacks only:\n%s", n, all())
			}
			if core := strings.Fields(lineOf(string(limits), "Max core file size")); len(core) < 6 || core[4] != "0" || core[5] != "0" {
				t.Errorf("a core file may be written: %q", core)
			}
			b.check(sinks{"crash": []byte(all()), "stdout": stdout.Bytes()})
		})
	}
}

// The search would find what a crash prints.
func TestCrashesAreSearched(t *testing.T) {
	t.Parallel()
	const planted = "c4n4ry-planted-in-a-panic"
	cmd := spawn(t, []string{panicWith + "=" + planted}, "simulate", "--listen", "127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("it did not die")
	}
	scan, err := leaktest.New(map[string]string{"planted": planted})
	if err != nil {
		t.Fatal(err)
	}
	if len(scan.Scan(out)) == 0 {
		t.Errorf("it was not found in\n%s", out)
	}
}

func lineOf(text, begin string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, begin) {
			return line
		}
	}
	return ""
}
