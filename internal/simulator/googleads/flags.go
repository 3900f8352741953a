package googleads

// Flags are the flags of adsync simulate that only this platform has, for the kong parser.
type Flags struct {
	RefreshToken   []string `name:"refresh-token" sep:"none" placeholder:"TOKEN" help:"Refresh token that is accepted; repeatable. Without it a published one is."`
	ServiceAccount string   `name:"service-account" placeholder:"FILE" help:"Write the key file of a service account here."`
	DeveloperToken string   `name:"developer-token" placeholder:"TOKEN" help:"Refuse calls without this developer token. (the header is ignored)"`
	Managers       int      `name:"managers" default:"1" help:"Root managers that the accounts hang under; 0: all are reached directly."`
	Direct         int      `name:"direct" default:"0" help:"So many accounts, the first ones, are reached directly as well."`
	Canceled       int      `name:"canceled" default:"0" help:"So many accounts are canceled."`
	PerformanceMax bool     `name:"performance-max" help:"Every tenth campaign has neither ad groups nor ads."`
	Access         string   `name:"access" default:"standard" enum:"test,explorer,basic,standard,none" help:"Access level of the project, which decides its operations per day: test, explorer, basic, standard or none."`
	Operations     int64    `name:"operations" placeholder:"N" help:"Operations in 24 hours. (by access level)"`
	QPS            float64  `name:"qps" placeholder:"N" help:"Queries a second of one customer. (any number)"`
	SearchRows     int      `name:"search-rows" default:"10000" help:"Rows of a page."`
	StreamRows     int      `name:"stream-rows" default:"1000" help:"Rows of a stream's chunk."`
	MaxDays        int      `name:"max-days" placeholder:"N" help:"Refuse a wider range of days. (none is too wide)"`
	OmitZeros      bool     `name:"omit-zeros" help:"Leave zeros and false out of answers."`
}

// Config is the configuration that the flags ask for, on top of another.
func (f Flags) Config(c Config) Config {
	c.RefreshTokens, c.DeveloperToken = f.RefreshToken, f.DeveloperToken
	c.Managers, c.Direct, c.Canceled, c.PerformanceMax = f.Managers, f.Direct, f.Canceled, f.PerformanceMax
	c.Access, c.Operations, c.QPS = f.Access, f.Operations, f.QPS
	c.PageRows, c.StreamRows, c.MaxDays, c.OmitZeros = f.SearchRows, f.StreamRows, f.MaxDays, f.OmitZeros
	return c
}
