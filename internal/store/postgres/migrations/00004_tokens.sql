-- +goose Up

-- Access and refresh tokens of platforms, sealed (docs/secrets.md). id is a keyed hash of the credential; the root that it is made with is sealed too.
-- began_at stands while a renewal is under way of which no end is known.
CREATE TABLE adsync_token_root (
    id     integer PRIMARY KEY CHECK (id = 1),
    key_id text COLLATE "C" NOT NULL,
    sealed bytea NOT NULL
);

CREATE TABLE adsync_tokens (
    id          text COLLATE "C" NOT NULL PRIMARY KEY,
    platform    text NOT NULL,
    generation  bigint NOT NULL DEFAULT 0,
    key_id      text COLLATE "C",
    sealed      bytea,
    received_at timestamptz,
    holder      text COLLATE "C",
    lease_until timestamptz,
    began_at    timestamptz,
    touched_at  timestamptz NOT NULL
);

-- When a connection can no longer get a token by itself, and of which warning somebody was told: 7, 3 or 1 days ahead.
CREATE TABLE adsync_token_ends (
    client_id  text COLLATE "C" NOT NULL,
    connection text COLLATE "C" NOT NULL,
    ends_at    timestamptz NOT NULL,
    why        text NOT NULL,
    warned     integer NOT NULL DEFAULT 0,
    PRIMARY KEY (client_id, connection)
);
