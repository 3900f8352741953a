-- +goose Up

-- Where the time of a run went, besides active_us and runs.waited_seconds: the part of the waiting that the server had asked for, and the writing. NULL: not counted.
ALTER TABLE adsync_run_state ADD COLUMN told_us INTEGER;
ALTER TABLE adsync_run_state ADD COLUMN writing_us INTEGER;
