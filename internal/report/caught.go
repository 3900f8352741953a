package report

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"

	"github.com/google/uuid"

	"adsync/internal/engine"
)

// InternalError is a bug that was caught; its id stands in the log.
type InternalError = engine.InternalError

// Caught makes the error of a panic that was recovered, and logs where it came from. It is called in the deferred function that recovered. Values
// of the data are in neither: the panic's own value is not asked for.
func Caught(log *slog.Logger, doing string) error {
	e := &InternalError{ID: uuid.NewString()[:8]}
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for len(e.Trace) < 12 {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			e.Trace = append(e.Trace, fmt.Sprintf("%s (%s:%d)", f.Function, f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line))
		}
		if !more {
			break
		}
	}
	if log != nil {
		log.Error(fmt.Sprintf("internal error %s while %s: %s", e.ID, doing, strings.Join(e.Trace, " < ")))
	}
	return e
}
