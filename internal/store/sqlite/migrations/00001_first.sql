-- +goose Up
CREATE TABLE accounts (
    client_id       TEXT NOT NULL,
    connection      TEXT NOT NULL,
    id              TEXT NOT NULL,
    platform        TEXT NOT NULL,
    name            TEXT NOT NULL,
    status          TEXT NOT NULL,
    platform_status TEXT,
    currency        TEXT,
    time_zone       TEXT,
    first_seen_at   TEXT NOT NULL,
    synced_at       TEXT NOT NULL,
    raw             TEXT,
    PRIMARY KEY (client_id, connection, id)
) STRICT;

CREATE TABLE campaigns (
    client_id           TEXT NOT NULL,
    connection          TEXT NOT NULL,
    account_id          TEXT NOT NULL,
    id                  TEXT NOT NULL,
    platform            TEXT NOT NULL,
    name                TEXT NOT NULL,
    status              TEXT NOT NULL,
    platform_status     TEXT,
    objective           TEXT,
    budget_micros       INTEGER,
    budget_period       TEXT,
    currency            TEXT,
    impressions         INTEGER,
    clicks              INTEGER,
    conversions         ANY,
    created_at          TEXT,
    platform_updated_at TEXT,
    first_seen_at       TEXT NOT NULL,
    changed_at          TEXT NOT NULL,
    synced_at           TEXT NOT NULL,
    removed_at          TEXT,
    raw                 TEXT,
    PRIMARY KEY (client_id, connection, account_id, id)
) STRICT;
CREATE INDEX adsync_campaigns_removed ON campaigns (client_id, connection) WHERE removed_at IS NOT NULL;

CREATE TABLE ad_groups (
    client_id           TEXT NOT NULL,
    connection          TEXT NOT NULL,
    account_id          TEXT NOT NULL,
    id                  TEXT NOT NULL,
    campaign_id         TEXT,
    platform            TEXT NOT NULL,
    name                TEXT NOT NULL,
    status              TEXT NOT NULL,
    platform_status     TEXT,
    objective           TEXT,
    budget_micros       INTEGER,
    budget_period       TEXT,
    currency            TEXT,
    impressions         INTEGER,
    clicks              INTEGER,
    conversions         ANY,
    created_at          TEXT,
    platform_updated_at TEXT,
    first_seen_at       TEXT NOT NULL,
    changed_at          TEXT NOT NULL,
    synced_at           TEXT NOT NULL,
    removed_at          TEXT,
    raw                 TEXT,
    PRIMARY KEY (client_id, connection, account_id, id)
) STRICT;

CREATE TABLE ads (
    client_id           TEXT NOT NULL,
    connection          TEXT NOT NULL,
    account_id          TEXT NOT NULL,
    id                  TEXT NOT NULL,
    campaign_id         TEXT,
    ad_group_id         TEXT,
    platform            TEXT NOT NULL,
    name                TEXT NOT NULL,
    status              TEXT NOT NULL,
    platform_status     TEXT,
    objective           TEXT,
    budget_micros       INTEGER,
    budget_period       TEXT,
    currency            TEXT,
    impressions         INTEGER,
    clicks              INTEGER,
    conversions         ANY,
    created_at          TEXT,
    platform_updated_at TEXT,
    first_seen_at       TEXT NOT NULL,
    changed_at          TEXT NOT NULL,
    synced_at           TEXT NOT NULL,
    removed_at          TEXT,
    raw                 TEXT,
    PRIMARY KEY (client_id, connection, account_id, id)
) STRICT;

CREATE TABLE daily_metrics (
    client_id               TEXT NOT NULL,
    connection              TEXT NOT NULL,
    account_id              TEXT NOT NULL,
    level                   TEXT NOT NULL,
    entity_id               TEXT NOT NULL,
    date                    TEXT NOT NULL,
    platform                TEXT NOT NULL,
    impressions             INTEGER,
    clicks                  INTEGER,
    spend_micros            INTEGER,
    conversions             ANY,
    conversion_value_micros INTEGER,
    currency                TEXT,
    final                   INTEGER NOT NULL DEFAULT 0,
    synced_at               TEXT NOT NULL,
    raw                     TEXT,
    PRIMARY KEY (client_id, connection, account_id, level, entity_id, date)
) STRICT;

