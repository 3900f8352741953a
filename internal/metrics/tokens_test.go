package metrics

import (
	"context"
	"testing"
	"time"

	"adsync/internal/observe"
)

func TestVersionSunset(t *testing.T) {
	b := newBench(t, Options{})
	b.Configure([]Connection{{Ref: acme, Platform: "adplatform"}})
	name := per("adsync_api_version_sunset_timestamp_seconds")
	soon := b.now().Add(48 * time.Hour)
	b.want(map[string]float64{name: -1})
	b.on(observe.VersionEnds{Version: "v1", At: soon})
	b.want(map[string]float64{name: float64(soon.Unix())})
	b.on(observe.VersionEnds{Version: "v2"})
	b.want(map[string]float64{name: -1})
}

func TestTokenExpires(t *testing.T) {
	b := newBench(t, Options{})
	b.Configure([]Connection{{Ref: acme, Platform: "adplatform"}})
	name := per("adsync_token_expires_timestamp_seconds")
	soon, late := b.now().Add(48*time.Hour), b.now().Add(1000*time.Hour)
	stored := time.Time{}
	b.want(map[string]float64{name: -1})
	b.on(observe.TokenEnds{At: soon, Days: 3, Why: "because"})
	b.want(map[string]float64{name: float64(soon.Unix())})
	b.on(observe.TokenEnds{})
	b.want(map[string]float64{name: -1})
	b.Source(Sources{Standings: func(context.Context) ([]Standing, error) { return []Standing{{Ref: acme, TokenEnd: stored}}, nil }})
	stored = late
	b.after(time.Minute)
	b.want(map[string]float64{name: float64(late.Unix())})
	b.after(time.Second)
	b.on(observe.TokenEnds{At: soon})
	b.want(map[string]float64{name: float64(soon.Unix())}) // heard after the database was read
	stored = time.Time{}
	b.after(time.Hour)
	b.want(map[string]float64{name: -1})
}
