//go:build !noaws

package vaults

import (
	"adsync/internal/config"
	"adsync/internal/vaults/internal/amazon"
	"adsync/internal/vaults/internal/source"
)

var openAWS = func(s config.Secrets) source.Store { return amazon.New(s) }
