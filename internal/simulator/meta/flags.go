package meta

import "time"

// Flags are the flags of adsync simulate that only this platform has, for the kong parser.
type Flags struct {
	MetaToken       []string      `name:"meta-token" sep:"none" placeholder:"TOKEN[=ACCOUNTS]" help:"Token of a system user that is accepted; repeatable. Without it a published one is."`
	RequireProof    bool          `name:"require-proof" help:"Refuse calls without appsecret_proof."`
	Businesses      int           `name:"businesses" default:"1" help:"Business portfolios that the accounts belong to."`
	Tier            string        `name:"tier" default:"full" enum:"full,limited,none" help:"Access tier, which decides the quotas: full, limited or none."`
	ScoreLimit      int64         `name:"score-limit" placeholder:"N" help:"Points an account may spend in five minutes. (by tier)"`
	InsightsLimit   int64         `name:"insights-limit" placeholder:"N" help:"Insights calls per account and hour. (by tier)"`
	ManagementLimit int64         `name:"management-limit" placeholder:"N" help:"Other calls per account and hour. (by tier)"`
	AppLimit        int64         `name:"app-limit" placeholder:"N" help:"Calls of the app per hour. (none)"`
	MaxJobs         int           `name:"max-jobs" placeholder:"N" help:"Report jobs that run at once in an account. (any number)"`
	JobTime         time.Duration `name:"job-time" default:"2s" help:"How long a report job runs."`
	PageRows        int           `name:"page-rows" default:"1000" help:"A page of more rows is refused."`
	SyncRows        int           `name:"sync-rows" default:"50000" help:"Insights of more rows need a report job."`
	JobRows         int           `name:"job-rows" default:"1000000" help:"And of more rows than this, a smaller question."`
	HideDeleted     bool          `name:"hide-deleted" help:"Deleted things are on no edge; they stay readable by id."`
	OmitDeletedRows bool          `name:"omit-deleted-rows" help:"Insights leave out archived and deleted things unless filtering names their effective_status."`
}

// Config is the configuration that the flags ask for, on top of another.
func (f Flags) Config(c Config) Config {
	c.Tokens, c.RequireProof, c.Businesses, c.Tier = f.MetaToken, f.RequireProof, f.Businesses, f.Tier
	c.ScoreLimit, c.InsightsLimit, c.ManagementLimit, c.AppLimit = f.ScoreLimit, f.InsightsLimit, f.ManagementLimit, f.AppLimit
	c.MaxJobs, c.JobTime, c.PageRows, c.SyncRows, c.JobRows = f.MaxJobs, f.JobTime, f.PageRows, f.SyncRows, f.JobRows
	c.HideDeleted, c.OmitDeletedRows = f.HideDeleted, f.OmitDeletedRows
	return c
}
