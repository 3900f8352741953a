package service

import (
	"strconv"
	"time"
)

// pace divides the times by which processes judge each other, and those for which work is put off. Tests of the whole program link another one in
// (-ldflags -X), since they cannot wait for half a minute each time; nothing else sets it.
var pace = "1"

// Paced is d, or as much less as the program was built for.
func Paced(d time.Duration) time.Duration {
	if n, err := strconv.ParseFloat(pace, 64); err == nil && n > 1 {
		return time.Duration(float64(d) / n)
	}
	return d
}
