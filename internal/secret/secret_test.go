package secret

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestEveryFormHides(t *testing.T) {
	const canary = "c4n4ry-value"
	s := New(canary)
	type holder struct {
		Secret Text
		ptr    *Text
	}
	h := holder{Secret: s, ptr: &s}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		fmt.Fprintf(&b, verb+"\n", s)
		fmt.Fprintf(&b, verb+"\n", &s)
		fmt.Fprintf(&b, verb+"\n", h)
	}
	j, err := json.Marshal(map[string]any{"s": s, "h": h})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(j)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "s", s, "h", h)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "s", s, "h", h)
	out := b.String()
	for _, bad := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
		if strings.Contains(out, bad) {
			t.Errorf("%q is in:\n%s", bad, out)
		}
	}
	if s.Reveal() != canary || !New("").Empty() || s.Empty() {
		t.Error("Reveal or Empty")
	}
}
