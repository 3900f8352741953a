//go:build !unix

package sqlite_test

func limitChild() bool { return false }
