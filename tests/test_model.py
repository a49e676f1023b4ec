"""What the values keep to themselves, and how time passes between two moments."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_issue.model import (
    Coupon,
    Identifier,
    IdentifierKind,
    Intent,
    JobId,
    Lineage,
    Meaning,
    Moment,
    Outcome,
    Reading,
    Record,
    RecordedCoupon,
    Reply,
    Row,
)
from bulk_issue.ports import Doubt, Issued, ResultRow
from bulk_issue.states import RowState

NOW = Moment(wall=1_800_000_000.0, boot=500.0, boot_id="boot-1")
MOBILE, CODE, CUSTOMER = "919812345678", "CODE-7F3K9Q", 555512345
IDENTIFIER = Identifier(IdentifierKind.MOBILE, MOBILE, f"mobile:{MOBILE}")
COUPON = Coupon(code=CODE, customer_id=CUSTOMER, identifiers=(("mobile", MOBILE),))
RECORDED = RecordedCoupon(code=CODE, series_id=1, created=None)
JOB = JobId("job-1")


def test_time_passes_by_the_boot_clock_within_one_boot() -> None:
    """Somebody set the wall clock back by an hour: it doesn't matter."""
    later = Moment(wall=NOW.wall - 3600.0, boot=NOW.boot + 7.0, boot_id=NOW.boot_id)

    assert later.since(NOW) == 7.0
    assert NOW.since(later) == -7.0


def test_time_passes_by_the_wall_clock_across_a_reboot() -> None:
    later = Moment(wall=NOW.wall + 90.0, boot=3.0, boot_id="boot-2")

    assert later.since(NOW) == 90.0


@settings(deadline=None)  # no timings as pass or fail
@given(st.sampled_from(IdentifierKind), st.text(st.characters(exclude_characters="… "), max_size=40))
def test_a_masked_identifier_shows_at_most_two_characters(kind: IdentifierKind, value: str) -> None:
    masked = Identifier(kind, value, f"{kind}:{value}").masked

    shown = masked.removeprefix(f"{kind} …")
    assert len(shown) <= 2
    assert shown == "" or (value.endswith(shown) and len(value) > 4)


@pytest.mark.parametrize(
    "value",
    [
        IDENTIFIER,
        Record(number=1, cells=(MOBILE, CODE)),
        Row(number=1, cells=(MOBILE,), identifier=IDENTIFIER),
        COUPON,
        Outcome(meaning=Meaning.ISSUED, coupon=COUPON),
        Intent(
            job=JOB,
            row=1,
            attempt=1,
            spent=0,
            doubted=False,
            holder="h",
            series_id=1,
            identifier=IDENTIFIER,
            begun=NOW,
            send_by=505.0,
        ),
        Reply(status=200, headers={"set-cookie": CODE}, body=CODE.encode(), at=NOW),
        RECORDED,
        Reading(coupons=(RECORDED,), endpoint="v2/customers/coupons", server_time=None, at=NOW, customer_id=CUSTOMER),
        Doubt(
            job=JOB,
            row=1,
            attempt=1,
            spent=1,
            series_id=1,
            identifier=IDENTIFIER,
            sent=NOW,
            given_up=NOW,
            if_absent=RowState.PENDING,
            known_codes=frozenset({CODE}),
        ),
        Issued(job=JOB, row=1, series_id=1, identifier=IDENTIFIER, code=CODE, sent=NOW, answered=NOW),
        ResultRow(
            job=JOB,
            number=1,
            cells=(MOBILE,),
            state=RowState.DUPLICATE,
            code=CODE,
            customer_id=CUSTOMER,
            offer=COUPON,
            first=Lineage(job=JOB, row=2),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_repr_shows_a_customer_or_a_code(value: object) -> None:
    for told in (repr(value), str(value), f"{value}"):
        assert MOBILE not in told
        assert CODE not in told
        assert str(CUSTOMER) not in told
