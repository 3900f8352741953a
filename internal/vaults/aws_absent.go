//go:build noaws

package vaults

import (
	"adsync/internal/config"
	"adsync/internal/vaults/internal/source"
)

var openAWS func(config.Secrets) source.Store
