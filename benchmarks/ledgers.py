"""Jobs that have been running for hours, made in seconds: rows are marked as issued as `begin` and `finish` would."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from benchmarks.server import SERIES

#: What a reply says of a coupon beside its code and ids, as the ledger keeps it.
_OFFER = json.dumps(
    {
        "series_id": SERIES,
        "description": "Benchmark",
        "discount_code": "BENCH",
        "valid_till": "2099-12-31T00:00:00+05:30",
        "valid_till_date_time": "2099-12-31T23:59:59+05:30",
        "discount_type": "ABS",
        "discount_value": "100.0",
        "discount_upto": "0.0",
        "discount_on": "BILL",
        "detailed_info": "Benchmark",
        "redemption_count": 0,
    },
    separators=(",", ":"),
)


def serve(ledger: Path, rows: int) -> str:
    """Mark the only job's pending rows up to this number as issued; the job's id."""
    with sqlite3.connect(ledger) as tx:
        ((seq, job, scope),) = tx.execute("SELECT seq, id, scope FROM jobs")
        tx.execute(
            "INSERT INTO runs (token, job, who, pid, host, version, started, lingers)"
            " VALUES ('bench', ?, 'bench', 1, 'bench', '0', 1e9, 0)",
            (seq,),
        )
        pending = f"job = {seq} AND number <= {rows} AND state = 'pending'"
        tx.execute(
            "INSERT OR IGNORE INTO attempts (job, row, attempt, holder, begun_wall, begun_boot, begun_boot_id, at_wall,"
            " at_boot, sent, event, error_code, reason, request_id, landed)"
            " SELECT job, number, 1, 'bench', 1e9 + number / 5.0, number / 5.0, 'bench', 1e9 + number / 5.0 + 0.1,"
            f" number / 5.0 + 0.1, 1, 'issued', '', '', '', 'landed' FROM rows WHERE {pending}"
        )
        for learned, key in enumerate(("key", "'id:' || value")):
            tx.execute(
                "INSERT OR IGNORE INTO claims (scope, key, again, job, row, open, learned, customer)"
                f" SELECT '{scope}', {key}, '', job, number, 0, {learned}, 'id:' || value FROM rows WHERE {pending}"
            )
        tx.execute(
            "UPDATE rows SET state = 'issued', attempt = 1, spent = 1, holder = 'bench', error_code = '', reason = '',"
            " request_id = '', code = 'B' || value, coupon_id = number, offer = ?,"
            f" customer_id = CAST(value AS INTEGER), issued_at = 1e9 + number / 5.0 + 0.1 WHERE {pending}",
            (_OFFER,),
        )
    tx.close()
    return str(job)
