"""The ledger's tables, as SQLAlchemy knows them. The migrations make them; a test holds that both agree.

Moments are stored on both clocks (`…_wall`, `…_boot`, and the boot's id). Rows carry what people see of them; attempts,
look-ups and decisions are append-only and say how it came about.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
    text,
)

#: The migration that makes these tables.
HEAD = "0001"

metadata = MetaData()
#: Ids of others (customers, series) and of what is counted without end; an INTEGER of SQLite's has 64 bits anyway.
Big = BigInteger().with_variant(Integer(), "sqlite")

jobs = Table(
    "jobs",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("org", Text, nullable=False),
    Column("series_id", Big, nullable=False),
    Column("again", Text, nullable=False),
    # org and series: where a customer counts once
    Column("scope", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("header", Text, nullable=False),
    Column("reading", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("blank", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("because", Text, nullable=False),
    # the kind of that (`StopKind`), so that each face says it in its own words; null where nothing stopped
    Column("stop_kind", Text),
    # 1 once a person cancelled it: rows that come back from doubt are cancelled too
    Column("cancelled", Integer, nullable=False),
    # the run that holds this job now: it alone begins rows
    Column("holder", Text),
    # 1 while the job is left to workers
    Column("deferred", Integer, nullable=False),
    # the suppression list: where it is, and the digest of what was applied last; empty where there is none
    Column("list_path", Text, nullable=False),
    Column("list_sha256", Text, nullable=False),
    # what a person says of the rows whose customer looks like somebody else: send, skip; null while nobody has
    Column("alike", Text),
    # the number of a job that was taken back is never another's: some process may still know it
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    Column("token", Text, primary_key=True),
    Column("job", Integer, nullable=False, index=True),
    Column("who", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    # null while it goes on, and where the run was cut short
    Column("exit_code", Integer),
    Column("state", Text),
    Column("because", Text),
    # seconds for which a request of it may be on its way when it is gone; 0 where processes can't outlive their hold
    Column("lingers", Float, nullable=False),
    # the worker that made it, by the engine's number; null: a person did
    Column("worker", Big),
)

rows = Table(
    "rows",
    metadata,
    Column("job", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    # the job that works this row now: its own, or that of a failures file
    Column("queue", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("kind", Text),
    Column("value", Text),
    Column("key", Text),
    Column("cells", Text, nullable=False),
    # wall second before which the row isn't sent; 0 for rows that were never put back
    Column("due", Float, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("spent", Integer, nullable=False),
    Column("holder", Text),
    Column("doubted", Integer, nullable=False),
    Column("if_absent", Text),
    Column("sent_wall", Float),
    Column("sent_boot", Float),
    Column("sent_boot_id", Text),
    Column("given_up_wall", Float),
    Column("given_up_boot", Float),
    Column("given_up_boot_id", Text),
    Column("empty_wall", Float),
    Column("empty_boot", Float),
    Column("empty_boot_id", Text),
    Column("error_code", Text),
    Column("reason", Text),
    Column("warnings", Text),
    Column("code", Text),
    # the coupon: what is its own, and as JSON what most coupons of a series have in common
    Column("coupon_id", Big),
    Column("customer_id", Big),
    Column("offer", Text),
    Column("issued_at", Float),
    Column("request_id", Text),
    # DUPLICATE: the row that has the claim; LINKED: the row that this record is; otherwise where it came from
    Column("of_job", Integer),
    Column("of_row", Integer),
    # 1 if the last retry of the job has put it back
    Column("retried", Integer, nullable=False, server_default="0"),
    # the restore since which nobody knows what became of the row: it goes in doubt before it may be sent
    Column("restored", Integer),
    # why the row must not begin, whatever its state (`model.Withheld`); null for nearly all
    Column("withheld", Text),
    PrimaryKeyConstraint("job", "number"),
    sqlite_with_rowid=False,
)
#: The job in whose queue a row is, where that isn't the row's own
WORKED_BY = jobs.alias("worked_by")
# the migrations make these indexes partial in PostgreSQL too; here the word would load its dialect for nothing
# written out, not bound: SQLite uses a partial index only where it can read the condition
PENDING = rows.c.state == literal_column("'pending'")
#: Pending rows that may begin, and those that are held back.
SENDABLE = and_(PENDING, rows.c.withheld.is_(None))
HELD_BACK = and_(PENDING, rows.c.withheld.is_not(None))
NOT_DUPLICATE = rows.c.state != literal_column("'duplicate'")
RETRIED = rows.c.retried == literal_column("1")
IN_FLIGHT = rows.c.state == literal_column("'in_flight'")
IN_DOUBT = rows.c.state == literal_column("'in_doubt'")
STILL_OPEN = (SENDABLE, IN_FLIGHT, IN_DOUBT)
ISSUED = rows.c.state == literal_column("'issued'")
DOUBTED = rows.c.doubted == literal_column("1")
Index(
    *("rows_pending", rows.c.queue, rows.c.due, rows.c.number),
    sqlite_where=text("state = 'pending' AND withheld IS NULL"),
)
Index(
    "rows_retried",
    *(rows.c.queue, rows.c.due, rows.c.number),
    sqlite_where=text("state = 'pending' AND withheld IS NULL AND retried = 1"),
)
Index("rows_held_back", rows.c.queue, rows.c.number, sqlite_where=text("state = 'pending' AND withheld IS NOT NULL"))
Index("rows_in_flight", rows.c.queue, sqlite_where=text("state = 'in_flight'"))
Index("rows_in_doubt", rows.c.queue, rows.c.given_up_wall, rows.c.number, sqlite_where=text("state = 'in_doubt'"))
Index("rows_issued", rows.c.queue, rows.c.kind, rows.c.number, sqlite_where=text("state = 'issued'"))
Index("rows_by_state", rows.c.job, rows.c.state)
Index("rows_doubted", rows.c.queue, rows.c.job, rows.c.number, sqlite_where=text("doubted = 1"))
Index("rows_restored", rows.c.restored, sqlite_where=text("restored IS NOT NULL"))
Index("rows_behind", rows.c.of_job, rows.c.of_row, sqlite_where=text("state = 'duplicate'"))
Index("rows_from", rows.c.of_job, rows.c.job, sqlite_where=text("of_job IS NOT NULL AND state <> 'duplicate'"))

claims = Table(
    "claims",
    metadata,
    Column("scope", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("again", Text, nullable=False),
    Column("job", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    # 1 while the row is in flight or in doubt
    Column("open", Integer, nullable=False),
    # the row that a reply has named the same customer for: it gets the claim when this row gives it up
    Column("heir_job", Integer),
    Column("heir_row", Integer),
    # the key's form (`bulk_issue.alike`); null where nothing can look like it, and once it is purged
    Column("alike", Text),
    # 1 where a reply gave the row's customer this name, 0 where the row names them so itself
    Column("learned", Integer, nullable=False),
    # the customer's number, as a key (id:…), by the replies that bore this name; null while none has said a number
    Column("customer", Text),
    PrimaryKeyConstraint("scope", "key", "again"),
    sqlite_with_rowid=False,
)
Index("claims_open", claims.c.scope, claims.c.key, unique=True, sqlite_where=text("open = 1"))
Index("claims_of_row", claims.c.job, claims.c.row)
Index("claims_alike", claims.c.scope, claims.c.again, claims.c.alike, sqlite_where=text("alike IS NOT NULL"))

# names that replies of several customers bore: they name nobody
placeholders = Table(
    "placeholders",
    metadata,
    Column("scope", Text, nullable=False),
    Column("key", Text, nullable=False),
    PrimaryKeyConstraint("scope", "key"),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("job", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("begun_wall", Float, nullable=False),
    Column("begun_boot", Float, nullable=False),
    Column("begun_boot_id", Text, nullable=False),
    Column("at_wall", Float),
    Column("at_boot", Float),
    Column("sent", Integer),
    Column("event", Text),
    Column("error_code", Text),
    Column("reason", Text),
    Column("request_id", Text),
    Column("landed", Text),
    PrimaryKeyConstraint("job", "row", "attempt"),
    sqlite_with_rowid=False,
)

lookups = Table(
    "lookups",
    metadata,
    Column("id", Big, primary_key=True),
    Column("job", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("finding", Text, nullable=False),
)
Index("lookups_of_row", lookups.c.job, lookups.c.row)

decided = Table(
    "decisions",
    metadata,
    Column("id", Big, primary_key=True),
    Column("job", Integer, nullable=False, index=True),
    Column("row", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("code", Text),
)

# the coupon that the customer of a HELD row had before: shown for the row, and no claim on that code. No line: not read
held = Table(
    "held",
    metadata,
    Column("job", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    # null where the record names no coupon that could be given to the customer; `because` says why
    Column("code", Text),
    Column("coupon_id", Big),
    Column("customer_id", Big),
    Column("offer", Text),
    Column("warnings", Text),
    Column("because", Text),
    Column("at", Float, nullable=False),
    PrimaryKeyConstraint("job", "row"),
    sqlite_with_rowid=False,
)

excess = Table(
    "excess",
    metadata,
    Column("id", Big, primary_key=True),
    Column("job", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("because", Text, nullable=False),
    Column("at", Float, nullable=False),
    # the names, as JSON, by which two rows are one customer's, where that is why; null where it isn't
    Column("names", Text),
    UniqueConstraint("job", "row", "code"),
)

boots = Table(
    "boots",
    metadata,
    Column("account", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    # the server's epoch seconds at second 0 of that boot's clock
    Column("zero", Float, nullable=False),
    PrimaryKeyConstraint("account", "boot_id"),
)

readers = Table(
    "readers",
    metadata,
    Column("job", Integer, nullable=False),
    Column("account", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("offset", Float),
    Column("true_utc", Integer, nullable=False),
    Column("issued_at", Text),
    Column("proven", Float, nullable=False),
    PrimaryKeyConstraint("job", "account", "endpoint", "kind"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account", Text, primary_key=True),
    Column("org", Text),
    Column("rate", Integer),
    Column("per", Float),
    Column("paused_boot", Float),
    Column("paused_boot_id", Text),
)

permits = Table(
    "permits",
    metadata,
    Column("id", Big, primary_key=True),
    Column("account", Text, nullable=False),
    Column("job", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("free_boot", Float, nullable=False),
    Column("boot_id", Text, nullable=False),
    UniqueConstraint("job", "row", "attempt"),
)
Index("permits_free", permits.c.account, permits.c.free_boot)

backups = Table(
    "backups",
    metadata,
    Column("id", Integer, primary_key=True),
    # just before the copy was made, so that the copy holds its own moment
    Column("at_wall", Float, nullable=False),
    Column("at_boot", Float, nullable=False),
    Column("at_boot_id", Text, nullable=False),
)

restores = Table(
    "restores",
    metadata,
    Column("id", Integer, primary_key=True),
    # what was issued between these two moments isn't known to this ledger
    Column("since_wall", Float, nullable=False),
    Column("since_boot", Float, nullable=False),
    Column("since_boot_id", Text, nullable=False),
    Column("at_wall", Float, nullable=False),
    Column("at_boot", Float, nullable=False),
    Column("at_boot_id", Text, nullable=False),
    # when, by whom and why it was said that all of it is accounted for
    Column("trusted", Float),
    Column("who", Text),
    Column("why", Text),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# in PostgreSQL: the one database that this ledger lives in; a copy of it lives elsewhere
home = Table(
    "home",
    metadata,
    Column("database", Text, primary_key=True),
    Column("server", Text),
)


def scope(org: str, series_id: int) -> str:
    """Where a customer counts once: the series of an org."""
    return f"{org}/{series_id}"
