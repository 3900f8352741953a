// Package e2e runs the real program as a process of its own, against the simulator and real databases, and kills it.
package e2e
