//go:build unix

package cli

import (
	"bufio"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// careless is a process of adsync whose user lets others at everything that does not say otherwise.
func careless(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := spawn(t, env, args...)
	cmd.Args = append([]string{"sh", "-c", `umask 000; exec "$0" "$@"`, cmd.Path}, args...)
	cmd.Path = "/bin/sh"
	return cmd
}

// open are the files below dir that others can read or change, but for those that are meant to be read.
func open(t *testing.T, dir string, meant ...string) (out []string, n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		n++
		info, err := d.Info()
		if err != nil {
			return err
		}
		for _, m := range meant {
			if path == filepath.Join(dir, m) {
				if info.Mode().Perm() != 0o644 {
					out = append(out, path+" is meant to be read and changed by nobody else: "+info.Mode().String())
				}
				return nil
			}
		}
		if info.Mode().Perm()&0o077 != 0 {
			out = append(out, path+" "+info.Mode().String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, n
}

// Fault 136: whatever adsync makes is for its user alone, however careless that one is: the configuration, the database with its log and its index, the
// files that tell processes of each other. The metrics file alone is for others to read.
func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, nil)
	dir := t.TempDir()
	env := environ(t, url, "DATABASE_URL=sqlite:adsync.db")
	command := func(args ...string) {
		t.Helper()
		cmd := careless(t, env, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	command("sync", "-q", "--metrics-file", "adsync.prom")
	command("init")
	if err := os.Rename(filepath.Join(dir, "adsync.yaml"), filepath.Join(dir, "template.yaml")); err != nil {
		t.Fatal(err)
	}
	if bad, n := open(t, dir, "adsync.prom"); len(bad) > 0 || n < 3 {
		t.Errorf("of %d files: %q", n, bad)
	}

	cmd := careless(t, env, "serve", "--listen", "127.0.0.1:0")
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "serving 1 connection") {
			bad, n := open(t, dir, "adsync.prom")
			if len(bad) > 0 || n < 5 { // the log and its index are there now
				t.Errorf("while it runs, of %d files: %q", n, bad)
			}
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit %d", code)
	}
}
