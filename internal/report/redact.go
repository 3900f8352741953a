package report

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"adsync/internal/secret"
)

const mask = "***"

// Redactor takes known secrets out of text, in the forms in which they travel (secret.Forms).
// It is the second line of defence; the first is that secrets are of type secret.Text, which prints as a mask.
type Redactor struct {
	r atomic.Pointer[strings.Replacer]

	mu    sync.Mutex
	known map[string]bool
	order []string // of becoming known
}

// mostSecrets bounds what is remembered: a service's secrets are renewed for years. The oldest go first.
const mostSecrets = 100_000

// NewRedactor knows these secrets.
func NewRedactor(secrets ...secret.Text) *Redactor {
	r := &Redactor{known: map[string]bool{}}
	r.r.Store(strings.NewReplacer())
	r.Add(secrets...)
	return r
}

// Add makes more secrets known. It may be called while others use r; those known already cost nothing.
func (r *Redactor) Add(secrets ...secret.Text) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := false
	for _, s := range secrets {
		if v := s.Reveal(); v != "" && !r.known[v] {
			r.known[v], news = true, true
			r.order = append(r.order, v)
		}
	}
	if !news {
		return
	}
	for len(r.order) > mostSecrets {
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
	var forms []string
	for v := range r.known {
		forms = append(forms, formsOf(v)...)
	}
	// At one place the replacer takes the first form that matches, so a longer one goes before one that it begins with.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(forms))
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, mask)
	}
	r.r.Store(strings.NewReplacer(pairs...))
}

// String is s without secrets.
func (r *Redactor) String(s string) string {
	if r == nil {
		return s
	}
	return r.r.Load().Replace(s)
}

// formsOf are the ways in which v may appear in a text.
func formsOf(v string) []string {
	forms := secret.Forms(v)
	if line := OneLine(v); len(forms) > 0 && len(line) >= secret.Shortest {
		forms = append(forms, line)
	}
	return forms
}
