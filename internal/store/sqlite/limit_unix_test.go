//go:build unix

package sqlite_test

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// Limits that a child process puts on itself before it opens anything.
const (
	envUser     = "ADSYNC_SQLITE_TEST_USER"      // number of the user to become
	envFileSize = "ADSYNC_SQLITE_TEST_FILE_SIZE" // bytes that a file may have
)

// limitChild reports whether that failed.
func limitChild() bool {
	if n, err := strconv.Atoi(os.Getenv(envUser)); err == nil {
		if err := syscall.Setgid(n); err != nil {
			fmt.Fprintln(os.Stderr, "setgid:", err)
			return true
		}
		if err := syscall.Setuid(n); err != nil {
			fmt.Fprintln(os.Stderr, "setuid:", err)
			return true
		}
	}
	if n, err := strconv.ParseUint(os.Getenv(envFileSize), 10, 64); err == nil {
		signal.Ignore(syscall.SIGXFSZ) // the write fails instead
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			fmt.Fprintln(os.Stderr, "setrlimit:", err)
			return true
		}
	}
	return false
}
