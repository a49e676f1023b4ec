"""Customers and codes, and nothing else: the list to mail from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from xlsxwriter.exceptions import XlsxWriterException  # type: ignore[import-untyped]

from bulk_issue.aside import aside_in
from bulk_issue.commands import command
from bulk_issue.errors import SinkError
from bulk_issue.model import JobId
from bulk_issue.sink.folder import Format, publish
from bulk_issue.sink.tables import csv_table, xlsx_table

SERVED = "served"


def write_served(
    lines: Iterable[Sequence[str]], header: Sequence[str], out: Path, job: JobId, file_format: Format
) -> Path:
    """Write the list as one table; on return it is on disk, and one of another format is gone.

    Raises `SinkError` if it can't be written; what stood there before stands untouched then.
    """
    name = f"{SERVED}.{file_format}"
    try:
        with aside_in(out) as aside:
            path = aside / name
            table = (
                csv_table(path, header)
                if file_format is Format.CSV
                else xlsx_table(path, header, lambda: {"job": job}, Counter())
            )
            with table as write:
                for line in lines:
                    write(line)
            others = [f"{SERVED}.{each}" for each in Format if each is not file_format]
            (written,) = publish(aside, out, fresh=[name], stale=others)
    except (OSError, XlsxWriterException) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise SinkError(
            f"can't write the list of customers and codes to {out}: {why}",
            hint=f"Nothing is lost: the ledger has it. When that is put right: {command('export', job, '--served')}",
        ) from exc
    return written
