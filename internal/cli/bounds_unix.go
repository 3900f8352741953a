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
