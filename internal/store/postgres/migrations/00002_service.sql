-- +goose Up

-- What may be asked by a service of many processes: who is at work, until when it is to be believed, and which holder of locks it is.
CREATE TABLE adsync_workers (
    id          text COLLATE "C" NOT NULL PRIMARY KEY,
    name        text NOT NULL,
    version     text NOT NULL,
    holder_id   text COLLATE "C" NOT NULL,
    runs        integer NOT NULL,
    started_at  timestamptz NOT NULL,
    beat_at     timestamptz NOT NULL,
    lease_until timestamptz NOT NULL
);

ALTER TABLE adsync_locks ADD COLUMN wait_mark text;

-- The newest complete run of a connection, without reading all that failed since.
CREATE INDEX adsync_runs_complete ON runs (client_id, connection, finished_at) WHERE outcome = 'complete';

-- The next try of each connection, without reading all that it has failed at.
CREATE INDEX adsync_failures_due ON failures (client_id, connection, next_retry_at) WHERE resolved_at IS NULL AND next_retry_at IS NOT NULL;
CREATE INDEX adsync_failures_resolved ON failures (resolved_at) WHERE resolved_at IS NOT NULL;

-- A state of adsync_items more: 3 is held, not tried in this run because its failure is not due.
