"""A whole campaign as one call, for programs; what `bulk-issue run` does goes through the same `Desk.run`."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulk_issue.app.checked import Talk
from bulk_issue.app.desk import desk
from bulk_issue.app.reports import Files, Report
from bulk_issue.aside import aside_in
from bulk_issue.config import Config
from bulk_issue.errors import ConfigError
from bulk_issue.ports import Observer, ResultRow
from bulk_issue.sink import sha256

#: How the file is read that mappings are kept in, whatever was said of files.
_AS_WRITTEN: dict[str, Any] = {
    "delimiter": ",",
    "encoding": "",
    "sheet": "",
    "header_row": None,
    "no_header": False,
}
#: A file of customers, or the customers themselves as column -> cell.
Customers = Path | str | Iterable[Mapping[str, object]]


async def issue(
    customers: Customers,
    config: Config,
    *,
    files: Files,
    observer: Observer,
    asked: asyncio.Event,
    on_row: Callable[[ResultRow], None] | None = None,
) -> list[Report]:
    """Issue one coupon to each customer, or go on with it, without asking anybody; see `Desk.run`.

    `on_row` is told every row of the last job at the end, in order.
    """
    if not isinstance(customers, Path | str):
        customers = await asyncio.to_thread(_spool, customers, files.out)
        config = replace(config, reading=replace(config.reading, **_AS_WRITTEN))
    async with desk(config, observer, asked, files) as at:
        reports = await at.run(Path(customers), Talk())
        if on_row is not None:
            for row in at.ledger.views.results(reports[-1].job.spec.id):
                on_row(row)
    return reports


def _spool(customers: Iterable[Mapping[str, object]], out: Path | None) -> Path:
    """The customers as a private file in `out`, named by its content: the same customers are the same job."""
    if out is None:
        raise ConfigError("customers that are no file have no folder of their own", hint="Give out=, a folder.")
    with aside_in(out) as aside:
        path = aside / "customers.csv"
        with path.open("x", encoding="utf-8", newline="") as file:
            _write(csv.writer(file), customers)
        path.chmod(0o600)
        return path.replace(out / f"customers-{sha256(path)[:16]}.csv")


def _write(table: csv._writer, customers: Iterable[Mapping[str, object]]) -> None:  # type: ignore[name-defined]
    header: tuple[str, ...] = ()
    for number, customer in enumerate(customers, 1):
        if not header:
            header = tuple(customer)
            table.writerow(header)
        if set(customer) != set(header):
            odd = ", ".join(sorted(set(customer) ^ set(header)))
            raise ConfigError(
                f"customer {number} has other columns than the first: {odd}", hint="Give all the same columns."
            )
        table.writerow("" if customer[name] is None else str(customer[name]) for name in header)
    if not header:
        raise ConfigError("there are no customers", hint="Give at least one.")
