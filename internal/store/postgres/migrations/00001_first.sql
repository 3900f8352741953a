-- +goose Up
CREATE TABLE accounts (
    client_id       text COLLATE "C" NOT NULL,
    connection      text COLLATE "C" NOT NULL,
    id              text COLLATE "C" NOT NULL,
    platform        text NOT NULL,
    name            text NOT NULL,
    status          text NOT NULL,
    platform_status text,
    currency        text,
    time_zone       text,
    first_seen_at   timestamptz NOT NULL,
    synced_at       timestamptz NOT NULL,
    raw             json,
    PRIMARY KEY (client_id, connection, id)
);

-- Every sync rewrites every row. Half of each page is left free for that, so that the new row lies beside the old one and no index changes.
CREATE TABLE campaigns (
    client_id           text COLLATE "C" NOT NULL,
    connection          text COLLATE "C" NOT NULL,
    account_id          text COLLATE "C" NOT NULL,
    id                  text COLLATE "C" NOT NULL,
    platform            text NOT NULL,
    name                text NOT NULL,
    status              text NOT NULL,
    platform_status     text,
    objective           text,
    budget_micros       bigint,
    budget_period       text,
    currency            text,
    impressions         bigint,
    clicks              bigint,
    conversions         numeric,
    created_at          timestamptz,
    platform_updated_at timestamptz,
    first_seen_at       timestamptz NOT NULL,
    changed_at          timestamptz NOT NULL,
    synced_at           timestamptz NOT NULL,
    removed_at          timestamptz,
    raw                 json,
    PRIMARY KEY (client_id, connection, account_id, id)
) WITH (fillfactor = 50);
CREATE INDEX adsync_campaigns_removed ON campaigns (client_id, connection) WHERE removed_at IS NOT NULL;

CREATE TABLE ad_groups (
    client_id           text COLLATE "C" NOT NULL,
    connection          text COLLATE "C" NOT NULL,
    account_id          text COLLATE "C" NOT NULL,
    id                  text COLLATE "C" NOT NULL,
    campaign_id         text,
    platform            text NOT NULL,
    name                text NOT NULL,
    status              text NOT NULL,
    platform_status     text,
    objective           text,
    budget_micros       bigint,
    budget_period       text,
    currency            text,
    impressions         bigint,
    clicks              bigint,
    conversions         numeric,
    created_at          timestamptz,
    platform_updated_at timestamptz,
    first_seen_at       timestamptz NOT NULL,
    changed_at          timestamptz NOT NULL,
    synced_at           timestamptz NOT NULL,
    removed_at          timestamptz,
    raw                 json,
    PRIMARY KEY (client_id, connection, account_id, id)
) WITH (fillfactor = 50);

CREATE TABLE ads (
    client_id           text COLLATE "C" NOT NULL,
    connection          text COLLATE "C" NOT NULL,
    account_id          text COLLATE "C" NOT NULL,
    id                  text COLLATE "C" NOT NULL,
    campaign_id         text,
    ad_group_id         text,
    platform            text NOT NULL,
    name                text NOT NULL,
    status              text NOT NULL,
    platform_status     text,
    objective           text,
    budget_micros       bigint,
    budget_period       text,
    currency            text,
    impressions         bigint,
    clicks              bigint,
    conversions         numeric,
    created_at          timestamptz,
    platform_updated_at timestamptz,
    first_seen_at       timestamptz NOT NULL,
    changed_at          timestamptz NOT NULL,
    synced_at           timestamptz NOT NULL,
    removed_at          timestamptz,
    raw                 json,
    PRIMARY KEY (client_id, connection, account_id, id)
) WITH (fillfactor = 50);

CREATE TABLE daily_metrics (
    client_id               text COLLATE "C" NOT NULL,
    connection              text COLLATE "C" NOT NULL,
    account_id              text COLLATE "C" NOT NULL,
    level                   text COLLATE "C" NOT NULL,
    entity_id               text COLLATE "C" NOT NULL,
    date                    date NOT NULL,
    platform                text NOT NULL,
    impressions             bigint,
    clicks                  bigint,
    spend_micros            bigint,
    conversions             numeric,
    conversion_value_micros bigint,
    currency                text,
    final                   boolean NOT NULL DEFAULT false,
    synced_at               timestamptz NOT NULL,
    raw                     json,
    PRIMARY KEY (client_id, connection, account_id, level, entity_id, date)
);

