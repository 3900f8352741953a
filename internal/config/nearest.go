package config

import (
	"slices"
	"strings"
)

// nearest is the known word that was most likely meant, or "". Case, - and _ do not matter; up to a third of the letters may be wrong.
func nearest(word string, known []string) string {
	if len(word) > 60 {
		return ""
	}
	plain := func(s string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)) }
	w := plain(word)
	best, bestAt := "", max(1, len(w)/3)+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(w, plain(k)); d < bestAt {
			best, bestAt = k, d
		}
	}
	return best
}

// distance counts the letters to put in, take out, change or swap with their neighbour to make b of a.
func distance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			change := prev[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
