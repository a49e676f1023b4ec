"""Which coupon of the server's record is ours.

Pure. A row in doubt is settled by comparing when its request could have taken effect with when the record says that
coupons of the series were created, both in the record's own time. The rule: every error ends in `Unsure`; `Nothing`
is only what a proven reader may say, and `Found` needs one coupon, and only one, that can be nobody else's.

Times. The look-up's own `Date` header says what the server's clock shows now; the boot clock says how long ago the
request was begun and given up. How far the record's `createdDate` is from `Date`, a clock offset or a mislabelled
zone alike, was measured on a coupon that a reply had given (`measure`). What was before a reboot, or on another host,
is told by what the server's clock had shown in that boot (`boots`: its seconds at second 0 of each boot's clock); where
nothing was noted then, a customer with coupons of the series is for a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bulk_issue.model import Coupon, Moment, Reading, RecordedCoupon
from bulk_issue.ports import Doubt, Issued, ReaderFacts

#: `Date` and `createdDate` both count whole seconds, and the measured offset inherits that: a coupon of ours may look
#: up to so many seconds older than its request.
RESOLUTION = 2.0
#: A coupon that is older than its request by less than this is nobody's for sure: the offset may have drifted.
SLACK = 5.0
#: The same while no offset was measured (the record had no readable date or the answer no `Date`).
SLACK_UNMEASURED = 300.0
#: An answer that took longer measures no offset: the coupon was created somewhere in it. Half of that, the resolution,
#: and `PROMPT` together must stay within the slack, or a coupon of ours would look older than its request.
MEASURABLE = 2.0
#: A look-up that took longer tells no time: its `Date` was written somewhere in it.
PROMPT = 2.0
#: A coupon that was created so many seconds after a row's last request isn't taken for the row's any more.
LATEST = 3600.0
#: A larger offset is none: zones end at 14 hours, and a coupon that is older was given before (resend series).
FARTHEST = 15 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """This coupon is the row's."""

    coupon: Coupon
    #: When it was created, epoch seconds in the server's time.
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """The record shows no coupon that could have come of the row's requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsure:
    """The record doesn't settle it; `because` is for people and names no code."""

    because: str


Finding = Found | Nothing | Unsure
#: Nothing is known of other boots.
NOWHERE: Mapping[str, float] = MappingProxyType({})

_UNTIMED = Unsure(because="the machine was restarted, and the time of the request by the server's clock isn't known")
_OF_NO_SERIES = Unsure(because="the record doesn't say which series the coupon belongs to")


def judge(
    doubt: Doubt,
    reading: Reading,
    facts: ReaderFacts | None,
    *,
    grace: float,
    generic: bool,
    boots: Mapping[str, float] = NOWHERE,
) -> Finding:
    """Say what one complete reading means for a row in doubt.

    `facts` are those of this reader (endpoint and kind of identifier), None while it isn't proven. `boots` has the
    server's seconds at second 0 of other boots' clocks.
    """
    if facts is None:
        return Unsure(because="the record hasn't yet shown a coupon that this job is known to have been given")
    ours = [coupon for coupon in reading.coupons if _eligible(coupon, doubt, shared=generic)]
    if generic:
        return _judge_generic(doubt, reading, ours, facts)
    if facts.offset is None or reading.server_time is None:
        return _judge_unmeasured(doubt, reading, ours)

    begun, given_up = _server_time(reading, doubt.sent, boots), _server_time(reading, doubt.given_up, boots)
    if begun is None or given_up is None:
        return _UNTIMED if ours else Nothing()
    sent, last = begun + facts.offset, given_up + facts.offset + grace
    # between two boots the server's clock may have been set right
    oldest = sent - (SLACK if _same_boot(doubt.sent, reading.at) else SLACK_UNMEASURED)
    inside: list[RecordedCoupon] = []
    elsewhere = False
    for coupon in ours:
        if coupon.created is None or coupon.true_utc != facts.true_utc:
            return Unsure(because="a coupon of the series has no date of the kind that was measured")
        created = coupon.created + 0.5
        if created < oldest:
            continue
        if None not in (coupon.issued_at, facts.issued_at) and coupon.issued_at != facts.issued_at:
            elsewhere = True
        elif created > last:
            return Unsure(because="a coupon of the series was created after the request can have taken effect")
        elif created < sent - RESOLUTION:
            return Unsure(because="a coupon of the series was created before the request")
        else:
            inside.append(coupon)
    if not inside:
        # Ours if the account's till was changed between the request and the coupon that the reader was proven with; or
        # if that one was an older coupon that the series gave again, of another store: then its time is off, too.
        other = Unsure(because="a coupon of the series was created since, for another store")
        return other if elsewhere else Nothing()
    if len(inside) > 1:
        return Unsure(because=f"{len(inside)} coupons of the series were created while the request was open")
    only = inside[0]
    if only.series_id != doubt.series_id:
        return _OF_NO_SERIES
    return Found(coupon=as_coupon(only, reading), at=(only.created or 0.0) - facts.offset)


def measure(issued: Issued, reading: Reading) -> ReaderFacts | None:
    """What a reader shows of itself with a coupon that a reply gave; None if it doesn't show that coupon."""
    code = issued.code.casefold()
    shown = [
        coupon
        for coupon in reading.coupons
        if coupon.code.casefold() == code and coupon.series_id in (None, issued.series_id)
    ]
    if not shown:
        return None
    return ReaderFacts(
        endpoint=reading.endpoint,
        kind=issued.identifier.kind,
        true_utc=shown[0].true_utc,
        offset=_offset(issued, reading, shown),
        issued_at=shown[0].issued_at,
    )