CREATE TABLE coverage (
    client_id   text COLLATE "C" NOT NULL,
    connection  text COLLATE "C" NOT NULL,
    account_id  text COLLATE "C" NOT NULL,
    stream      text COLLATE "C" NOT NULL,
    date        date NOT NULL,
    state       text NOT NULL CHECK (state IN ('empty', 'partial', 'provisional', 'final')),
    rows        bigint NOT NULL DEFAULT 0,
    verified_at timestamptz,
    note        text,
    PRIMARY KEY (client_id, connection, account_id, stream, date)
);

CREATE TABLE runs (
    id             text COLLATE "C" NOT NULL PRIMARY KEY,
    client_id      text COLLATE "C" NOT NULL,
    connection     text COLLATE "C" NOT NULL,
    trigger        text NOT NULL,
    started_at     timestamptz NOT NULL,
    finished_at    timestamptz,
    outcome        text,
    listed         bigint NOT NULL DEFAULT 0,
    synced         bigint NOT NULL DEFAULT 0,
    unchanged      bigint NOT NULL DEFAULT 0,
    failed         bigint NOT NULL DEFAULT 0,
    removed        bigint NOT NULL DEFAULT 0,
    pages          bigint NOT NULL DEFAULT 0,
    requests       bigint NOT NULL DEFAULT 0,
    throttled      bigint NOT NULL DEFAULT 0,
    retries        bigint NOT NULL DEFAULT 0,
    waited_seconds double precision NOT NULL DEFAULT 0,
    error          text
);
CREATE INDEX adsync_runs_by_connection ON runs (client_id, connection, started_at);
CREATE INDEX adsync_runs_by_start ON runs (started_at);

CREATE TABLE failures (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id       text COLLATE "C" NOT NULL,
    connection      text COLLATE "C" NOT NULL,
    account_id      text COLLATE "C" NOT NULL,
    stream          text COLLATE "C" NOT NULL,
    entity_id       text COLLATE "C" NOT NULL,
    class           text NOT NULL,
    code            text,
    message         text NOT NULL,
    hint            text,
    request_id      text,
    attempts        bigint NOT NULL,
    first_failed_at timestamptz NOT NULL,
    last_failed_at  timestamptz NOT NULL,
    next_retry_at   timestamptz,
    resolved_at     timestamptz,
    raw             text
);
CREATE UNIQUE INDEX adsync_failures_open ON failures (client_id, connection, account_id, stream, entity_id) WHERE resolved_at IS NULL;

-- One row per connection: who may write for it, and what it waits for. nonce tells one taking from another, last_stamp is the newest
-- synced_at that was ever given.
CREATE TABLE adsync_locks (
    client_id   text COLLATE "C" NOT NULL,
    connection  text COLLATE "C" NOT NULL,
    fence       bigint NOT NULL,
    holder_id   text,
    holder_text text,
    nonce       text,
    since       timestamptz,
    last_stamp  timestamptz,
    wait_reason text,
    wait_until  timestamptz,
    PRIMARY KEY (client_id, connection)
);

-- What a run needs to go on. no is short for its id; open means that it may be resumed, has_items that rows of adsync_items are left.
CREATE TABLE adsync_run_state (
    no         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     text COLLATE "C" NOT NULL UNIQUE,
    client_id  text COLLATE "C" NOT NULL,
    connection text COLLATE "C" NOT NULL,
    plan       text NOT NULL,
    open       boolean NOT NULL,
    state      bytea,
    commit_seq bigint NOT NULL DEFAULT 0,
    result     text,
    active_us  bigint NOT NULL DEFAULT 0,
    has_items  boolean NOT NULL DEFAULT false
);
CREATE INDEX adsync_run_state_items ON adsync_run_state (client_id, connection) WHERE has_items;
CREATE UNIQUE INDEX adsync_run_state_open ON adsync_run_state (client_id, connection) WHERE open;

-- Listed records that wait for their own call (state 0), have had it (1) or failed (2).
CREATE TABLE adsync_items (
    run_no              bigint NOT NULL,
    seq                 bigint NOT NULL,
    account_id          text COLLATE "C" NOT NULL,
    stream              text COLLATE "C" NOT NULL,
    id                  text COLLATE "C" NOT NULL,
    pass                integer NOT NULL,
    state               smallint NOT NULL DEFAULT 0,
    platform            text NOT NULL,
    name                text NOT NULL,
    status              text NOT NULL,
    platform_status     text,
    objective           text,
    budget_micros       bigint,
    budget_period       text,
    currency            text,
    impressions         bigint,
    clicks              bigint,
    conversions         numeric,
    created_at          timestamptz,
    platform_updated_at timestamptz,
    raw                 json,
    PRIMARY KEY (run_no, seq)
);
CREATE UNIQUE INDEX adsync_items_id ON adsync_items (run_no, account_id, stream, id);

