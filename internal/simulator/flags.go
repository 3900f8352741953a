package simulator

import (
	"errors"
	"time"
)

// Flags are the flags of adsync simulate, for the kong parser.
type Flags struct {
	Listen      string        `name:"listen" default:"localhost:3001" placeholder:"HOST:PORT" help:"Address to listen on."`
	Email       string        `name:"email" default:"user@example.com" help:"Email that the token endpoint accepts."`
	Password    string        `name:"password" default:"change-me-please" help:"Password that goes with it."`
	Client      []string      `name:"client" sep:"none" placeholder:"ID" help:"X-Client-ID that exists; repeatable. Without it any id does, and so does none."`
	Campaigns   int           `name:"campaigns" default:"100" help:"Campaigns per client."`
	Quota       string        `name:"quota" default:"10/1m" placeholder:"N/WINDOW" help:"Requests per client in any window of that length, or none."`
	TokenLife   time.Duration `name:"token-life" default:"1h" help:"How long a token is good for."`
	SyncLatency time.Duration `name:"sync-latency" default:"2s" help:"How long one per-campaign sync works."`
	ListLatency time.Duration `name:"list-latency" default:"0s" help:"How long one listing request works."`
	IdleTimeout time.Duration `name:"idle-timeout" default:"5s" help:"Close connections that were idle for so long."`
	FailRate    float64       `name:"fail-rate" default:"0.2" help:"Share of listing requests that draw a 503."`
	SilenceRate float64       `name:"silence-rate" default:"0.1" help:"Share of listing requests that are never answered."`
	MaxPageSize int           `name:"max-page-size" default:"0" help:"Largest page served; 0 honours the limit that is asked for."`
	Seed        uint64        `name:"seed" default:"1" help:"Seed of all data and all chance."`
	Static      bool          `name:"static" help:"Lifetime figures stay the same from call to call."`
	Speed       float64       `name:"speed" default:"1" help:"Divide window, latencies and token life by this factor."`
	TLS         bool          `name:"tls" help:"Speak TLS with a certificate made for the occasion."`
	TLSCA       string        `name:"tls-ca" placeholder:"FILE" help:"With --tls: write the certificate authority's PEM here."`
	Fault       []string      `name:"fault" sep:"none" placeholder:"NAME[:key=value,…]" help:"Fault to play; repeatable. --list-faults names them."`
	ListFaults  bool          `name:"list-faults" help:"Print the catalogue of faults and end."`
}

// Config is the configuration that the flags ask for; the values themselves are checked by New.
func (f Flags) Config() (Config, error) {
	quota, err := ParseQuota(f.Quota)
	if f.TLSCA != "" && !f.TLS {
		err = errors.Join(err, errors.New("simulator: --tls-ca needs --tls"))
	}
	if err != nil {
		return Config{}, err
	}
	return Config{
		Addr: f.Listen, Email: f.Email, Password: f.Password, Clients: f.Client,
		Campaigns: f.Campaigns, Quota: quota, TokenLife: f.TokenLife,
		SyncLatency: f.SyncLatency, ListLatency: f.ListLatency, IdleTimeout: f.IdleTimeout,
		ListFailRate503: f.FailRate, ListSilenceRate: f.SilenceRate,
		MaxPageSize: f.MaxPageSize, Seed: f.Seed, Static: f.Static, Speed: f.Speed,
		TLS: f.TLS, Faults: f.Fault,
	}, nil
}
