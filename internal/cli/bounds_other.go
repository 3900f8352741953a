//go:build !unix

package cli

import "math"

// openFiles is how many files this process may have open: here there is no such limit.
func openFiles() uint64 { return math.MaxUint32 }

// NoCore keeps the system from writing this process's memory, which holds secrets, into a file when it dies. Here it does so only when asked to.
func NoCore() {}
