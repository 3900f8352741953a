package metrics

import (
	"sync"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// other stands for a value that is not in its closed set, or came after the last one that there is room for.
const other = "other"

// Bounds of labels whose values come from code or configuration but are not written down here.
const (
	maxPlatforms = 32
	maxEndpoints = 256 // of all platforms
	maxHosts     = 256
	maxCodes     = 64 // of findings
)

var classes = closed(
	ads.ClassThrottled, ads.ClassTransient, ads.ClassAuth, ads.ClassTokenDead, ads.ClassDenied, ads.ClassPermanent, ads.ClassTooLarge, ads.ClassStaleCursor,
	ads.ClassBadReply, ads.ClassBadRecord, ads.ClassUnreachable, ads.ClassDeferred, ads.ClassInternal,
)

// class is an error's class as a label.
func class(c ads.Class) ads.Class {
	if c == ads.ClassOK {
		return "ok"
	}
	return within(classes, c)
}

var reasons = closed(observe.WaitQuota, observe.WaitServer, observe.WaitCircuit, observe.WaitBusy, observe.WaitWorker, observe.WaitReport)

func waitReason(r observe.WaitReason) observe.WaitReason { return within(reasons, r) }

var parkKinds = closed(observe.ParkQuota, observe.ParkOutage, observe.ParkAuth, observe.ParkFailed, observe.ParkBusy)

func parkKind(k observe.ParkKind) observe.ParkKind { return within(parkKinds, k) }

var renewals = closed("first", "ahead", "refused")

func closed[K ~string](all ...K) map[K]bool {
	set := make(map[K]bool, len(all))
	for _, k := range all {
		set[k] = true
	}
	return set
}

func within[K ~string](set map[K]bool, k K) K {
	if set[k] {
		return k
	}
	return other
}

// open is a set that takes in values as they come, up to a bound.
type open struct {
	name string
	max  int

	mu   sync.RWMutex
	seen map[string]bool
}

// admit gives the value that v is counted under, and whether that is v itself.
func (o *open) admit(v string) (string, bool) {
	o.mu.RLock()
	ok := o.seen[v]
	o.mu.RUnlock()
	if ok {
		return v, true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen[v] {
		return v, true
	}
	if len(o.seen) >= o.max || v == "" || len(v) > 200 {
		return other, false
	}
	if o.seen == nil {
		o.seen = map[string]bool{}
	}
	o.seen[v] = true
	return v, true
}

// statusClass is the class of an HTTP status.
func statusClass(status int) string {
	switch {
	case status == 0:
		return "none"
	case status < 200:
		return other
	case status < 300:
		return "2xx"
	case status < 400:
		return "3xx"
	case status < 500:
		return "4xx"
	case status < 600:
		return "5xx"
	}
	return other
}
