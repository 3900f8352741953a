//go:build !unix

package cli

import "math"

// openFiles is how many files this process may have open: here there is no such limit.
func openFiles() uint64 { return math.MaxUint32 }
