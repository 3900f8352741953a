package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// family is one metric: what a scrape shows of it, and what its page says.
type family struct {
	name   string
	kind   kind
	labels []string // beyond those of a connection
	per    bool     // one series per connection: client and connection come first
	help   string
	use    string // what it is good for
	unit   string
	merge  merge // of connections, where they are too many to have series of their own
	bounds []float64

	desc *prometheus.Desc
}

type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
)

// merge says what becomes of several connections' values.
type merge int

const (
	sum merge = iota
	most
	least
)

// connLabels are those of a connection, in the order in which they are given.
var connLabels = []string{"client", "connection", "platform"}

func (f family) made() *family {
	f.desc = prometheus.NewDesc(f.name, f.help, f.allLabels(), nil)
	return &f
}

func (f *family) allLabels() []string {
	if !f.per {
		return f.labels
	}
	return append(append([]string(nil), connLabels...), f.labels...)
}

// type as client_golang knows it.
func (f *family) valueType() prometheus.ValueType {
	if f.kind == counter {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}

// Buckets, in seconds.
var (
	attemptBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
	requestBounds = []float64{0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600}
	runBounds     = []float64{1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 24 * 3600}
	storeBounds   = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
)

// The state of a connection. Every process shows it for all connections: max by (client, connection) is the truth.
var (
	lastSuccess = family{
		name: "adsync_last_success_timestamp_seconds", kind: gauge, per: true, merge: least, unit: "seconds since 1970",
		help: "When the connection was last complete. Absent until it was for the first time.",
		use:  "dashboards; `sync --metrics-file` writes it too",
	}.made()
	freshness = family{
		name: "adsync_freshness_seconds", kind: gauge, per: true, merge: most, unit: "seconds",
		help: "Time since the connection was last complete. Absent until it was for the first time.",
		use:  "alert on data that is older than its schedule allows",
	}.made()
	dataAge = family{
		name: "adsync_data_age_seconds", kind: gauge, per: true, merge: most, unit: "seconds",
		help: "Time since a record of the connection was last brought in step, or the connection was complete.",
		use:  "tells a connection that fails now and then (data young, freshness old) from one that stands still (both old)",
	}.made()
	scheduleInterval = family{
		name: "adsync_schedule_interval_seconds", kind: gauge, per: true, merge: least, unit: "seconds",
		help: "Longest time between two runs that the schedule asks for. Absent without a schedule.",
		use:  "what freshness is held against",
	}.made()
	seenSince = family{
		name: "adsync_connection_seen_timestamp_seconds", kind: gauge, per: true, merge: least, unit: "seconds since 1970",
		help: "Since when this process has the connection in its configuration, or an earlier run is known of it.",
		use:  "alert on a connection that was never complete",
	}.made()
	running = family{
		name: "adsync_running", kind: gauge, per: true, merge: sum, unit: "0 or 1",
		help: "Whether some process is syncing the connection now.",
		use:  "what is going on; \"is it stuck?\" together with adsync_waiting",
	}.made()
	parkedUntil = family{
		name: "adsync_parked_until_timestamp_seconds", kind: gauge, per: true, labels: []string{"reason"}, merge: most, unit: "seconds since 1970",
		help: "Until when the connection is parked, and what for: quota, outage, auth, failed, busy or other. Absent while it is not.",
		use:  "alert on refused credentials; see who waits for a daily quota",
	}.made()
	campaigns = family{
		name: "adsync_campaigns", kind: gauge, per: true, merge: sum, unit: "records",
		help: "Campaigns in the database that are not marked as removed.",
		use:  "size of a client; a sudden fall is worth a look",
	}.made()
	tokenExpires = family{
		name: "adsync_token_expires_timestamp_seconds", kind: gauge, per: true, merge: least, unit: "seconds since 1970",
		help: "When the connection can no longer get a token by itself, so that somebody has to authorise adsync again. Absent where no such end is known.",
		use:  "alert a week ahead; the log warns 7, 3 and 1 days before",
	}.made()
	versionSunset = family{
		name: "adsync_api_version_sunset_timestamp_seconds", kind: gauge, per: true, merge: least, unit: "seconds since 1970",
		help: "When the version of the platform's API that the connection asks for is switched off. Absent where no such day is known.",
		use:  "alert sixty days ahead; `adsync check` and each run's log warn too",
	}.made()
	openFailures = family{
		name: "adsync_open_failures", kind: gauge, per: true, merge: sum, unit: "records",
		help: "Records that failed for good and have not succeeded since, as the database has them.",
		use:  "alert on failures that pile up; `adsync failures list` names them",
	}.made()
)

// What this process does with a connection. Absent until it has worked on it: sum over processes.
var (
	waiting = family{
		name: "adsync_waiting", kind: gauge, per: true, labels: []string{"reason"}, merge: sum, unit: "0 or 1",
		help: "Whether a run of the connection waits, and for what: quota, server, circuit, busy or worker.",
		use:  "\"is it stuck?\": no, and this is why",
	}.made()
	pending = family{
		name: "adsync_pending", kind: gauge, per: true, merge: sum, unit: "records",
		help: "Records of the run now going that were listed and wait for their own call.",
		use:  "how much a run still has to do",
	}.made()
	quotaUsed = family{
		name: "adsync_quota_used", kind: gauge, per: true, labels: []string{"bucket"}, merge: most, unit: "requests",
		help: "Requests in the quota's window as the last request left it; 0 once the window has passed without another.",
		use:  "how near a quota is to its limit",
	}.made()
	quotaLimit = family{
		name: "adsync_quota_limit", kind: gauge, per: true, labels: []string{"bucket"}, merge: least, unit: "requests",
		help: "Requests that the quota allows in its window, as tightened by what the platform says.",
		use:  "used divided by limit; a fall means that somebody else uses the quota",
	}.made()
	quotaWindow = family{
		name: "adsync_quota_window_seconds", kind: gauge, per: true, labels: []string{"bucket"}, merge: most, unit: "seconds",
		help: "Length of the quota's window.",
		use:  "what used and limit are about",
	}.made()
	quotaNextFree = family{
		name: "adsync_quota_next_free_seconds", kind: gauge, per: true, labels: []string{"bucket"}, merge: most, unit: "seconds",
		help: "Time until the quota has its next free slot; 0: there is one.",
		use:  "how long a request would wait",
	}.made()

	runs = family{
		name: "adsync_runs_total", kind: counter, per: true, labels: []string{"outcome"}, unit: "runs",
		help: "Lives of runs that ended, by outcome: complete, partial, failed or interrupted.",
		use:  "alert on a failure rate",
	}.made()
	listed = family{
		name: "adsync_listed_total", kind: counter, per: true, unit: "records",
		help: "Records that the platform listed.", use: "throughput; a sudden fall is a platform that lists less",
	}.made()
	synced = family{
		name: "adsync_synced_total", kind: counter, per: true, unit: "records",
		help: "Records brought in step.", use: "throughput",
	}.made()
	unchanged = family{
		name: "adsync_unchanged_total", kind: counter, per: true, unit: "records",
		help: "Records brought in step that had not changed: a part of adsync_synced_total.", use: "how much of the work brings news",
	}.made()
	failed = family{
		name: "adsync_failed_total", kind: counter, per: true, unit: "records",
		help: "Records that failed in a run and are kept for retry.", use: "share of records that fail",
	}.made()
	removed = family{
		name: "adsync_removed_total", kind: counter, per: true, unit: "records",
		help: "Records marked as removed because a complete listing no longer had them.", use: "a sudden rise is worth a look at the platform",
	}.made()
	pages = family{
		name: "adsync_pages_total", kind: counter, per: true, unit: "pages",
		help: "Pages listed and committed.", use: "whether a listing moves on",
	}.made()
	requests = family{
		name: "adsync_requests_total", kind: counter, per: true, unit: "requests",
		help: "Requests sent, token requests apart.", use: "what a client costs of its quota",
	}.made()
	throttled = family{
		name: "adsync_throttled_total", kind: counter, per: true, unit: "answers",
		help: "Answers that refused a request for quota.", use: "should stay flat: a rise means that somebody else uses the quota",
	}.made()
	retries = family{
		name: "adsync_retries_total", kind: counter, per: true, labels: []string{"class"}, unit: "requests",
		help: "Requests sent again, by class of the failure before.", use: "alert on a platform that answers badly",
	}.made()
	waited = family{
		name: "adsync_waited_seconds_total", kind: counter, per: true, labels: []string{"reason"}, unit: "seconds",
		help: "Time during which the connection waited, by reason; waits that go on count up to now, waits under a second do not.",
		use:  "where the time went; rate() near 1 is a connection that does nothing but wait",
	}.made()
	findings = family{
		name: "adsync_findings_total", kind: counter, per: true, labels: []string{"code"}, unit: "findings",
		help: "Warnings of runs by code, such as total_disagrees, list_moved, never_ends, page_echo, rejected or quota_shared.",
		use:  "alert when a platform's totals disagree with what it lists",
	}.made()
)

// What this process does, over all connections.
var (
	attemptSeconds = family{
		name: "adsync_attempt_duration_seconds", kind: histogram, labels: []string{"platform", "endpoint", "status"}, unit: "seconds", bounds: attemptBounds,
		help: "Latency of single attempts to the platforms' APIs, by class of the status: 2xx to 5xx, none without an answer.",
		use:  "latency of an API as adsync sees it, waits for quota and back-off not included",
	}.made()
	attempts = family{
		name: "adsync_attempts_total", kind: counter, labels: []string{"platform", "endpoint", "class"}, unit: "attempts",
		help: "Attempts, token requests among them, by what became of them: ok or a class of errors.",
		use:  "error rate of an API",
	}.made()
	requestSeconds = family{
		name: "adsync_request_duration_seconds", kind: histogram, labels: []string{"platform", "endpoint", "outcome"}, unit: "seconds", bounds: requestBounds,
		help: "Duration of whole requests with all attempts and waits, by outcome: ok, failed or stopped.",
		use:  "what a request costs in time, compared with adsync_attempt_duration_seconds: how much of it is waiting",
	}.made()
	runSeconds = family{
		name: "adsync_run_duration_seconds", kind: histogram, labels: []string{"platform", "outcome"}, unit: "seconds", bounds: runBounds,
		help: "Duration of runs over all their lives.", use: "whether runs still fit between their schedules",
	}.made()
	recordsFailed = family{
		name: "adsync_record_failures_total", kind: counter, labels: []string{"platform", "class"}, unit: "records",
		help: "Records that failed for good in a run, by class.", use: "what records fail of",
	}.made()
	tokens = family{
		name: "adsync_token_renewals_total", kind: counter, labels: []string{"platform", "reason"}, unit: "tokens",
		help: "Tokens fetched: the first one, ahead of the end of the last, or because the last was refused.",
		use:  "a rise of refused is a platform that ends tokens early, or credentials shared with others",
	}.made()
	circuitOpen = family{
		name: "adsync_circuit_open", kind: gauge, labels: []string{"host"}, unit: "0 or 1",
		help: "Whether a host is taken to be down: only probes are sent to it.", use: "alert on an outage of a platform",
	}.made()
	circuitOpened = family{
		name: "adsync_circuit_opened_total", kind: counter, labels: []string{"host"}, unit: "outages",
		help: "Outages that began.", use: "a platform that comes and goes",
	}.made()
	storeSeconds = family{
		name: "adsync_store_duration_seconds", kind: histogram, labels: []string{"op"}, unit: "seconds", bounds: storeBounds,
		help: "Time that operations on the database took, repetitions included.", use: "whether the database is what slows things down",
	}.made()
	storeErrors = family{
		name: "adsync_store_errors_total", kind: counter, labels: []string{"op", "kind"}, unit: "errors",
		help: "Operations on the database that failed, by kind. busy and fenced are no faults: somebody else has the connection.",
		use:  "alert on a database that cannot be reached, is full or read-only",
	}.made()
	connections = family{
		name: "adsync_connections", kind: gauge, labels: []string{"platform", "state"}, unit: "connections",
		help: "Connections by state: running, parked or idle, as all processes have them.", use: "the fleet at a glance",
	}.made()
	parkedConnections = family{
		name: "adsync_parked_connections", kind: gauge, labels: []string{"platform", "reason"}, unit: "connections",
		help: "Parked connections by reason.", use: "trouble that many share: an app's quota, a platform's outage",
	}.made()
	staleConnections = family{
		name: "adsync_stale_connections", kind: gauge, labels: []string{"platform"}, unit: "connections",
		help: "Connections without a complete run for three intervals of their schedule, ten minutes at least, or never complete for as long.",
		use:  "the alert on stale data where connections are too many for series of their own",
	}.made()
	jobs = family{
		name: "adsync_queue_jobs", kind: gauge, labels: []string{"state"}, unit: "jobs",
		help: "Jobs in the queue by state: queued, running, parked.", use: "queued jobs that pile up want more workers",
	}.made()
	workers = family{
		name: "adsync_workers", kind: gauge, unit: "processes",
		help: "Worker processes that share the database and are alive, this one included.", use: "alert on a worker that is missing",
	}.made()
	workerRuns = family{
		name: "adsync_worker_runs", kind: gauge, unit: "runs",
		help: "Runs that this process has going.", use: "how the work is shared",
	}.made()
	readAge = family{
		name: "adsync_source_age_seconds", kind: gauge, labels: []string{"source"}, unit: "seconds",
		help: "Time since the gauges that come from elsewhere (database, queue) were last read.", use: "whether the gauges can be believed",
	}.made()
	readErrors = family{
		name: "adsync_source_errors_total", kind: counter, labels: []string{"source"}, unit: "errors",
		help: "Readings for gauges that failed.", use: "why the gauges stand still",
	}.made()
	detail = family{
		name: "adsync_connection_detail", kind: gauge, unit: "0 or 1",
		help: "Whether connections have series of their own; above the limit they are summed up by platform, without client and connection.",
		use:  "why a panel by client is empty",
	}.made()
	overflow = family{
		name: "adsync_labels_overflowed_total", kind: counter, labels: []string{"label"}, unit: "events",
		help: "Events counted under \"other\" because a label had too many values.", use: "should be 0",
	}.made()
	buildInfo = family{
		name: "adsync_build_info", kind: gauge, labels: []string{"version", "go_version"}, unit: "1",
		help: "Always 1; the labels say what is running.", use: "which processes still run an older version",
	}.made()
)

// families are all of them, in the order of the page.
var families = []struct {
	title, text string
	all         []*family
}{
	{
		"State of a connection",
		"Every process shows these for every connection of the configuration: what it works on itself as it happens, the rest as the database has it (read at most every 15 seconds). " +
			"`max by (client, connection) (…)` is the truth, however many processes are scraped.",
		[]*family{lastSuccess, freshness, dataAge, scheduleInterval, seenSince, running, parkedUntil, campaigns, openFailures, tokenExpires, versionSunset},
	},
	{
		"Work on a connection",
		"A process shows these for connections that it has worked on since it started. `sum by (client, connection) (rate(…[5m]))` adds up the processes.",
		[]*family{
			runs, listed, synced, unchanged, failed, removed, pages, pending, requests, throttled, retries, waiting, waited, findings,
			quotaUsed, quotaLimit, quotaWindow, quotaNextFree,
		},
	},
	{
		"Platforms",
		"What this process sees of the platforms' APIs.",
		[]*family{attemptSeconds, attempts, requestSeconds, runSeconds, recordsFailed, tokens, circuitOpen, circuitOpened},
	},
	{
		"The process and what it shares",
		"",
		[]*family{
			connections, parkedConnections, staleConnections, jobs, workers, workerRuns, storeSeconds, storeErrors, readAge, readErrors, detail, overflow, buildInfo,
		},
	},
}
