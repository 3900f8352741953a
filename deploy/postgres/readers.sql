-- What adsync_read may see (deploy/postgres/roles.sql): the tables and views that adsync promises to keep as they are. Run it as adsync_migrate or as an
-- administrator, once the tables are there.

SET search_path TO adsync;
GRANT SELECT ON campaigns, accounts, ad_groups, ads, daily_metrics, coverage, runs, failures TO adsync_read;
GRANT SELECT ON ad_reporting_account, ad_reporting_campaign, ad_reporting_ad_group, ad_reporting_ad TO adsync_read;
