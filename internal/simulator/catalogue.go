package simulator

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// catalogue is filled by an explicit list, section by section, because the general faults name others.
var catalogue []Fault

func init() {
	catalogue = slices.Concat(generalFaults(), authFaults(), quotaFaults(), transportFaults(), payloadFaults(), recordFaults(), pagingFaults(), syncFaults())
}

const (
	anyOnce   = "endpoint=list,on=2,times=1" // the second listing request; a client meets it once
	always    = "endpoint=list"
	oneRecord = "id=campaign_7"
	oneSync   = "endpoint=sync,id=campaign_7"
)

func by(help, def string) Param { return Param{Name: "by", Default: def, Help: help, kind: duration} }

// generalFaults are those that say what to do and leave it to the selectors when.
func generalFaults() []Fault {
	return []Fault{
		{
			Name: "rule", Section: "general", Help: "any fault, or an HTTP status, by rule: rule:endpoint=list,on=3,times=2,do=503",
			Params: []Param{{Name: "do", Default: "503", Help: "a status from 400 to 599, or the name of any other fault; further parameters go to it"}},
			hooks:  hooks{expand: expandRule},
		},
		{
			Name: "status", Section: "general", Help: "an error status with a JSON body", Default: anyOnce,
			Params: []Param{{Name: "code", Default: "503", Help: "from 400 to 599", kind: number}},
			hooks: hooks{instead: func(_ *call, f *activeFault) *reply {
				code := int(f.num("code"))
				if code < 400 || code > 599 {
					code = http.StatusInternalServerError
				}
				return failure(code, statusText(code), "Please try again")
			}},
		},
		{
			Name: "slow", Section: "general", Help: "the answer comes so much later", Default: "endpoint=api",
			Params: []Param{by("how much", "1s")},
			hooks: hooks{instead: func(c *call, f *activeFault) *reply {
				if !c.wait(f.dur("by")) {
					return gone
				}
				return nil
			}},
		},
		{
			Name: "throttle", Numbers: []int{37}, Section: "general", Help: "refused for quota as the platform does it: 429, a constant in the body", Default: "endpoint=api,on=5,times=1",
			Params: []Param{refusedFor("5s")},
			hooks: hooks{refuse: func(c *call, _ *activeFault, wait time.Duration) (*reply, time.Duration) {
				return plainRefusal(c, wait)
			}},
		},
		{
			Name: "mixture", Numbers: []int{58}, Section: "general", Help: "a bit of everything that passes, by chance",
			Params: []Param{
				{Name: "p", Default: "0.2", Help: "share of requests that meet something"},
				{Name: "do", Default: "", Help: "the faults to choose from, with |; empty: a set that a run must survive"},
			},
			hooks: hooks{expand: expandMixture},
		},
	}
}

// passing are faults that a second try survives and that cost no time-out.
var passing = []string{
	"reset-before-headers", "reset-mid-body", "chunked-no-end", "length-long", "close-after-each", "bad-gateway-html", "html-200", "empty-200",
	"cut-json", "data-null", "retry-after-seconds", "token-dies", "close-silently", "slow",
}

func expandRule(s Spec) ([]string, error) {
	do := s.Values["do"]
	if do == "" {
		do = "503"
	}
	vals := maps.Clone(s.Values)
	delete(vals, "do")
	if code, err := strconv.Atoi(do); err == nil {
		if code < 400 || code > 599 {
			return nil, fmt.Errorf("do=%s: want a status from 400 to 599", do)
		}
		do = "status"
		if code == http.StatusTooManyRequests {
			do = "throttle"
		} else {
			vals["code"] = strconv.Itoa(code)
		}
	}
	switch do {
	case "hang", "rule", "mixture":
		if do != "hang" {
			return nil, fmt.Errorf("do=%s: name a fault of one kind", do)
		}
	case "reset":
		do = "reset-before-headers"
	}
	// A rule plays wherever its own selectors say: what the fault would choose by itself is set aside.
	def := find(do)
	if def == nil {
		return nil, fmt.Errorf("do=%s: there is no such fault%s", do, nearest(do))
	}
	for _, k := range []string{"endpoint", "times"} {
		if _, given := vals[k]; !given && strings.Contains(def.Default, k+"=") {
			vals[k] = map[string]string{"endpoint": "any", "times": "0"}[k]
			if k == "endpoint" {
				vals[k] = "api"
			}
		}
	}
	if !slices.ContainsFunc(whichKeys, func(k string) bool { return vals[k] != "" }) {
		vals["on"] = "1-"
	}
	return []string{joinSpec(do, vals)}, nil
}

func joinSpec(name string, vals map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(vals)) {
		parts = append(parts, k+"="+vals[k])
	}
	if parts == nil {
		return name
	}
	return name + ":" + strings.Join(parts, ",")
}

func expandMixture(s Spec) ([]string, error) {
	names := passing
	if do := s.Values["do"]; do != "" {
		names = strings.Split(do, "|")
	}
	p := 0.2
	if v, given := s.Values["p"]; given {
		var err error
		if p, err = strconv.ParseFloat(v, 64); err != nil || !(p >= 0 && p <= 1) {
			return nil, fmt.Errorf("p=%s: want a probability from 0 to 1", v)
		}
	}
	vals := maps.Clone(s.Values)
	delete(vals, "do")
	var out []string
	for _, name := range names {
		def := find(name)
		if def == nil || def.expand != nil {
			return nil, fmt.Errorf("do: %q is not a fault of one kind%s", name, nearest(name))
		}
		part := maps.Clone(vals)
		part["p"] = strconv.FormatFloat(p/float64(len(names)), 'g', -1, 64)
		if _, given := part["endpoint"]; !given && def.refuse == nil && def.token == nil && def.page == nil && def.plan == nil && def.row == nil {
			part["endpoint"] = "api"
		}
		switch name {
		case "token-dies":
			part["p"], part["after"] = "1", "15" // every token, after 15 requests
		case "retry-after-seconds":
			part["wait"] = "1s"
		case "slow":
			part["by"] = "200ms"
		}
		out = append(out, joinSpec(name, part))
	}
	return out, nil
}

func statusText(code int) string {
	if t := http.StatusText(code); t != "" {
		return t
	}
	return "Error " + strconv.Itoa(code)
}