def shows(issued: Issued, reading: Reading) -> bool:
    """Whether the record shows the coupon that a row has."""
    return holds(reading, issued.code, issued.series_id)


def holds(reading: Reading, code: str, series_id: int) -> bool:
    """Whether the record shows a coupon of the series with this code."""
    return any(
        coupon.code.casefold() == code.casefold() and coupon.series_id in (None, series_id)
        for coupon in reading.coupons
    )


def second_coupons(
    issued: Issued, reading: Reading, facts: ReaderFacts | None, boots: Mapping[str, float] = NOWHERE
) -> list[str]:
    """Codes that the record shows for a row beside its own, and that its requests may have brought after all.

    None where the reader's clock wasn't measured, or nothing tells the time of the requests by the server's clock.
    """
    if facts is None or facts.offset is None or reading.server_time is None:
        return []
    sent, answered = _server_time(reading, issued.sent, boots), _server_time(reading, issued.answered, boots)
    if sent is None or answered is None:
        return []
    first = sent + facts.offset - 0.5 - RESOLUTION
    last = answered + facts.offset - 0.5 + (LATEST if issued.doubted else RESOLUTION)
    return [
        coupon.code
        for coupon in reading.coupons
        if coupon.series_id == issued.series_id
        and coupon.created is not None
        and coupon.true_utc == facts.true_utc
        and first <= coupon.created <= last
        and (None in (coupon.issued_at, facts.issued_at) or coupon.issued_at == facts.issued_at)
        and coupon.code.casefold() not in issued.known_codes | {issued.code.casefold()}
    ]


def _offset(issued: Issued, reading: Reading, shown: Sequence[RecordedCoupon]) -> float | None:
    """Seconds that the record is ahead of `Date`; None if it can't be said to within the slack."""
    created = shown[0].created if len(shown) == 1 else None
    if created is None or reading.server_time is None:
        return None
    if not _same_boot(issued.sent, reading.at) or issued.answered.since(issued.sent) > MEASURABLE:
        return None
    begun, ended = _server_time(reading, issued.sent), _server_time(reading, issued.answered)
    assert begun is not None  # both are of this boot
    assert ended is not None
    offset = created + 0.5 - (begun + ended) / 2
    return offset if abs(offset) <= FARTHEST else None


def _eligible(coupon: RecordedCoupon, doubt: Doubt, *, shared: bool) -> bool:
    """Whether a coupon could be this row's at all, its date and store aside."""
    if coupon.series_id not in (None, doubt.series_id):
        return False
    return shared or coupon.code.casefold() not in {code.casefold() for code in doubt.known_codes}


def _judge_generic(doubt: Doubt, reading: Reading, ours: Sequence[RecordedCoupon], facts: ReaderFacts) -> Finding:
    """Everybody has the same code: that the customer has it is all there is to know."""
    if not ours:
        return Nothing()
    for coupon in ours:
        if coupon.series_id == doubt.series_id:
            at = None if coupon.created is None else coupon.created - (facts.offset or 0.0)
            return Found(coupon=as_coupon(coupon, reading), at=at)
    return _OF_NO_SERIES


def _judge_unmeasured(doubt: Doubt, reading: Reading, ours: list[RecordedCoupon]) -> Finding:
    """Without a measured clock nothing is found; but a customer without any recent coupon of the series has none."""
    if reading.server_time is None or not _same_boot(doubt.sent, reading.at):
        near = ours
    else:
        begun = (_server_time(reading, doubt.sent) or 0.0) - SLACK_UNMEASURED
        # A date that isn't documented as true UTC may be a wall clock of any zone.
        zone = 0.0 if all(coupon.true_utc for coupon in ours) else 14 * 3600.0
        near = [coupon for coupon in ours if coupon.created is None or coupon.created >= begun - zone]
    if near:
        return Unsure(because="the record's clock couldn't be measured, and the customer has a coupon of the series")
    return Nothing()


def server_zero(date: float, at: Moment) -> float:
    """The server's epoch seconds at second 0 of a boot's clock, from a `Date` that came at that moment.

    `Date` cuts off, so the middle of its second is taken.
    """
    return date + 0.5 - at.boot


def _same_boot(one: Moment, other: Moment) -> bool:
    return one.boot_id == other.boot_id


def _server_time(reading: Reading, moment: Moment, boots: Mapping[str, float] = NOWHERE) -> float | None:
    """What the server's clock showed at `moment`, in epoch seconds; None if nobody knows."""
    assert reading.server_time is not None
    zero = server_zero(reading.server_time, reading.at) if _same_boot(moment, reading.at) else boots.get(moment.boot_id)
    return None if zero is None else zero + moment.boot


def as_coupon(recorded: RecordedCoupon, reading: Reading) -> Coupon:
    """A coupon of the record as a reply would have given it, with the warning that none did."""
    warnings = ("read from v1.1: the letters' case may differ",) if reading.endpoint.startswith("v1.1") else ()
    return Coupon(
        code=recorded.code,
        series_id=recorded.series_id,
        description=recorded.description,
        valid_till=recorded.valid_till,
        valid_till_date_time=recorded.valid_till_date_time,
        discount_type=recorded.discount_type,
        discount_value=recorded.discount_value,
        redemption_count=recorded.redemption_count,
        coupon_id=recorded.coupon_id,
        customer_id=reading.customer_id,
        warnings=("settled from Capillary's record", *warnings),
    )
