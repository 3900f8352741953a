// Package config reads what to sync: a file, the environment, a .env file. It gives one typed Config, or every mistake at once, each with
// its place, its value and a cure.
//
// What a connection can be told is data: the tables of fields.go. Validation, the JSON Schema for editors and docs/configuration.md are
// made from them, so a new platform adds a table and nothing else here.
//
// A secret never shows: not in a Problem, not in a Note, not in what %v prints of a Config.
//
// It imports ads, quota, secret and tokens only. It opens no connection and writes no file but the one that WriteNew is asked for.
package config
