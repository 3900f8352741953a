-- The roles of adsync in PostgreSQL, for an administrator of the server: run it in the database that adsync shall use.
--
--   createdb ads
--   psql -d ads -f deploy/postgres/roles.sql
--   psql -d ads -c '\password adsync_migrate' -c '\password adsync_run' -c '\password adsync_read'
--
-- Three roles, each with what it needs and no more. Their addresses, with the schema that is made below:
--
--   adsync_migrate  owns the schema and its tables; for `adsync migrate`, after an upgrade
--                   postgres://adsync_migrate@db.example.com:5432/ads?search_path=adsync
--   adsync_run      reads and writes rows; for everything else that adsync does
--                   postgres://adsync_run@db.example.com:5432/ads?search_path=adsync
--   adsync_read     reads what adsync promises to keep, and nothing of its own; for reports and for people. After the first `adsync migrate`:
--                   psql -d ads -f deploy/postgres/readers.sql

CREATE ROLE adsync_migrate LOGIN;
CREATE ROLE adsync_run LOGIN;
CREATE ROLE adsync_read LOGIN;

-- Nobody else gets in. Temporary tables are what large batches are written through.
DO $$ BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO adsync_migrate, adsync_run, adsync_read', current_database());
  EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO adsync_run', current_database());
END $$;

CREATE SCHEMA adsync AUTHORIZATION adsync_migrate;
GRANT USAGE ON SCHEMA adsync TO adsync_run, adsync_read;

-- What adsync_migrate makes in there, now and later, adsync_run may use.
ALTER DEFAULT PRIVILEGES FOR ROLE adsync_migrate IN SCHEMA adsync GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO adsync_run;
ALTER DEFAULT PRIVILEGES FOR ROLE adsync_migrate IN SCHEMA adsync GRANT USAGE ON SEQUENCES TO adsync_run;