CREATE TABLE coverage (
    client_id   TEXT NOT NULL,
    connection  TEXT NOT NULL,
    account_id  TEXT NOT NULL,
    stream      TEXT NOT NULL,
    date        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('empty', 'partial', 'provisional', 'final')),
    rows        INTEGER NOT NULL DEFAULT 0,
    verified_at TEXT,
    note        TEXT,
    PRIMARY KEY (client_id, connection, account_id, stream, date)
) STRICT;

CREATE TABLE runs (
    id             TEXT NOT NULL PRIMARY KEY,
    client_id      TEXT NOT NULL,
    connection     TEXT NOT NULL,
    trigger        TEXT NOT NULL,
    started_at     TEXT NOT NULL,
    finished_at    TEXT,
    outcome        TEXT,
    listed         INTEGER NOT NULL DEFAULT 0,
    synced         INTEGER NOT NULL DEFAULT 0,
    unchanged      INTEGER NOT NULL DEFAULT 0,
    failed         INTEGER NOT NULL DEFAULT 0,
    removed        INTEGER NOT NULL DEFAULT 0,
    pages          INTEGER NOT NULL DEFAULT 0,
    requests       INTEGER NOT NULL DEFAULT 0,
    throttled      INTEGER NOT NULL DEFAULT 0,
    retries        INTEGER NOT NULL DEFAULT 0,
    waited_seconds REAL NOT NULL DEFAULT 0,
    error          TEXT
) STRICT;
CREATE INDEX adsync_runs_by_connection ON runs (client_id, connection, started_at);
CREATE INDEX adsync_runs_by_start ON runs (started_at);

CREATE TABLE failures (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    client_id       TEXT NOT NULL,
    connection      TEXT NOT NULL,
    account_id      TEXT NOT NULL,
    stream          TEXT NOT NULL,
    entity_id       TEXT NOT NULL,
    class           TEXT NOT NULL,
    code            TEXT,
    message         TEXT NOT NULL,
    hint            TEXT,
    request_id      TEXT,
    attempts        INTEGER NOT NULL,
    first_failed_at TEXT NOT NULL,
    last_failed_at  TEXT NOT NULL,
    next_retry_at   TEXT,
    resolved_at     TEXT,
    raw             TEXT
) STRICT;
CREATE UNIQUE INDEX adsync_failures_open ON failures (client_id, connection, account_id, stream, entity_id) WHERE resolved_at IS NULL;

-- One row per connection: who may write for it, and what it waits for. last_stamp is the newest synced_at that was ever given.
CREATE TABLE adsync_locks (
    client_id   TEXT NOT NULL,
    connection  TEXT NOT NULL,
    fence       INTEGER NOT NULL,
    holder_id   TEXT,
    holder_text TEXT,
    since       TEXT,
    last_stamp  TEXT,
    wait_reason TEXT,
    wait_until  TEXT,
    PRIMARY KEY (client_id, connection)
) STRICT, WITHOUT ROWID;

