package meta

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"adsync/internal/simulator/internal/stage"
)

// fate is how a job ends.
type fate int

const (
	succeeds fate = iota
	fails
	skipped
	tooMuch
	stuck
)

// job is a report in the making. Times are on the platform's clock.
type job struct {
	serial          int
	q               *query
	made, from, end time.Duration
	madeAt, endAt   time.Time
	fate            fate
	percent         int64 // where a stuck one stands
}

// jobs are the reports that can still be asked for. The server's mutex guards them.
type jobs struct {
	by    map[int]*job
	order []*job
	next  int
}

const (
	maxJobs = 100_000
	// stuckFor is how long a report that gets nowhere is kept alive.
	stuckFor = time.Hour
)

func (j *jobs) init() { j.by = map[int]*job{} }

// job is the report with a serial number; nil when there is none, or no more.
func (s *Server) job(serial int) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobLocked(serial)
}

func (s *Server) jobLocked(serial int) *job {
	j := s.jobs.by[serial]
	if j == nil || s.host.Elapsed() >= j.end+s.host.Scaled(s.cfg.JobLife) {
		return nil
	}
	return j
}

func (s *Server) serveCreate(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	now := s.host.Now()
	q, e := s.query(rq, s.w.Moment(rq.obj.account, now).Today)
	if e != nil {
		return nil, e
	}
	s.restate(c, s.w.Moment(rq.obj.account, now).Today)
	j := &job{q: q, made: c.Now, madeAt: now}
	life := s.host.Scaled(s.cfg.JobTime)
	switch {
	case s.estimate(q) > s.cfg.JobRows || c.Play("job-too-much") != nil:
		j.fate = tooMuch
	case c.Play("job-failed") != nil:
		j.fate = fails
	case c.Play("job-skipped") != nil:
		j.fate = skipped
	default:
		if f := c.Play("job-stuck"); f != nil {
			j.fate, j.percent, life = stuck, f.Num("percent"), s.host.Scaled(stuckFor)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j.from = max(j.made, s.slot(q.account, j.made))
	j.end = j.from + life
	j.endAt = now.Add(j.end - j.made)
	s.jobs.next++
	j.serial = s.jobs.next
	s.jobs.by[j.serial] = j
	s.jobs.order = append(s.jobs.order, j)
	if len(s.jobs.order) > maxJobs {
		delete(s.jobs.by, s.jobs.order[0].serial)
		s.jobs.order = s.jobs.order[1:]
	}
	b := append(append([]byte(`{"report_run_id":"`), reportID(j.serial)...), `"}`...)
	return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: b}, nil
}

// slot is when an account has room for one more job. The caller holds s.mu.
func (s *Server) slot(account int, now time.Duration) time.Duration {
	if s.cfg.MaxJobs == 0 {
		return now
	}
	var ends []time.Duration
	for _, j := range s.jobs.order {
		if j.q.account == account && j.end > now {
			ends = append(ends, j.end)
		}
	}
	if len(ends) < s.cfg.MaxJobs {
		return now
	}
	slices.Sort(ends)
	return ends[len(ends)-s.cfg.MaxJobs]
}

func reportID(serial int) string { return strconv.Itoa(reportBase + serial) }

// stand is a job's status and how far it is.
func (j *job) stand(now time.Duration) (status string, percent int64) {
	switch {
	case now < j.from:
		return "Job Not Started", 0
	case now < j.end && j.fate == stuck:
		return "Job Running", j.percent
	case now < j.end:
		percent = int64((now - j.from) * 100 / (j.end - j.from))
		if percent == 0 {
			return "Job Started", 0
		}
		return "Job Running", percent
	case j.fate == succeeds:
		return "Job Completed", 100
	case j.fate == skipped:
		return "Job Skipped", 0
	}
	return "Job Failed", 0
}

var jobFields = []string{
	"id", "account_id", "time_ref", "time_completed", "async_status", "async_percent_completion", "is_running", "date_start", "date_stop",
	"error_code", "error_subcode", "error_message", "error_user_title", "error_user_msg",
}

// serveJob says how far a report is.
func (s *Server) serveJob(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	if e := rq.only("fields"); e != nil {
		return nil, e
	}
	fields, e := rq.fields()
	if e != nil {
		return nil, e
	}
	names := make([]string, 0, len(fields)+1)
	for _, f := range fields {
		if !contains(jobFields, f.name) || f.sub != nil {
			return nil, invalid("Tried accessing nonexisting field (%.60s) on node type (AdReportRun)", f.name)
		}
		names = append(names, f.name)
	}
	if len(names) == 0 {
		names = jobFields
	}
	j := s.job(rq.obj.serial)
	if j == nil || c.Play("job-not-found") != nil {
		return nil, notThere(c.R.Method, rq.segs[0])
	}
	status, percent := j.stand(c.Now)
	if f := c.On("job-early"); f != nil && status == "Job Running" && percent >= f.Num("from") && c.Play("job-early") != nil {
		status = "Job Completed"
	}
	old := false
	if n, _ := parseVersion(rq.version); n < 250 {
		old = true // the reasons of failures are told from v25.0 on
	}
	b := []byte{'{'}
	for _, name := range names {
		if name == "id" {
			continue
		}
		at := len(b)
		b = append(append(append(b, '"'), name...), `":`...)
		next, ok := j.field(b, name, status, percent, old)
		if !ok {
			b = b[:at]
			continue
		}
		b = append(next, ',')
	}
	b = append(append(append(b, `"id":"`...), reportID(j.serial)...), `"}`...)
	return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: b}, nil
}

