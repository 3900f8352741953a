package cli

// Files that are open besides sockets: the database's, the standard ones, the resolver's.
const filesKept = 40

// bounds say how many connections are synced at once, and how many follow-up calls each has in flight, within the process's limit on open files.
// Where there is room, all are synced at once: one that waits costs a goroutine.
func bounds(connections int) (atOnce, inFlight int) {
	return boundsFor(connections, openFiles())
}

func boundsFor(connections int, limit uint64) (atOnce, inFlight int) {
	const most = 64
	connections = max(connections, 1)
	room := 1
	if limit > filesKept {
		room = int(min(limit-filesKept, 1<<20))
	}
	atOnce = min(connections, max(1, room/4))
	return atOnce, min(most, max(1, room/atOnce))
}
