package secret

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestBag(t *testing.T) {
	var none Bag
	one := none.With("token", New("hidden-1"))
	two := one.With("app_secret", New("hidden-2")).With("token", New("hidden-3"))
	if !none.Get("token").Empty() || one.Get("token").Reveal() != "hidden-1" || two.Get("token").Reveal() != "hidden-3" {
		t.Error("a bag changed under another's hands")
	}
	if one.Equal(two) || !one.Equal(Bag{}.With("token", New("hidden-1"))) || !none.Equal(Bag{}) {
		t.Error("bags are told apart by their values")
	}
	if got := fmt.Sprint(two.Names()); got != "[app_secret token]" || len(two.All()) != 2 {
		t.Errorf("names %s", got)
	}
	j, _ := json.Marshal(map[string]any{"bag": two})
	for _, s := range []string{string(j), fmt.Sprint(two), fmt.Sprintf("%+v %#v %x %q %d", two, two, two, two, two), fmt.Sprintf("%+v", struct{ B Bag }{two}), two.LogValue().String()} {
		if strings.Contains(s, "hidden") || strings.Contains(s, "68696464656e") {
			t.Errorf("a bag shows its secrets: %s", s)
		}
	}
}
