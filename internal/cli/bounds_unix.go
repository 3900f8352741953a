//go:build unix

package cli

import (
	"math"

	"golang.org/x/sys/unix"
)

// openFiles is how many files this process may have open.
func openFiles() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return math.MaxUint32
	}
	return uint64(l.Cur)
}

// NoCore keeps the system from writing this process's memory, which holds secrets, into a file when it dies.
func NoCore() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