-- What a run's sweeps have marked since its figures were last stored.
CREATE TABLE adsync_sweeps (
    run_no     bigint NOT NULL,
    account_id text COLLATE "C" NOT NULL,
    stream     text COLLATE "C" NOT NULL,
    marked     bigint NOT NULL,
    PRIMARY KEY (run_no, account_id, stream)
);

CREATE TABLE adsync_quota (
    bucket text COLLATE "C" NOT NULL PRIMARY KEY,
    state  bytea
);

CREATE TABLE adsync_probe (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL
);

CREATE VIEW ad_reporting_account AS
SELECT m.date AS date_day, m.platform, m.account_id, a.name AS account_name,
    m.impressions, m.clicks, m.spend_micros / 1000000::numeric AS spend, m.conversions,
    m.conversion_value_micros / 1000000::numeric AS conversions_value, m.currency, m.client_id, m.connection
FROM daily_metrics m
LEFT JOIN accounts a ON a.client_id = m.client_id AND a.connection = m.connection AND a.id = m.account_id
WHERE m.level = 'account';

CREATE VIEW ad_reporting_campaign AS
SELECT m.date AS date_day, m.platform, m.account_id, a.name AS account_name, m.entity_id AS campaign_id, c.name AS campaign_name,
    m.impressions, m.clicks, m.spend_micros / 1000000::numeric AS spend, m.conversions,
    m.conversion_value_micros / 1000000::numeric AS conversions_value, m.currency, m.client_id, m.connection
FROM daily_metrics m
LEFT JOIN accounts a ON a.client_id = m.client_id AND a.connection = m.connection AND a.id = m.account_id
LEFT JOIN campaigns c ON c.client_id = m.client_id AND c.connection = m.connection AND c.account_id = m.account_id AND c.id = m.entity_id
WHERE m.level = 'campaign';

CREATE VIEW ad_reporting_ad_group AS
SELECT m.date AS date_day, m.platform, m.account_id, a.name AS account_name, g.campaign_id, c.name AS campaign_name,
    m.entity_id AS ad_group_id, g.name AS ad_group_name,
    m.impressions, m.clicks, m.spend_micros / 1000000::numeric AS spend, m.conversions,
    m.conversion_value_micros / 1000000::numeric AS conversions_value, m.currency, m.client_id, m.connection
FROM daily_metrics m
LEFT JOIN accounts a ON a.client_id = m.client_id AND a.connection = m.connection AND a.id = m.account_id
LEFT JOIN ad_groups g ON g.client_id = m.client_id AND g.connection = m.connection AND g.account_id = m.account_id AND g.id = m.entity_id
LEFT JOIN campaigns c ON c.client_id = m.client_id AND c.connection = m.connection AND c.account_id = m.account_id AND c.id = g.campaign_id
WHERE m.level = 'ad_group';

CREATE VIEW ad_reporting_ad AS
SELECT m.date AS date_day, m.platform, m.account_id, a.name AS account_name, d.campaign_id, c.name AS campaign_name,
    d.ad_group_id, g.name AS ad_group_name, m.entity_id AS ad_id, d.name AS ad_name,
    m.impressions, m.clicks, m.spend_micros / 1000000::numeric AS spend, m.conversions,
    m.conversion_value_micros / 1000000::numeric AS conversions_value, m.currency, m.client_id, m.connection
FROM daily_metrics m
LEFT JOIN accounts a ON a.client_id = m.client_id AND a.connection = m.connection AND a.id = m.account_id
LEFT JOIN ads d ON d.client_id = m.client_id AND d.connection = m.connection AND d.account_id = m.account_id AND d.id = m.entity_id
LEFT JOIN campaigns c ON c.client_id = m.client_id AND c.connection = m.connection AND c.account_id = m.account_id AND c.id = d.campaign_id
LEFT JOIN ad_groups g ON g.client_id = m.client_id AND g.connection = m.connection AND g.account_id = m.account_id AND g.id = d.ad_group_id
WHERE m.level = 'ad';
