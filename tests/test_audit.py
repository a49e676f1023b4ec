"""Reading the coupons of issued rows back: what is told, and what is kept. On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bulk_issue.audit import Audited, Seen
from bulk_issue.model import JobId, Lineage, ReadProblem
from bulk_issue.testing import ByCustomer, Fate, Look, mobile, on_virtual_time, refusal
from bulk_issue.testing import fates as f
from tests.hosts import SERIES, Host, few_polls, rows_of, spec

A = spec()
PEOPLE = rows_of([mobile(n) for n in range(4)])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with few_polls():
        yield


async def audited(host: Host, chosen: Callable[[int], bool] = lambda _place: True) -> Audited:
    process = host.process(A, PEOPLE)

    async def audit() -> Audited:
        return await (await process._ready()).audit(chosen)

    found = await process._lives(audit())
    assert isinstance(found, Audited), found
    return found


def counts(found: Audited) -> dict[Seen, int]:
    return {seen: rows for seen, rows in found.counts.items() if rows}


@on_virtual_time
async def test_what_the_record_shows_is_confirmed(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    await host.process(A, PEOPLE).run()

    assert counts(await audited(host)) == {Seen.CONFIRMED: 4}


@on_virtual_time
async def test_a_sample_reads_the_chosen_rows_only(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    await host.process(A, PEOPLE).run()
    read: list[str] = []
    host.server.looks = lambda key: read.append(key) or f.SEEN  # type: ignore[func-returns-value]

    assert counts(await audited(host, {1, 3}.__contains__)) == {Seen.CONFIRMED: 2}
    assert read == [mobile(1).key, mobile(3).key]


@on_virtual_time
async def test_a_coupon_that_is_gone_is_told_by_its_row(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    await host.process(A, PEOPLE).run()
    host.server.book._of.pop(host.server.customer(mobile(2).key))
    found = await audited(host)

    assert counts(found) == {Seen.CONFIRMED: 3, Seen.MISSING: 1}
    assert found.remarkable == {Seen.MISSING: [Lineage(job=JobId("job-a"), row=3)]}


@on_virtual_time
async def test_a_coupon_of_a_request_that_was_delivered_twice_is_excess(tmp_path: Path) -> None:
    """The answer was definite, so the row was never in doubt, and no run looks at it again."""
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(2).key: [replace(f.GOOD, repeated=0.5)]}))
    await host.process(A, PEOPLE).run()
    await asyncio.sleep(1.0)
    kept, late = host.server.book.ours(host.server.customer(mobile(2).key))
    found = await audited(host)
    again = await audited(host)

    assert counts(found) == counts(again) == {Seen.CONFIRMED: 3, Seen.EXCESS: 1}
    assert host.ask("SELECT row, code FROM excess") == [(3, late.code)]
    assert host.ask("SELECT code FROM rows WHERE number = 3") == [(kept.code,)]


@on_virtual_time
async def test_a_coupon_that_the_customer_gets_later_is_not_excess(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    await host.process(A, PEOPLE).run()
    await asyncio.sleep(60.0)
    host.server.give(mobile(2).key, SERIES)

    assert counts(await audited(host)) == {Seen.CONFIRMED: 4}


@pytest.mark.parametrize("problem", [ReadProblem.UNREADABLE, ReadProblem.NOT_FOUND])
@on_virtual_time
async def test_what_cannot_be_read_is_not_missing(tmp_path: Path, problem: ReadProblem) -> None:
    host = Host.with_server(tmp_path)
    await host.process(A, PEOPLE).run()
    host.server.looks = lambda key: Look(problem=problem) if key == mobile(2).key else f.SEEN

    assert counts(await audited(host)) == {Seen.CONFIRMED: 3, Seen.UNREAD: 1}


@on_virtual_time
async def test_where_nothing_may_be_read_every_row_is_unread(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    await host.process(A, PEOPLE).run()
    host.server.looks = lambda _key: Look(problem=ReadProblem.REFUSED)

    assert counts(await audited(host)) == {Seen.UNREAD: 4}


@on_virtual_time
async def test_the_rows_of_a_rerun_are_those_that_its_records_stand_for(tmp_path: Path) -> None:
    refused = ByCustomer({mobile(1).key: [Fate(processed=False, answer=refusal(701, "customer not found"))]})
    host = Host.with_server(tmp_path, fates=refused)
    await host.process(A, PEOPLE, canary=1).run()
    rerun = [replace(PEOPLE[1], number=1, lineage=Lineage(job=JobId("job-a"), row=2)), replace(PEOPLE[3], number=2)]
    process = host.process(spec("job-f"), rerun)
    await process.run()

    async def audit() -> Audited:
        return await (await process._ready()).audit(lambda _place: True)

    assert counts(await process._lives(audit())) == {Seen.CONFIRMED: 1}  # type: ignore[arg-type]
    assert counts(await audited(host)) == {Seen.CONFIRMED: 4}
