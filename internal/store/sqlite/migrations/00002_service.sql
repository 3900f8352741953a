-- +goose Up

-- What may be asked by a service: who is at work, until when it is to be believed, and which holder of locks it is.
CREATE TABLE adsync_workers (
    id          TEXT NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    version     TEXT NOT NULL,
    holder_id   TEXT NOT NULL,
    runs        INTEGER NOT NULL,
    started_at  TEXT NOT NULL,
    beat_at     TEXT NOT NULL,
    lease_until TEXT NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE adsync_locks ADD COLUMN wait_mark TEXT;

-- The newest complete run of a connection, without reading all that failed since.
CREATE INDEX adsync_runs_complete ON runs (client_id, connection, finished_at) WHERE outcome = 'complete';

-- The next try of each connection, without reading all that it has failed at.
CREATE INDEX adsync_failures_due ON failures (client_id, connection, next_retry_at) WHERE resolved_at IS NULL AND next_retry_at IS NOT NULL;
CREATE INDEX adsync_failures_resolved ON failures (resolved_at) WHERE resolved_at IS NOT NULL;

-- A state of adsync_items more: 3 is held, not tried in this run because its failure is not due.
