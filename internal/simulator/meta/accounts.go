package meta

import (
	"net/http"
	"strconv"
	"time"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// businessOf is the business portfolio that an account belongs to; 0: none.
func (s *Server) businessOf(account int) int {
	if s.cfg.Businesses == 0 {
		return 0
	}
	return (account-1)%s.cfg.Businesses + 1
}

// client says whether an account is a client's, shared with the business, and not its own.
func client(account int) bool { return account%3 == 0 }

func businessName(n int) string { return "Agency " + strconv.Itoa(n) }

func (s *Server) accountStatus(account int) int {
	if account%50 == 49 {
		return 101 // closed, and still readable
	}
	return 1
}

// accountCreated is before anything that the account has.
func (s *Server) accountCreated() world.Day { return s.w.Options().Anchor - 1500 }

var accountFields = map[string]writer{
	"id":            text(func(v *view) string { return "act_" + accountID(v.account.Number) }),
	"account_id":    text(func(v *view) string { return accountID(v.account.Number) }),
	"name":          text(func(v *view) string { return v.account.Name }),
	"currency":      text(func(v *view) string { return v.account.Currency }),
	"timezone_name": text(func(v *view) string { return v.account.ZoneName }),
	"timezone_offset_hours_utc": func(b []byte, v *view) ([]byte, bool) {
		_, offset := v.s.host.Now().In(v.account.Zone).Zone()
		return strconv.AppendFloat(b, float64(offset)/3600, 'f', -1, 64), true
	},
	"account_status": func(b []byte, v *view) ([]byte, bool) {
		return strconv.AppendInt(b, int64(v.s.accountStatus(v.account.Number)), 10), true
	},
	"disable_reason": constant("0"),
	"amount_spent":   constant(`"1234567"`),
	"balance":        constant(`"0"`),
	"spend_cap":      constant(`"0"`),
	"created_time": moment(func(v *view) (time.Time, bool) {
		return v.s.accountCreated().Time(v.account.Zone), true
	}),
	"user_tasks": constant(`["ANALYZE"]`),
	"business": func(b []byte, v *view) ([]byte, bool) {
		n := v.s.businessOf(v.account.Number)
		if n == 0 {
			return b, false
		}
		b = append(b, `{"id":"`...)
		b = append(b, businessID(n)...)
		b = append(b, `","name":`...)
		return append(stage.Quote(b, businessName(n)), '}'), true
	},
}

func (s *Server) accountColumns(rq *request) ([]column, *graphError) {
	fields, e := rq.fields()
	if e != nil {
		return nil, e
	}
	for _, f := range fields {
		if f.name == "business" && !s.scoped("business_management") {
			return nil, errNoBusiness
		}
	}
	if len(fields) == 0 {
		fields = []wanted{{name: "account_id"}}
	}
	return columns(fields, accountFields, "AdAccount")
}

// plainFields are those of users and businesses.
var plainFields = map[string]bool{"id": true, "name": true}

func plain(b []byte, fields []wanted, id, name string) []byte {
	b = append(b, '{')
	for _, f := range fields {
		if f.name == "name" {
			b = append(b, `"name":`...)
			b = append(stage.Quote(b, name), ',')
		}
	}
	b = append(b, `"id":"`...)
	b = append(b, id...)
	return append(b, `"}`...)
}

func (rq *request) plain(node string) ([]wanted, *graphError) {
	fields, e := rq.fields()
	if e != nil {
		return nil, e
	}
	if len(fields) == 0 {
		return []wanted{{name: "name"}}, nil
	}
	for _, f := range fields {
		if !plainFields[f.name] || f.sub != nil {
			return nil, invalid("Tried accessing nonexisting field (%.60s) on node type (%s)", f.name, node)
		}
	}
	return fields, nil
}

// serveNode answers for one object.
func (s *Server) serveNode(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	if e := rq.only("fields"); e != nil {
		return nil, e
	}
	ok := func(b []byte) (*stage.Reply, *graphError) {
		return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: b, Rows: 1}, nil
	}
	switch o := rq.obj; o.kind {
	case aUser, aBusiness:
		node, id, name := "User", userID, "System User"
		if o.kind == aBusiness {
			node, id, name = "Business", businessID(o.serial), businessName(o.serial)
		}
		fields, e := rq.plain(node)
		if e != nil {
			return nil, e
		}
		return ok(plain(nil, fields, id, name))
	case anAccount:
		cols, e := s.accountColumns(rq)
		if e != nil {
			return nil, e
		}
		v := view{s: s, account: s.w.Account(o.account)}
		return ok(v.write(nil, cols))
	case aThing:
		fields, e := rq.fields()
		if e != nil {
			return nil, e
		}
		cols, e := columns(fields, thingFields[o.level], nodeType(o))
		if e != nil {
			return nil, e
		}
		v := view{s: s, account: s.w.Account(o.account), level: o.level}
		if v.goTo(o.serial) {
			return ok(v.write(nil, cols))
		}
	case aReport, noObject:
	}
	return nil, notThere(c.R.Method, rq.segs[0])
}
