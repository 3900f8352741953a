//go:build novault

package vaults

import (
	"adsync/internal/config"
	"adsync/internal/vaults/internal/source"
)

var openVault func(config.Secrets) source.Store
