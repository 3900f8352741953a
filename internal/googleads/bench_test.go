package googleads

import (
	"bytes"
	"fmt"
	"testing"

	"adsync/internal/ads"
)

// BenchmarkFigures reads a page of 10,000 rows of ads' figures, as large as the platform makes them.
func BenchmarkFigures(b *testing.B) {
	var body bytes.Buffer
	body.WriteString(`{"results":[`)
	for i := range 10_000 {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"customer":{"id":"4445556666"},"campaign":{"id":"2000%d"},"adGroup":{"id":"15000%d"},"adGroupAd":{"ad":{"id":"60000%d"}},"metrics":{"impressions":"%d","clicks":"%d","costMicros":"%d","conversions":%d.25,"conversionsValue":%d.5,"allConversions":%d.5,"allConversionsValue":%d.75,"viewThroughConversions":"3","interactions":"%d","videoTrueviewViews":"0"},"segments":{"date":"2026-11-%02d"}}`,
			i%40, i%400, i, i*7, i, i*12345, i%9, i%300, i%9, i%300, i, 1+i%14)
	}
	body.WriteString(`],"nextPageToken":"CJ3a","fieldMask":"campaign.id"}`)
	reply := text(200, body.String())
	s := slice(ads.LevelAd, "")
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		p, err := parsePage(reply)
		if err != nil {
			b.Fatal(err)
		}
		rows, _, err := figures(s, p)
		if err != nil || len(rows) != 10_000 {
			b.Fatal(len(rows), err)
		}
	}
}

// BenchmarkCampaigns reads a page of 10,000 campaigns.
func BenchmarkCampaigns(b *testing.B) {
	var body bytes.Buffer
	body.WriteString(`{"results":[`)
	for i := range 10_000 {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"campaign":{"resourceName":"customers/4445556666/campaigns/2000%d","id":"2000%d","name":"Campaign %d","status":"ENABLED","primaryStatus":"LIMITED","primaryStatusReasons":["BUDGET_CONSTRAINED"],"servingStatus":"SERVING","advertisingChannelType":"SEARCH","biddingStrategyType":"TARGET_SPEND","experimentType":"BASE","startDateTime":"2026-01-15 00:00:00"},"campaignBudget":{"resourceName":"customers/4445556666/campaignBudgets/9%d","id":"9%d","amountMicros":"25000000","period":"DAILY","explicitlyShared":false}}`, i, i, i, i, i)
	}
	body.WriteString(`],"fieldMask":"campaign.id"}`)
	reply := text(200, body.String())
	tk := task(ads.StreamCampaigns, "")
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		p, err := parsePage(reply)
		if err != nil {
			b.Fatal(err)
		}
		for i, row := range p.rows {
			if r := readEntity(tk, row, 1, i+1); r.Problem != nil {
				b.Fatal(r.Problem.Message)
			}
		}
	}
}
