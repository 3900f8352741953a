package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Template is the configuration file that `adsync init` writes. It loads as it is once its variables are set.
func Template() []byte { return []byte(template) }

const template = `# adsync: what is synced, and where to. All settings: docs/configuration.md; "adsync check" finds every mistake.
#
# ${NAME} is a variable of the environment or of .env; ${NAME:-default} has something to fall back on; $${ is a plain ${.

# Where the records go. For PostgreSQL: postgres://user@host:5432/name, with the password in a variable:
#   database: postgres://adsync:${DB_PASSWORD}@db.example.com:5432/ads
database: sqlite:adsync.db

# With "production", as with --strict, every warning is an error: secrets in clear, plain http, files that others can read.
# environment: production

# Settings that connections share. What a connection says itself comes first.
defaults:
  schedule: every 15m     # for "adsync serve"; or cron in UTC: "*/15 * * * *"
  # page_size: 10         # campaigns that a page is asked for
  # per_campaign_sync: true   # false: list and store only
  # timeout: 30s          # of one attempt
  # max_elapsed: 10m      # how long one request may be retried; waits for a quota are not counted
  # concurrency: auto     # requests in flight at most

clients:
  - id: acme              # of your choosing; stored with every record
    connections:
      - platform: adplatform
        url: ${ACME_URL}
        credentials:
          email: ${ACME_EMAIL}
          password: ${ACME_PASSWORD}     # or file:/run/secrets/acme, vault:secret/data/acme#password; docs/secrets.md
        quota: 10/1m                     # requests in any window of that length; several: [10/1m, 5000/1d]; none: no limit is known
        # x_client_id: acme              # the X-Client-ID; the client's id where it is not given; "": not sent

  # - id: globex
  #   connections:
  #     - platform: adplatform
  #       name: adplatform-eu            # needed where a client has two connections to one platform
  #       url: https://eu.ads.example.com
  #       credentials:
  #         email: ${GLOBEX_EMAIL}
  #         password: file:/run/secrets/globex
  #       quota: none
  #     - platform: meta                 # docs/platforms.md; "adsync auth meta" gets the token
  #       app_id: "123456789012345"
  #       credentials:
  #         access_token: ${META_ACCESS_TOKEN}
  #         app_secret: ${META_APP_SECRET}
  #       since: 2026-01-01              # the first day of daily figures
  #     - platform: google_ads           # "adsync auth google" gets the refresh token
  #       credentials:
  #         client_id: ${GOOGLE_CLIENT_ID}
  #         client_secret: ${GOOGLE_CLIENT_SECRET}
  #         refresh_token: ${GOOGLE_REFRESH_TOKEN}
  #       accounts:
  #         exclude: ["*test*"]
`

// EnvExample is the content of .env.example.
const EnvExample = `# Copy this file to .env. What the real environment sets wins over it.
# "adsync simulate" starts an ad platform that knows these credentials.
AD_PLATFORM_API_URL=http://localhost:3001
AD_PLATFORM_EMAIL=user@example.com
AD_PLATFORM_PASSWORD=change-me-please

# Optional, with what holds where they are not set:
# AD_PLATFORM_CLIENT_ID=            # the X-Client-ID; not sent
# AD_PLATFORM_QUOTA=10/1m           # requests in any window of that length; none: no limit
# AD_PLATFORM_PAGE_SIZE=10
# AD_PLATFORM_PER_CAMPAIGN_SYNC=true
# AD_PLATFORM_TIMEOUT=30s           # of one attempt
# AD_PLATFORM_MAX_ELAPSED=10m       # how long one request may be retried

# true: no PostgreSQL is wanted; the records go to sqlite:adsync.db.
USE_MOCK_DB=true

# For PostgreSQL, remove the line above and fill in these, or one DATABASE_URL.
# DB_HOST=localhost
# DB_PORT=5432
# DB_NAME=adsync
# DB_USER=adsync
# DB_PASSWORD=
# DATABASE_URL=postgres://adsync@localhost:5432/adsync
`

// ErrExists says that WriteNew found a file and left it alone.
var ErrExists = errors.New("exists already and is left as it is")

// WriteNew writes a file that only its owner can read. It never overwrites: ErrExists. A file that could not be written whole is removed.
func WriteNew(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", path, ErrExists)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
	}
	return err
}
