//go:build nogcp

package vaults

import (
	"adsync/internal/config"
	"adsync/internal/vaults/internal/source"
)

var openGoogle func(config.Secrets) source.Store
