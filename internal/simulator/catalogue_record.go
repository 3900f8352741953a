package simulator

import (
	"strconv"
	"strings"
)

// variant is one way in which a record can be wrong; the fault's kind parameter names it, and all takes them in turn by campaign.
type variant struct {
	name  string
	apply func(*record)
}

func set(key, raw string) func(*record) { return func(r *record) { r.set(key, raw) } }

// named gives the campaign a name; the number in it keeps names apart.
func named(s string) func(*record) {
	return func(r *record) { r.set("name", quote(strings.ReplaceAll(s, "#", strconv.Itoa(r.number)))) }
}

func withID(s string) func(*record) {
	return func(r *record) { r.set("id", quote(strings.ReplaceAll(s, "#", strconv.Itoa(r.number)))) }
}

func recordFaults() []Fault {
	const section = "records"
	records := func(name string, numbers []int, help, def, kind string, variants ...variant) Fault {
		f := Fault{Name: name, Numbers: numbers, Section: section, Help: help, Default: def}
		if len(variants) == 1 {
			f.row = func(_ *activeFault, r *record) { variants[0].apply(r) }
			return f
		}
		p := Param{Name: "kind", Default: kind, Help: "which way; all takes them in turn", Values: []string{"all"}}
		for _, v := range variants {
			p.Values = append(p.Values, v.name)
		}
		f.Params = []Param{p}
		f.row = func(a *activeFault, r *record) {
			kind := a.str("kind")
			if kind == "all" {
				// In turn among those chosen, not among all: every seventh would always be the same one of seven.
				variants[r.number/max(1, a.sel.every)%len(variants)].apply(r)
				return
			}
			for _, v := range variants {
				if v.name == kind {
					v.apply(r)
				}
			}
		}
		return f
	}
	const some = "every=7"
	return []Fault{
		records("dup-keys", []int{62}, "the id twice in one record, the second one another's", oneRecord, "", variant{"", func(r *record) {
			r.fields = append(r.fields, field{"id", `"campaign_evil"`}, field{"budget", "666"})
		}}),
		records("case-keys", []int{63}, "keys that differ only in case, beside the right ones", oneRecord, "", variant{"", func(r *record) {
			r.fields = append(r.fields, field{"ID", `"campaign_evil"`}, field{"Name", `"Evil"`}, field{"BUDGET", "666"}, field{"Status", `"ended"`})
		}}),
		records("numbers", []int{64}, "numbers that are not plain whole numbers", some, "all",
			variant{"string", func(r *record) { r.set("budget", `"1234.5"`); r.set("impressions", `"8432"`) }},
			variant{"point-zero", func(r *record) { r.set("budget", "12.0"); r.set("clicks", "12.0") }},
			variant{"fraction", func(r *record) { r.set("impressions", "1.5"); r.set("conversions", "1.5") }},
			variant{"null", func(r *record) { r.set("budget", "null"); r.set("clicks", "null") }},
			variant{"negative", set("budget", "-5")},
			variant{"missing", func(r *record) { r.drop("budget"); r.drop("clicks") }}),
		records("numbers-big", []int{65, 109}, "numbers at and beyond the limits of 64 bits and of floats", some, "all",
			variant{"2^53+1", set("impressions", "9007199254740993")},
			variant{"2^63-1", set("impressions", "9223372036854775807")},
			variant{"2^63", set("impressions", "9223372036854775808")},
			variant{"1e400", set("budget", "1e400")},
			variant{"budget-2^53+1", set("budget", "9007199254740993")}),
		records("id-bad", []int{67}, "an id that is none", oneRecord, "missing",
			variant{"missing", func(r *record) { r.drop("id") }},
			variant{"null", set("id", "null")},
			variant{"empty", set("id", `""`)},
			variant{"object", set("id", `{"value":"campaign_7"}`)},
			variant{"bool", set("id", "true")}),
		records("item-bad", []int{67}, "an item that is no record at all", oneRecord, "null",
			variant{"null", func(r *record) { r.whole = "null" }},
			variant{"string", func(r *record) { r.whole = `"campaign_7"` }}),
		records("id-number", []int{67}, "the id is a number", oneRecord, "", variant{"", func(r *record) { r.set("id", strconv.Itoa(r.number)) }}),
		records("id-long", []int{68}, "an id of 10,000 characters", oneRecord, "", variant{"", func(r *record) {
			r.set("id", quote("campaign_"+strconv.Itoa(r.number)+strings.Repeat("x", 10_000)))
		}}),
		records("id-nul", []int{68, 109}, "an id with NUL in it", oneRecord, "", variant{"", func(r *record) {
			r.set("id", `"campaign\u0000`+strconv.Itoa(r.number)+`"`)
		}}),
		records("id-hostile", []int{69}, "ids that are dangerous in a path or a statement; their syncs work when they are encoded", some, "all",
			variant{"slash", withID("a/b/#")},
			variant{"question", withID("a?b=#&c")},
			variant{"dots", withID("../#")},
			variant{"percent", withID("%2f%#")},
			variant{"sql", withID("'; DROP TABLE campaigns; --#")},
			variant{"space", withID(" a b+# ")},
			variant{"path", withID("../../auth/token#")}),
		records("id-dots", []int{69}, "an id of two dots, which a path swallows unless they are encoded", oneRecord, "", variant{"", withID("..")}),
		records("name-hostile", []int{70, 109, 143, 144}, "names that break out of text, tables, logs and pages", some, "all",
			variant{"emoji", named("🎯 Sommer 👩‍👩‍👧‍👦 #")},
			variant{"rtl", named("\u202eحملة الصيف\u202c #")},
			variant{"sql", named("Robert'); DROP TABLE campaigns;-- #")},
			variant{"script", named("<script>alert(#)</script>\"'><img src=x onerror=alert(1)>")},
			variant{"formula", named("=cmd|'/c calc'!A#")},
			variant{"newline", named("one\r\ntwo #\nlevel=ERROR msg=forged")},
			variant{"escape", named("\x1b[31mred\x1b[0m\x1b]0;title\x07 #")},
			variant{"long", func(r *record) { r.set("name", quote(strings.Repeat("long ", 20_000)+strconv.Itoa(r.number))) }},
			variant{"nul", func(r *record) { r.set("name", `"a\u0000b `+strconv.Itoa(r.number)+`"`) }},
			variant{"quotes", named("\"double\" 'single' `back` \\ #")},
			variant{"surrogate", func(r *record) { r.set("name", `"half \ud83d pair `+strconv.Itoa(r.number)+`"`) }}),
		records("invalid-utf8", []int{71, 109}, "a name with bytes that are no UTF-8", oneRecord, "", variant{"", func(r *record) { r.set("name", "\"caf\xe9 \xff\xfe\"") }}),
		records("dates", []int{72}, "created_at in another shape", some, "all",
			variant{"epoch", set("created_at", "1733913000")},
			variant{"epoch-ms", set("created_at", "1733913000000")},
			variant{"zero", set("created_at", `"0000-00-00T00:00:00Z"`)},
			variant{"empty", set("created_at", `""`)},
			variant{"null", set("created_at", "null")},
			variant{"year-10000", set("created_at", `"10000-01-01T00:00:00.000Z"`)},
			variant{"no-zone", set("created_at", `"2024-12-11T10:30:00"`)},
			variant{"offset", set("created_at", `"2024-12-11T10:30:00.000+05:30"`)},
			variant{"missing", func(r *record) { r.drop("created_at") }}),
		records("status-unknown", []int{73}, "a status that nobody has heard of", some, "", variant{"", set("status", `"UNDER_REVIEW_2"`)}),
		records("extra-fields", []int{73}, "members that are not in the contract", some, "", variant{"", func(r *record) {
			r.fields = append(r.fields, field{"objective", `"reach"`}, field{"labels", `["a","b"]`}, field{"nested", `{"deep":{"n":1.10}}`})
		}}),
	}
}
