package cli

import (
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"adsync/internal/simulator"
)

// TestScripts runs what a person would type, with the real command as a process of its own and a simulator beside it: "simulator FAULT…" starts one
// and sets AD_PLATFORM_… for it; "exits CODE command…" expects that exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				err = ts.Exec(args[1], args[2:]...)
				got := 0
				if e, ok := errors.AsType[*exec.ExitError](err); ok {
					got = e.ExitCode()
				} else {
					ts.Check(err)
				}
				if got != want {
					ts.Fatalf("exit %d, want %d", got, want)
				}
			},
			"simulator": func(ts *testscript.TestScript, _ bool, faults []string) {
				_, url := startPlatform(t, func(c *simulator.Config) { c.Faults = faults })
				ts.Setenv("AD_PLATFORM_API_URL", url)
				ts.Setenv("AD_PLATFORM_EMAIL", testEmail)
				ts.Setenv("AD_PLATFORM_PASSWORD", testPassword)
				ts.Setenv("AD_PLATFORM_QUOTA", "none")
			},
		},
	})
}
