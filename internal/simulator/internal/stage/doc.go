// Package stage is what the simulators of Meta and Google Ads stand on: the way of a request, faults by name or by rule, statistics, the
// simulator's own pages, tricks with connections, and quotas in sliding windows. What a platform says is the platforms' own business.
//
// It imports only dice of adsync. All waiting is by timers and contexts, never under a lock, so that everything runs in virtual time
// under testing/synctest as well as on a real listener.
package stage
