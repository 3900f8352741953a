//go:build !nogcp

package vaults

import (
	"adsync/internal/config"
	"adsync/internal/vaults/internal/google"
	"adsync/internal/vaults/internal/source"
)

var openGoogle = func(s config.Secrets) source.Store { return google.New(s) }
