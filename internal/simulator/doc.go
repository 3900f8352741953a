// Package simulator is a stand-in for the ad platform that adsync knows as adplatform: its token endpoint, listing, per-campaign sync,
// quota and known failures, and a catalogue of everything else that goes wrong out there, each fault playable by name or by rule.
//
// It is written to the platform's published contract and not to our client: it must import nothing of adsync except, where needed, ads,
// so that a misreading in the connector cannot hide behind the same misreading here.
//
// All chance comes from a seed, and each choice hangs on what is asked (client, endpoint, how many such requests came before) rather
// than on the order in which clients happen to arrive. All waiting is by timers and contexts, never under a lock, so that a Server
// runs in virtual time under testing/synctest as well as on a real listener.
package simulator
