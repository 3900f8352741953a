// Package arch holds the walls of the house: which package may import which. Its test reads the arrows from the code.
// docs/architecture.md says why they are as they are.
package arch
