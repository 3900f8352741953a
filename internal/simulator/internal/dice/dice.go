// Package dice is the chance of the simulators: numbers that hang on a seed and on what is asked, and on nothing else. It imports
// nothing of adsync.
package dice

// Mix is splitmix64's finaliser: one step of it makes any number as good as random.
func Mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Text is a number for texts under a seed.
func Text(seed uint64, parts ...string) uint64 {
	h := Mix(seed)
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = Mix(h)
	}
	return h
}

// Numbers is a number for whole numbers under a seed.
func Numbers(seed uint64, parts ...int) uint64 {
	h := Mix(seed)
	for _, p := range parts {
		h = Mix(h + uint64(p)*0x9e3779b97f4a7c15)
	}
	return h
}

// Share turns a hash into a number in [0, 1).
func Share(h uint64) float64 { return float64(h>>11) / (1 << 53) }
