package config

import (
	"encoding/json"
	"slices"
	"strings"
)

// Schema is the JSON Schema of the configuration file, for editors. It is made from the same tables as the validation, and is a little
// wider: what only the whole file can tell (duplicate ids, missing settings that defaults: may give) is left to Load.
func Schema() []byte { return schema(Platforms()) }

type object = map[string]any

func schema(platforms []PlatformOptions) []byte {
	var all []Field
	seen := map[string]bool{}
	var kinds []any
	for _, p := range platforms {
		one := objectSchema(append(slices.Clone(connectionFields), p.Fields...), "platform")
		one["properties"].(object)["platform"] = object{"description": p.Title, "const": p.Name}
		kinds = append(kinds, one)
		for _, f := range p.Fields {
			if !seen[f.Name] {
				seen[f.Name] = true
				all = append(all, f)
			}
		}
	}
	client := objectSchema(clientFields, "id", "connections")
	client["properties"].(object)["connections"] = object{
		"description": byName(clientFields, "connections").Help, "type": "array", "minItems": 1, "items": object{"$ref": "#/$defs/connection"},
	}
	root := objectSchema(rootFields, "clients")
	properties := root["properties"].(object)
	defaults := objectSchema(all)
	defaults["type"] = []any{"object", "null"}
	defaults["description"] = byName(rootFields, "defaults").Help
	properties["defaults"] = defaults
	stores := objectSchema(secretFields)
	stores["type"] = []any{"object", "null"}
	stores["description"] = byName(rootFields, "secrets").Help
	properties["secrets"] = stores
	web := objectSchema(webFields)
	web["type"] = []any{"object", "null"}
	web["description"] = byName(rootFields, "web").Help
	properties["web"] = web
	notify := objectSchema(notifyFields)
	notify["type"] = []any{"object", "null"}
	notify["description"] = byName(rootFields, "notify").Help
	properties["notify"] = notify
	properties["clients"] = object{
		"description": byName(rootFields, "clients").Help, "type": "array", "minItems": 1, "items": object{"$ref": "#/$defs/client"},
	}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "adsync configuration"
	root["$defs"] = object{
		"variable":   object{"type": "string", "pattern": `\$\{`, "description": "A value with variables of the environment in it."},
		"connection": object{"anyOf": kinds},
		"client":     client,
	}
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // maps of plain values
	}
	return append(b, '\n')
}

// objectSchema is the schema of a mapping with those fields; dots in their names become mappings inside.
func objectSchema(fields []Field, required ...string) object {
	properties := object{}
	inner := map[string][]Field{}
	for _, f := range fields {
		if group, rest, ok := strings.Cut(f.Name, "."); ok {
			f.Name = rest
			inner[group] = append(inner[group], f)
			continue
		}
		properties[f.Name] = fieldSchema(f)
	}
	for group, fields := range inner {
		properties[group] = objectSchema(fields)
	}
	o := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		list := make([]any, len(required))
		for i, r := range required {
			list[i] = r
		}
		o["required"] = list
	}
	return o
}

func fieldSchema(f Field) object {
	o := object{}
	if f.Help != "" {
		o["description"] = f.Help
	}
	o["anyOf"] = []any{f.kind.schema, object{"$ref": "#/$defs/variable"}}
	if f.Default != "" {
		o["default"] = f.Default
	}
	if f.Example != "" && !strings.Contains(f.Example, "[") {
		o["examples"] = []any{strings.Trim(f.Example, `"`)}
	}
	return o
}
