"""The first schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Make every table and index."""
    op.create_table(
        "accounts",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("org", sa.Text(), nullable=True),
        sa.Column("rate", sa.Integer(), nullable=True),
        sa.Column("per", sa.Float(), nullable=True),
        sa.Column("paused_boot", sa.Float(), nullable=True),
        sa.Column("paused_boot_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_table(
        "attempts",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("begun_wall", sa.Float(), nullable=False),
        sa.Column("begun_boot", sa.Float(), nullable=False),
        sa.Column("begun_boot_id", sa.Text(), nullable=False),
        sa.Column("at_wall", sa.Float(), nullable=True),
        sa.Column("at_boot", sa.Float(), nullable=True),
        sa.Column("sent", sa.Integer(), nullable=True),
        sa.Column("event", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("landed", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job", "row", "attempt"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "claims",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("again", sa.Text(), nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.Column("heir_job", sa.Integer(), nullable=True),
        sa.Column("heir_row", sa.Integer(), nullable=True),
        sa.Column("alike", sa.Text(), nullable=True),
        sa.Column("learned", sa.Integer(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("scope", "key", "again"),
        sqlite_with_rowid=False,
    )
    op.create_index("claims_of_row", "claims", ["job", "row"], unique=False)
    op.create_index("claims_alike", "claims", ["scope", "again", "alike"], unique=False, **_where("alike IS NOT NULL"))
    op.create_index("claims_open", "claims", ["scope", "key"], unique=True, **_where("open = 1"))
    op.create_table(
        "decisions",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_decisions_job"), "decisions", ["job"], unique=False)
    op.create_table(
        "held",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("coupon_id", BIG, nullable=True),
        sa.Column("customer_id", BIG, nullable=True),
        sa.Column("offer", sa.Text(), nullable=True),
        sa.Column("warnings", sa.Text(), nullable=True),
        sa.Column("because", sa.Text(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("job", "row"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "excess",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("names", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job", "row", "code"),
    )
    op.create_table(
        "home",
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("database"),
    )
    op.create_table(
        "jobs",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("series_id", BIG, nullable=False),
        sa.Column("again", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("reading", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("blank", sa.Integer(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("started", sa.Float(), nullable=True),
        sa.Column("ended", sa.Float(), nullable=True),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("stop_kind", sa.Text(), nullable=True),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("deferred", sa.Integer(), nullable=False),
        sa.Column("list_path", sa.Text(), nullable=False),
        sa.Column("list_sha256", sa.Text(), nullable=False),
        sa.Column("alike", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "lookups",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("finding", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("lookups_of_row", "lookups", ["job", "row"], unique=False)
    op.create_table(
        "permits",
        sa.Column("id", BIG, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("free_boot", sa.Float(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job", "row", "attempt"),
    )
    op.create_index("permits_free", "permits", ["account", "free_boot"], unique=False)
    op.create_table(
        "placeholders",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "boots",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("zero", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("account", "boot_id"),
    )
    op.create_table(
        "readers",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("offset", sa.Float(), nullable=True),
        sa.Column("true_utc", sa.Integer(), nullable=False),
        sa.Column("issued_at", sa.Text(), nullable=True),
        sa.Column("proven", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("job", "account", "endpoint", "kind"),
    )
    op.create_table(
        "rows",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("queue", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("cells", sa.Text(), nullable=False),
        sa.Column("due", sa.Float(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("spent", sa.Integer(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("doubted", sa.Integer(), nullable=False),
        sa.Column("if_absent", sa.Text(), nullable=True),
        sa.Column("sent_wall", sa.Float(), nullable=True),
        sa.Column("sent_boot", sa.Float(), nullable=True),
        sa.Column("sent_boot_id", sa.Text(), nullable=True),
        sa.Column("given_up_wall", sa.Float(), nullable=True),
        sa.Column("given_up_boot", sa.Float(), nullable=True),
        sa.Column("given_up_boot_id", sa.Text(), nullable=True),
        sa.Column("empty_wall", sa.Float(), nullable=True),
        sa.Column("empty_boot", sa.Float(), nullable=True),
        sa.Column("empty_boot_id", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("warnings", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("coupon_id", BIG, nullable=True),
        sa.Column("customer_id", BIG, nullable=True),
        sa.Column("offer", sa.Text(), nullable=True),
        sa.Column("issued_at", sa.Float(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("of_job", sa.Integer(), nullable=True),
        sa.Column("of_row", sa.Integer(), nullable=True),
        sa.Column("retried", sa.Integer(), server_default="0", nullable=False),
        sa.Column("restored", sa.Integer(), nullable=True),
        sa.Column("withheld", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job", "number"),
        sqlite_with_rowid=False,
    )
    op.create_index("rows_by_state", "rows", ["job", "state"], unique=False)
    op.create_index("rows_doubted", "rows", ["queue", "job", "number"], unique=False, **_where("doubted = 1"))
    op.create_index("rows_behind", "rows", ["of_job", "of_row"], unique=False, **_where("state = 'duplicate'"))
    op.create_index(
        "rows_from", "rows", ["of_job", "job"], unique=False, **_where("of_job IS NOT NULL AND state <> 'duplicate'")
    )
    op.create_index("rows_restored", "rows", ["restored"], unique=False, **_where("restored IS NOT NULL"))
    op.create_index(
        "rows_retried",
        "rows",
        ["queue", "due", "number"],
        unique=False,
        **_where("state = 'pending' AND withheld IS NULL AND retried = 1"),
    )
    op.create_index("rows_issued", "rows", ["queue", "kind", "number"], unique=False, **_where("state = 'issued'"))
    op.create_index("rows_in_flight", "rows", ["queue"], unique=False, **_where("state = 'in_flight'"))
    op.create_index(
        "rows_in_doubt",
        "rows",
        ["queue", "given_up_wall", "number"],
        unique=False,
        **_where("state = 'in_doubt'"),
    )
    op.create_index(
        "rows_pending",
        "rows",
        ["queue", "due", "number"],
        unique=False,
        **_where("state = 'pending' AND withheld IS NULL"),
    )
    op.create_index(
        "rows_held_back",
        "rows",
        ["queue", "number"],
        unique=False,
        **_where("state = 'pending' AND withheld IS NOT NULL"),
    )
    op.create_table(
        "runs",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started", sa.Float(), nullable=False),
        sa.Column("ended", sa.Float(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("because", sa.Text(), nullable=True),
        sa.Column("lingers", sa.Float(), nullable=False),
        sa.Column("worker", BIG, nullable=True),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index(op.f("ix_runs_job"), "runs", ["job"], unique=False)
    op.create_table(
        "backups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at_wall", sa.Float(), nullable=False),
        sa.Column("at_boot", sa.Float(), nullable=False),
        sa.Column("at_boot_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "restores",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("since_wall", sa.Float(), nullable=False),
        sa.Column("since_boot", sa.Float(), nullable=False),
        sa.Column("since_boot_id", sa.Text(), nullable=False),
        sa.Column("at_wall", sa.Float(), nullable=False),
        sa.Column("at_boot", sa.Float(), nullable=False),
        sa.Column("at_boot_id", sa.Text(), nullable=False),
        sa.Column("trusted", sa.Float(), nullable=True),
        sa.Column("who", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
