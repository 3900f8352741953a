//go:build !novault

package vaults

import (
	"adsync/internal/config"
	"adsync/internal/vaults/internal/hashicorp"
	"adsync/internal/vaults/internal/source"
)

var openVault = func(s config.Secrets) source.Store { return hashicorp.New(s) }
