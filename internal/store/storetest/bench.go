package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// Sizes of a benchmark: what the engine commits at once when nothing holds it up.
const (
	benchRows  = 100_000
	benchBatch = 5000
)

// BenchRecords are records as a platform gives them, raw JSON and all.
func BenchRecords() []ads.Entity {
	records := make([]ads.Entity, benchRows)
	for i := range records {
		id := fmt.Sprint("campaign_", i+1)
		raw := fmt.Sprintf(`{"id":"%s","name":"Campaign %d","status":"active","budget":%d,"impressions":%d,"clicks":%d,"conversions":%d,"created_at":"2024-12-11T10:30:00.000Z"}`,
			id, i+1, 1000+i%100*100, i*37%10_000, i*7%500, i%20)
		records[i] = ads.Entity{
			ID: id, Name: fmt.Sprint("Campaign ", i+1), Status: ads.StatusActive, PlatformStatus: "active", Budget: ads.Some(ads.Micros(1000+i%100*100) * 1_000_000),
			Impressions: ads.Some(int64(i * 37 % 10_000)), Clicks: ads.Some(int64(i * 7 % 500)), Conversions: ads.Some(ads.Decimal{Coef: int64(i % 20)}),
			CreatedAt: ads.Some(base), Raw: []byte(raw),
		}
	}
	return records
}

// Bench measures the first load and a second one of the same records, each beside the limit: bare does the same by the shortest way there is,
// on a table of its own, and says nothing of what it did.
func Bench(b *testing.B, fresh func(b *testing.B) (db Database, bare func(stamp time.Time, batch []ads.Entity) error)) {
	records := BenchRecords()
	var limits, takes [2]time.Duration
	for range b.N {
		db, bare := fresh(b)
		s := openRaw(b, db)
		if _, err := s.Migrate(testContext(b)); err != nil {
			b.Fatal(err)
		}
		for i := range limits {
			stamp := at(10 + i)
			begin := time.Now()
			for lo := 0; lo < len(records); lo += benchBatch {
				if err := bare(stamp, records[lo:lo+benchBatch]); err != nil {
					b.Fatal(err)
				}
			}
			limits[i] += time.Since(begin)
		}
		for i := range takes {
			l, err := s.Acquire(testContext(b), acme)
			if err != nil {
				b.Fatal(err)
			}
			run, err := s.OpenRun(testContext(b), l, newRun(fmt.Sprint("bench ", i), at(100*i)))
			if err != nil {
				b.Fatal(err)
			}
			x := &session{t: b, s: s, lease: l, run: run}
			begin := time.Now()
			for lo := 0; lo < len(records); lo += benchBatch {
				listed := x.listedDirect(records[lo : lo+benchBatch]...)
				listed.AllMaybeSeen = false
				res := x.commit(store.Commit{Stamp: run.StartedAt.Add(time.Duration(lo) * time.Microsecond), Listed: listed})
				if want := (store.Result{Written: benchBatch, Unchanged: int64(i * benchBatch)}); res != want {
					b.Fatalf("got %+v, want %+v", res, want)
				}
			}
			takes[i] += time.Since(begin)
			x.finish(ads.Complete, run.StartedAt.Add(time.Minute))
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	for i, name := range []string{"first", "again"} {
		b.ReportMetric(float64(benchRows*b.N)/takes[i].Seconds(), name+"-rows/s")
		b.ReportMetric(limits[i].Seconds()/takes[i].Seconds(), name+"-ratio")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchQuota measures updates of one hot bucket and of many, by twelve workers.
func BenchQuota(b *testing.B, fresh func(b *testing.B) Database) {
	for _, tt := range []struct {
		name    string
		buckets int
	}{{"one bucket", 1}, {"many buckets", 64}} {
		b.Run(tt.name, func(b *testing.B) {
			s := open(b, fresh(b))
			ctx := testContext(b)
			var next atomic.Int64
			b.SetParallelism(6) // times two processors
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					bucket := fmt.Sprint("bucket ", next.Add(1)%int64(tt.buckets))
					if err := s.UpdateQuota(ctx, bucket, add); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}
