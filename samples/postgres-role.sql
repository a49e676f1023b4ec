-- Two roles for a ledger in PostgreSQL: one makes and changes its tables, the other is all that `bulk-issue` needs to
-- run. Once, as a superuser, in the database of the ledger:
--
--     createdb ledger && psql -d ledger -f postgres-role.sql
--     \password bulk_issue            (in psql: passwords belong on no command line)
--
-- Then, and after every new version of bulk-issue that changes tables, once as the owner:
--
--     bulk-issue status --ledger postgresql://bulk_issue_owner@db.example.com/ledger
--
-- and where jobs are left to workers also `bulk-issue worker --set-up --ledger URL` with that role;
-- and from then on, on every host, with the password in ~/.pgpass or PGPASSWORD:
--
--     export BULK_ISSUE_LEDGER='postgresql://bulk_issue@db.example.com/ledger?sslmode=verify-full'

CREATE ROLE bulk_issue_owner LOGIN;
CREATE ROLE bulk_issue LOGIN;

CREATE SCHEMA bulk_issue AUTHORIZATION bulk_issue_owner;
ALTER ROLE bulk_issue_owner SET search_path = bulk_issue;
ALTER ROLE bulk_issue SET search_path = bulk_issue;

-- Rows are read, added, changed and (claims, permits, purged jobs) removed; tables are neither made nor changed.
-- Numbers go on after those of a ledger that was copied in (UPDATE ON SEQUENCES).
GRANT USAGE ON SCHEMA bulk_issue TO bulk_issue;
ALTER DEFAULT PRIVILEGES FOR ROLE bulk_issue_owner IN SCHEMA bulk_issue
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bulk_issue;
ALTER DEFAULT PRIVILEGES FOR ROLE bulk_issue_owner IN SCHEMA bulk_issue
    GRANT USAGE, UPDATE ON SEQUENCES TO bulk_issue;
