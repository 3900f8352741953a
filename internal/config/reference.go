package config

import (
	"fmt"
	"strings"
)

// Reference is docs/configuration.md: every key and every variable, from the tables that Load works by.
func Reference() []byte {
	var b strings.Builder
	b.WriteString(referenceHead)
	b.WriteString("\n## The file\n\n")
	b.WriteString("```yaml\n" + template + "```\n\n")
	b.WriteString("### At the top\n\n")
	table(&b, rootFields)
	b.WriteString("\n### Stores of secrets\n\nBelow `secrets:`; none of it is needed where the stores' own variables say it. [secrets.md](secrets.md) has an example for each store.\n\n")
	table(&b, secretFields)
	b.WriteString("\n### The dashboard\n\nBelow `web:`.\n\n")
	table(&b, webFields)
	b.WriteString("\n### Notifications\n\nBelow `notify:`. [operating.md](operating.md#notifications) says what is told, and when.\n\n")
	table(&b, notifyFields)
	b.WriteString("\n### A client\n\n")
	table(&b, clientFields)
	b.WriteString("\n### A connection\n\n")
	table(&b, connectionFields)
	for _, p := range Platforms() {
		fmt.Fprintf(&b, "\n#### `platform: %s` (%s)\n\n", p.Name, p.Title)
		table(&b, p.Fields)
	}
	b.WriteString(referenceForms)
	b.WriteString("\n## Without a file\n\n")
	b.WriteString(strings.ReplaceAll(referenceEnvironment, "{client}", DefaultClient))
	b.WriteString("\n| variable | default | is | means |\n|---|---|---|---|\n")
	for _, f := range adplatform().Fields {
		if f.Env == "" {
			continue
		}
		def := "`" + f.Default + "`"
		switch {
		case f.Required:
			def = "needed"
		case f.Implied != "":
			def = f.Implied
			if _, here, differs := strings.Cut(f.Implied, "; by environment: "); differs {
				def = here
			}
		}
		allowed := f.Allowed
		if f.Secret {
			allowed = "text, taken as it is"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Env, def, cell(allowed), cell(f.Help))
	}
	b.WriteString(referenceDatabase)
	return []byte(b.String())
}

