package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

func TestTokenEnds(t *testing.T) {
	ref := ads.Ref{ClientID: "acme", Connection: "adplatform"}
	day := 24 * time.Hour
	for _, tt := range []struct {
		end  time.Duration
		want string
	}{
		{8 * day, ""},
		{6*day + time.Hour, "its token ends in 6 days ("},
		{time.Hour, "its token ends in 60 min ("},
		{-2 * day, "its token ended 2 days ago ("},
	} {
		doc := NewStatus("sqlite:x.db", []store.ConnectionStatus{{
			Ref: ref, Last: &store.RunRecord{Outcome: ads.Complete}, LastComplete: noon, TokenEnd: noon.Add(tt.end), TokenWhy: "it cannot be renewed",
		}}, []ads.Ref{ref}, noon)
		var b bytes.Buffer
		if err := doc.Write(&b, noon); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(b.String(), "its token"); got != (tt.want != "") || !strings.Contains(b.String(), tt.want) {
			t.Errorf("%s: no %q in\n%s", tt.end, tt.want, b.String())
		}
		if tt.want != "" && !strings.Contains(b.String(), "UTC): it cannot be renewed") {
			t.Errorf("no reason in\n%s", b.String())
		}
		if c := doc.Connections[0]; c.TokenEnds == nil || *c.TokenWhy != "it cannot be renewed" {
			t.Errorf("%+v", c)
		}
	}
}
