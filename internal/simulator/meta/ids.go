package meta

import (
	"strconv"
	"strings"

	"adsync/internal/simulator/internal/world"
)

// Ids are made of positions, so that no table is needed to find what they stand for. All but the accounts' are beyond 2^53 on purpose.
const (
	accountBase  = 778_800_000_000_000
	businessBase = 998_800_000_000_000
	reportBase   = 602_000_000_000_000
	userID       = "100008812345678"
	thingBase    = 120_200_000_000_000_000
	kindStep     = 10_000_000_000_000 // campaign 1, ad set 2, ad 3, creative 4
	accountStep  = 100_000_000
)

func accountID(n int) string  { return strconv.Itoa(accountBase + n) }
func businessID(n int) string { return strconv.Itoa(businessBase + n) }

func appendThingID(b []byte, kind, account, serial int) []byte {
	return strconv.AppendInt(b, thingBase+int64(kind)*kindStep+int64(account)*accountStep+int64(serial), 10)
}

type objectKind int

const (
	noObject objectKind = iota
	anAccount
	aBusiness
	aThing
	aReport
	aUser
)

// object is what an id stands for, whether it exists or not.
type object struct {
	kind    objectKind
	account int // of an account or a thing
	level   world.Level
	serial  int // of a thing, a business or a report
}

// parseID reads an id as it stands in a path. It does not say that there is such an object.
func parseID(s string) object {
	if s == "me" || s == userID {
		return object{kind: aUser}
	}
	digits, act := strings.CutPrefix(s, "act_")
	if len(digits) < 15 || len(digits) > 18 || digits[0] == '0' {
		return object{}
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return object{}
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return object{}
	}
	switch {
	case act && n > accountBase && n <= accountBase+world.MaxAccounts:
		return object{kind: anAccount, account: int(n - accountBase)}
	case act:
		return object{}
	case n > businessBase && n <= businessBase+100_000:
		return object{kind: aBusiness, serial: int(n - businessBase)}
	case n > reportBase && n < reportBase+100_000_000_000:
		return object{kind: aReport, serial: int(n - reportBase)}
	case n > thingBase && n < thingBase+4*kindStep:
		n -= thingBase
		kind := n / kindStep
		if kind < 1 {
			return object{}
		}
		n %= kindStep
		return object{kind: aThing, level: world.Level(kind), account: int(n / accountStep), serial: int(n % accountStep)}
	}
	return object{}
}