-- What a run needs to go on. no is short for its id; open 1 means that it may be resumed, has_items 1 that rows of adsync_items are left.
CREATE TABLE adsync_run_state (
    no         INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id     TEXT NOT NULL UNIQUE,
    client_id  TEXT NOT NULL,
    connection TEXT NOT NULL,
    plan       TEXT NOT NULL,
    open       INTEGER NOT NULL,
    state      BLOB,
    commit_seq INTEGER NOT NULL DEFAULT 0,
    result     TEXT,
    active_us  INTEGER NOT NULL DEFAULT 0,
    has_items  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX adsync_run_state_items ON adsync_run_state (client_id, connection) WHERE has_items = 1;
CREATE UNIQUE INDEX adsync_run_state_open ON adsync_run_state (client_id, connection) WHERE open = 1;

-- Listed records that wait for their own call (state 0), have had it (1) or failed (2).
CREATE TABLE adsync_items (
    run_no              INTEGER NOT NULL,
    seq                 INTEGER NOT NULL,
    account_id          TEXT NOT NULL,
    stream              TEXT NOT NULL,
    id                  TEXT NOT NULL,
    pass                INTEGER NOT NULL,
    state               INTEGER NOT NULL DEFAULT 0,
    platform            TEXT NOT NULL,
    name                TEXT NOT NULL,
    status              TEXT NOT NULL,
    platform_status     TEXT,
    objective           TEXT,
    budget_micros       INTEGER,
    budget_period       TEXT,
    currency            TEXT,
    impressions         INTEGER,
    clicks              INTEGER,
    conversions         ANY,
    created_at          TEXT,
    platform_updated_at TEXT,
    raw                 TEXT,
    PRIMARY KEY (run_no, seq)
) STRICT;
CREATE UNIQUE INDEX adsync_items_id ON adsync_items (run_no, account_id, stream, id);

-- What a run's sweeps have marked since its figures were last stored.
CREATE TABLE adsync_sweeps (
    run_no     INTEGER NOT NULL,
    account_id TEXT NOT NULL,
    stream     TEXT NOT NULL,
    marked     INTEGER NOT NULL,
    PRIMARY KEY (run_no, account_id, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE adsync_quota (
    bucket TEXT NOT NULL PRIMARY KEY,
    state  BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE adsync_probe (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL
) STRICT;

CREATE VIEW ad_reporting_account AS
SELECT m.date AS date_day, m.platform, m.account_id, a.name AS account_name,
    m.impressions, m.clicks, m.spend_micros / 1000000.0 AS spend, m.conversions,
    m.conversion_value_micros / 1000000.0 AS conversions_value, m.currency, m.client_id, m.connection
FROM daily_metrics m
LEFT JOIN accounts a ON a.client_id = m.client_id AND a.connection = m.connection AND a.id = m.account_id
WHERE m.level = 'account';

CREATE VIEW ad_reporting_campaign AS
SELECT m.date AS date_day, m.platform, m.account_id, a.name AS account_name, m.entity_id AS campaign_id, c.name AS campaign_name,
    m.impressions, m.clicks, m.spend_micros / 1000000.0 AS spend, m.conversions,
    m.conversion_value_micros / 1000000.0 AS conversions_value, m.currency, m.client_id, m.connection
FROM daily_metrics m
LEFT JOIN accounts a ON a.client_id = m.client_id AND a.connection = m.connection AND a.id = m.account_id
LEFT JOIN campaigns c ON c.client_id = m.client_id AND c.connection = m.connection AND c.account_id = m.account_id AND c.id = m.entity_id
WHERE m.level = 'campaign';

CREATE VIEW ad_reporting_ad_group AS
SELECT m.date AS date_day, m.platform, m.account_id, a.name AS account_name, g.campaign_id, c.name AS campaign_name,
    m.entity_id AS ad_group_id, g.name AS ad_group_name,
    m.impressions, m.clicks, m.spend_micros / 1000000.0 AS spend, m.conversions,
    m.conversion_value_micros / 1000000.0 AS conversions_value, m.currency, m.client_id, m.connection
FROM daily_metrics m
LEFT JOIN accounts a ON a.client_id = m.client_id AND a.connection = m.connection AND a.id = m.account_id
LEFT JOIN ad_groups g ON g.client_id = m.client_id AND g.connection = m.connection AND g.account_id = m.account_id AND g.id = m.entity_id
LEFT JOIN campaigns c ON c.client_id = m.client_id AND c.connection = m.connection AND c.account_id = m.account_id AND c.id = g.campaign_id
WHERE m.level = 'ad_group';

CREATE VIEW ad_reporting_ad AS
SELECT m.date AS date_day, m.platform, m.account_id, a.name AS account_name, d.campaign_id, c.name AS campaign_name,
    d.ad_group_id, g.name AS ad_group_name, m.entity_id AS ad_id, d.name AS ad_name,
    m.impressions, m.clicks, m.spend_micros / 1000000.0 AS spend, m.conversions,
    m.conversion_value_micros / 1000000.0 AS conversions_value, m.currency, m.client_id, m.connection
FROM daily_metrics m
LEFT JOIN accounts a ON a.client_id = m.client_id AND a.connection = m.connection AND a.id = m.account_id
LEFT JOIN ads d ON d.client_id = m.client_id AND d.connection = m.connection AND d.account_id = m.account_id AND d.id = m.entity_id
LEFT JOIN campaigns c ON c.client_id = m.client_id AND c.connection = m.connection AND c.account_id = m.account_id AND c.id = d.campaign_id
LEFT JOIN ad_groups g ON g.client_id = m.client_id AND g.connection = m.connection AND g.account_id = m.account_id AND g.id = d.ad_group_id
WHERE m.level = 'ad';
