//go:build unix

package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/storetest"
)

func init() {
	storetest.Role("writable", func(ctx context.Context, s store.Store, _ string) error {
		if _, err := s.Schema(ctx); err != nil {
			return fmt.Errorf("schema: %w", err)
		}
		return s.CheckWritable(ctx)
	})
	storetest.Role("fill up", func(ctx context.Context, s store.Store, _ string) error {
		l, err := s.Acquire(ctx, storetest.Acme())
		if err != nil {
			return err
		}
		run, err := s.OpenRun(ctx, l, store.OpenRun{NewID: "run", Plan: "plan"})
		if err != nil {
			return err
		}
		for seq := run.CommitSeq + 1; ; seq++ {
			var records []ads.Entity
			for i := range 500 {
				records = append(records, storetest.Entity(fmt.Sprintf("c%d-%d", seq, i)))
			}
			_, err := s.Commit(ctx, l, &store.Commit{
				RunID: run.ID, Seq: seq, Account: "acc", Stream: ads.StreamCampaigns, Stamp: run.StartedAt,
				Listed: &store.Listed{Platform: "p", Direct: true, Records: records, RunStart: run.StartedAt, PassStart: run.StartedAt},
				After:  func(store.Result) store.RunUpdate { return store.RunUpdate{} },
			})
			if err != nil {
				if rerr := s.Release(ctx, l); rerr == nil { // a full disk may refuse even that
					fmt.Println("released")
				}
				return fmt.Errorf("%d commits: %w", seq-1, err)
			}
		}
	})
}

// asChild runs a role in another process and gives what it said at its end.
func asChild(t *testing.T, path, role string, env ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), "ADSYNC_STORETEST_ROLE="+role, "ADSYNC_STORETEST_DATABASE="+path), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok && exit.ExitCode() != 1 {
		t.Fatalf("child %s: %v\n%s", role, err, out.String())
	}
	return out.String()
}

// Fault 99: a file or a directory that may not be written is noticed before anything is sent.
func TestFault99ReadOnly(t *testing.T) {
	t.Parallel()
	const nobody = "65534"
	user := []string{}
	if os.Geteuid() == 0 { // root may write anything
		user = []string{envUser + "=" + nobody}
	}
	dir, err := os.MkdirTemp("", "adsync-readonly-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Chmod(dir, 0o700)
		_ = os.RemoveAll(dir)
	})
	b, err := os.ReadFile(filled(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "adsync.db")
	for _, tt := range []struct {
		name      string
		dir, file os.FileMode // file 0: there is none
		want      string
	}{
		{"both may be written", 0o777, 0o666, ""},
		{"read-only file", 0o777, 0o444, "read-only"},
		{"read-only directory", 0o555, 0o666, "read-only"},
		{"read-only both", 0o555, 0o444, "read-only"},
		{"no file, read-only directory", 0o555, 0, "may not be written"},
	} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(path + suffix); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		if tt.file != 0 {
			if err := os.WriteFile(path, b, tt.file); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.file); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(dir, tt.dir); err != nil {
			t.Fatal(err)
		}
		out := asChild(t, path, "writable", user...)
		if tt.want == "" && out != "" || !strings.Contains(out, tt.want) || tt.want != "" && !strings.Contains(out, dir) {
			t.Errorf("%s: %q, want %q", tt.name, out, tt.want)
		}
	}
}

// Fault 98: the disk is full, or a file may not grow. The file stays whole, and the next run goes on.
func TestFault98Full(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adsync.db")
	db := database(path)
	s := storetest.Open(t, db)
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	out := asChild(t, path, "fill up", envFileSize+"=1000000")
	if !strings.Contains(out, "cannot grow: the disk is full, or a limit on file sizes is reached") || !strings.Contains(out, path) || !strings.Contains(out, "500 records are not written") {
		t.Errorf("%s", out)
	}
	if got := rows(t, path, "PRAGMA integrity_check"); got[0][0] != "ok" {
		t.Errorf("integrity_check: %v", got)
	}
	s = storetest.Open(t, db)
	l, err := s.Acquire(t.Context(), storetest.Acme())
	if err != nil {
		t.Fatal(err)
	}
	run, err := s.OpenRun(t.Context(), l, store.OpenRun{NewID: "other", Plan: "plan", MaxAge: 1 << 62})
	if err != nil || run.CommitSeq == 0 {
		t.Fatalf("%+v, %v", run, err)
	}
	if got := rows(t, path, "SELECT count(*) FROM campaigns"); got[0][0] != fmt.Sprint(run.CommitSeq*500) {
		t.Errorf("%s rows after %d commits", got[0][0], run.CommitSeq)
	}
}
