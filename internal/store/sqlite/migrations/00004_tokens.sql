-- +goose Up

-- Access and refresh tokens of platforms, sealed (docs/secrets.md). id is a keyed hash of the credential; the root that it is made with is sealed too.
-- began_at stands while a renewal is under way of which no end is known.
CREATE TABLE adsync_token_root (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE adsync_tokens (
    id          TEXT NOT NULL PRIMARY KEY,
    platform    TEXT NOT NULL,
    generation  INTEGER NOT NULL DEFAULT 0,
    key_id      TEXT,
    sealed      BLOB,
    received_at TEXT,
    holder      TEXT,
    lease_until TEXT,
    began_at    TEXT,
    touched_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- When a connection can no longer get a token by itself, and of which warning somebody was told: 7, 3 or 1 days ahead.
CREATE TABLE adsync_token_ends (
    client_id  TEXT NOT NULL,
    connection TEXT NOT NULL,
    ends_at    TEXT NOT NULL,
    why        TEXT NOT NULL,
    warned     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (client_id, connection)
) STRICT, WITHOUT ROWID;