func table(b *strings.Builder, fields []Field) {
	b.WriteString("| key | default | is | means | for example |\n|---|---|---|---|---|\n")
	for _, f := range fields {
		def := "–"
		switch {
		case f.Required:
			def = "needed"
		case f.Default != "":
			def = "`" + f.Default + "`"
		case f.Implied != "":
			def = f.Implied
		}
		example := ""
		if f.Example != "" {
			example = "`" + cell(f.Example) + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", f.Name, def, cell(f.Allowed), cell(f.Help), example)
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

const referenceHead = `# Configuration

This page is written by ` + "`go test ./internal/config -update`" + ` from the tables that the program itself works by.

adsync reads one file, ` + "`adsync.yaml`" + ` in the working directory or the one that ` + "`--config`" + ` names. Where there is none, variables of the environment describe one client.
` + "`adsync init`" + ` writes a file to start from, ` + "`adsync init --schema`" + ` its JSON Schema for editors, and ` + "`adsync check --offline`" + ` says everything that is wrong with it at once:
place, value and cure. A mistake means exit code 2: nothing was sent and nothing was written.

Variables come from the real environment and from ` + "`.env`" + ` in the working directory (` + "`--env-file`" + ` names another); the real environment wins, also where it sets a variable to nothing.
`

const referenceForms = `
### How values are written

- **Variables**: ` + "`${NAME}`" + ` anywhere in a value is the variable's value, ` + "`${NAME:-default}`" + ` has something to fall back on where it is not set or empty, and ` + "`$${`" + ` is a plain ` + "`${`" + `.
  They are filled in after the file was read: what a variable holds cannot change the file's structure, and is never filled in again.
- **Lengths of time** have a unit: ` + "`500ms`, `30s`, `5m`, `1h30m`" + `. There is no value that means "for ever".
- **Secrets** (credentials, and the database's address) may be references instead of values. Only what stands in the file is taken for a reference, never the value of a variable;
  a reference may have variables in it.

  | reference | is |
  |---|---|
  | ` + "`env:NAME`" + ` | a variable |
  | ` + "`file:PATH`" + ` | the content of a file without its last line break; a relative path begins at the configuration file's folder |
  | ` + "`vault:PATH#KEY`" + ` | HashiCorp Vault or OpenBao: the value under KEY at PATH, as the API has it: ` + "`vault:secret/data/acme#password`" + ` (KV version 2), ` + "`vault:kv/acme#password`" + ` (version 1), ` + "`vault:database/creds/ads#username`" + `. With ` + "`?version=3`" + ` behind the path an older version |
  | ` + "`aws:NAME`, `aws:NAME#KEY`" + ` | AWS Secrets Manager: the whole secret, or a key of its JSON. NAME may be an ARN; ` + "`?stage=AWSPREVIOUS` or `?version=ID`" + ` behind it name a version |
  | ` + "`gcp:projects/P/secrets/S/versions/V`, with `#KEY`" + ` | Google Secret Manager: the whole secret, or a key of its JSON. ` + "`projects/P/locations/L/…`" + ` for regional secrets; without ` + "`/versions/V`" + ` the newest; ` + "`gcp:S`" + ` in the configured project |

  What a remote store keeps is read when it is needed first, once for all who name it, and used for ` + "`secrets: cache:`" + `; when a platform refuses credentials they are read again at once. It is kept
  in memory only. A whole secret is taken without its last line break; numbers, true and false under a key are taken as they are written. ` + "`adsync check`" + ` reads every reference and names those that
  cannot be read, and what to do; with ` + "`--offline`" + ` it looks at their form alone.
- **Databases**: ` + "`sqlite:PATH`, `sqlite:///ABSOLUTE/PATH`, `postgres://user:password@host:port/name?parameters`" + ` (` + "`postgresql://`" + ` too). Special characters of a password in a URL are
  percent-encoded. With ` + "`?host=/var/run/postgresql`" + ` the server is reached by its socket. ` + "`?search_path=`" + ` names the schema.
- Anchors, aliases and merges (` + "`&x`, `*x`, `<<: *x`" + `) work; a file holds one document of at most 4 MiB.

### Warnings

A secret in clear, a file with secrets that everybody on the machine can read, a file of authorities that everybody can change, and plain http to another machine (a platform, a store of secrets, a webhook, a collector of traces) draw warnings; so do, once they show, a superuser of PostgreSQL and a dashboard without a login. With ` + "`--strict`, or `environment: production`" + ` in the file,
every warning is an error.
`

const referenceEnvironment = `These variables describe one client ` + "`{client}`" + ` on ` + "`adplatform`" + `. A configuration file makes them void, except where it names them with ` + "`${…}`" + `. Variables that are set to nothing count as not set.
`

const referenceDatabase = `| ` + "`DATABASE_URL`" + ` | – | as ` + "`database:`" + ` | Where the records go. |
| ` + "`DB_HOST`, `DB_PORT`, `DB_NAME`, `DB_USER`, `DB_PASSWORD`" + ` | port ` + "`5432`" + ` | parts of a PostgreSQL address, as they are | Used where ` + "`DATABASE_URL`" + ` is not set. A ` + "`DB_HOST`" + ` that begins with / is a socket's folder. |
| ` + "`USE_MOCK_DB`" + ` | ` + "`false`" + ` | true or false | ` + "`true`" + `: no PostgreSQL is wanted. |

The database is the first of these that applies:

1. a ` + "`DATABASE_URL`" + ` that names SQLite;
2. with ` + "`USE_MOCK_DB=true`: `sqlite:adsync.db`" + `, whatever PostgreSQL the other variables name, unless ` + "`USE_MOCK_DB`" + ` stands in ` + "`.env`" + ` only and the real environment names the PostgreSQL: the real
   environment wins over the file;
3. ` + "`DATABASE_URL`" + `, else the ` + "`DB_`" + ` variables;
4. ` + "`sqlite:adsync.db`" + `.
`