func (j *job) field(b []byte, name, status string, percent int64, old bool) ([]byte, bool) {
	failed := status == "Job Failed" && !old
	code, sub, message, title, user := int64(-2), int64(2490547), "Report failed", "Report Failed", "Try again later"
	if j.fate == tooMuch {
		code, sub, message, title, user = int64(errTooMuch.code), int64(errTooMuch.sub), errTooMuch.message, errTooMuch.title, errTooMuch.user
	}
	switch name {
	case "account_id":
		return stage.Quote(b, accountID(j.q.account)), true
	case "time_ref":
		return strconv.AppendInt(b, j.madeAt.Unix(), 10), true
	case "time_completed":
		return strconv.AppendInt(b, j.endAt.Unix(), 10), status == "Job Completed"
	case "async_status":
		return stage.Quote(b, status), true
	case "async_percent_completion":
		return strconv.AppendInt(b, percent, 10), true
	case "is_running":
		return strconv.AppendBool(b, status == "Job Running" || status == "Job Started"), true
	case "date_start":
		return append(j.q.span.from.Append(append(b, '"')), '"'), true
	case "date_stop":
		return append(j.q.span.to.Append(append(b, '"')), '"'), true
	case "error_code":
		return strconv.AppendInt(b, code, 10), failed
	case "error_subcode":
		return strconv.AppendInt(b, sub, 10), failed
	case "error_message":
		return stage.Quote(b, message), failed
	case "error_user_title":
		return stage.Quote(b, title), failed
	case "error_user_msg":
		return stage.Quote(b, user), failed
	}
	return b, false
}

var errNotComplete = &graphError{
	code: 2601, outcome: stage.Bad, message: "(#2601) Loading Async Session: the session that is loaded is not yet complete",
}

// serveResults gives the rows of a report that is done, as they stood when it ended.
func (s *Server) serveResults(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	if rq.p.Has("summary") {
		return nil, invalid("Cannot include %.60s in summary param because they weren't there while creating the report run", rq.p.Get("summary"))
	}
	if e := rq.only("limit", "after"); e != nil {
		return nil, e
	}
	j := s.job(rq.obj.serial)
	if j == nil || c.Play("job-expired") != nil {
		return nil, notThere(c.R.Method, rq.segs[0])
	}
	if status, _ := j.stand(c.Now); status != "Job Completed" {
		return nil, errNotComplete
	}
	return s.writeReport(c, rq, j.q, s.w.Moment(j.q.account, j.endAt))
}

// jobCounts says how many report jobs there are of each status.
func (s *Server) jobCounts() map[string]int {
	now := s.host.Elapsed()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for _, j := range s.jobs.order {
		status, _ := j.stand(now)
		out[status]++
	}
	return out
}
