-- +goose Up

-- Connections that somebody has paused.
ALTER TABLE adsync_locks ADD COLUMN paused_at TEXT;
ALTER TABLE adsync_locks ADD COLUMN paused_by TEXT;
CREATE INDEX adsync_locks_paused ON adsync_locks (client_id, connection) WHERE paused_at IS NOT NULL;

-- What people and programs have asked for, and what became of it.
CREATE TABLE adsync_audit (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at         TEXT NOT NULL,
    who        TEXT NOT NULL,
    remote     TEXT NOT NULL,
    action     TEXT NOT NULL,
    client_id  TEXT NOT NULL,
    connection TEXT NOT NULL,
    detail     TEXT NOT NULL,
    result     TEXT NOT NULL
) STRICT;
CREATE INDEX adsync_audit_at ON adsync_audit (at);

-- Troubles that somebody outside has been told of, or is about to be.
CREATE TABLE adsync_notices (
    client_id     TEXT NOT NULL,
    connection    TEXT NOT NULL,
    trouble       TEXT NOT NULL,
    reason        TEXT NOT NULL,
    since         TEXT NOT NULL,
    ended_at      TEXT,
    told_at       TEXT,
    tries         INTEGER NOT NULL,
    claimed_by    TEXT,
    claimed_until TEXT,
    PRIMARY KEY (client_id, connection, trouble)
) STRICT, WITHOUT ROWID;
