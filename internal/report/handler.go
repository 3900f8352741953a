package report

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
)

// Format is how log lines look.
type Format string

// The formats. A terminal gets FormatText in colour and without the repetition.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// newHandler writes records to w, one Write a line. terminal asks for the short form for people.
func newHandler(w io.Writer, f Format, level slog.Leveler, terminal, color bool, red *Redactor) slog.Handler {
	utc := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
			a.Value = slog.TimeValue(a.Value.Time().UTC())
		}
		return a
	}
	var h slog.Handler
	switch {
	case f == FormatJSON:
		h = slog.NewJSONHandler(harmlessWriter{w}, &slog.HandlerOptions{Level: level, ReplaceAttr: utc})
	case terminal:
		h = tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !color})
	default:
		h = slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: utc})
	}
	return &safeHandler{next: h, red: red, escape: f != FormatJSON}
}

// safeHandler stands before a handler that prints. It takes known secrets out of messages, keys and values of every kind, and makes sure that
// whatever a name holds, a record stays one line. A value that is not plain data is turned into its text first.
type safeHandler struct {
	next   slog.Handler
	red    *Redactor
	escape bool // JSON escapes by itself
}

func (h *safeHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h *safeHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, h.text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(h.attr(a))
		return true
	})
	return h.next.Handle(ctx, out)
}

func (h *safeHandler) WithAttrs(as []slog.Attr) slog.Handler {
	safe := make([]slog.Attr, len(as))
	for i, a := range as {
		safe[i] = h.attr(a)
	}
	return &safeHandler{next: h.next.WithAttrs(safe), red: h.red, escape: h.escape}
}

func (h *safeHandler) WithGroup(name string) slog.Handler {
	return &safeHandler{next: h.next.WithGroup(h.text(name)), red: h.red, escape: h.escape}
}

func (h *safeHandler) text(s string) string {
	s = h.red.String(s)
	if h.escape {
		s = OneLine(s)
	}
	return s
}

func (h *safeHandler) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		v = slog.StringValue(h.text(v.String()))
	case slog.KindGroup:
		in := v.Group()
		out := make([]slog.Attr, len(in))
		for i, g := range in {
			out[i] = h.attr(g)
		}
		v = slog.GroupValue(out...)
	case slog.KindAny:
		v = slog.StringValue(h.text(textOf(v.Any())))
	}
	return slog.Attr{Key: h.text(a.Key), Value: v}
}

func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case error:
		return v.Error()
	case fmt.Stringer:
		return v.String()
	case encoding.TextMarshaler:
		if b, err := v.MarshalText(); err == nil {
			return string(b)
		}
	}
	return fmt.Sprintf("%+v", v)
}
