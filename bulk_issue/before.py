"""What is said before the first request: the file, the series, and what a run would do, on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING

from bulk_issue.model import Alike, Series, Tally, Withheld, only_alike
from bulk_issue.outlook import Outlook, Plan
from bulk_issue.saying import count, duration, number, tally_words
from bulk_issue.states import RowState

if TYPE_CHECKING:
    from bulk_issue.app import Checked
    from bulk_issue.survey import Difference, ProblemCount, Survey

#: Reasons of problems, and jobs that served customers, that fit on one screen.
MOST_REASONS, MOST_JOBS = 6, 5
#: States of rows that no run has touched.
_UNTOUCHED = {RowState.PENDING, RowState.INVALID}


def check_words(checked: Checked, plan: Plan, *, heading: str = "") -> Iterator[str]:
    """What is known before the first request, on one screen."""
    if heading:
        yield heading
    if checked.survey is not None:
        yield from _survey_words(checked, checked.survey)
    if checked.job is not None and checked.tally is not None and set(checked.tally) - _UNTOUCHED:
        yield f"This is job {checked.job}: {tally_words(checked.tally)}"
    yield from look_alike_words(checked)
    yield from elsewhere_words(checked)
    for each in checked.earlier:
        yield from earlier_words(each.job, each.tally, each.difference, each.removed)
        yield "  A run finishes that job first." + (" Who were removed is asked about." if each.removed else "")
    yield from series_words(checked.series, look_first=plan.look_first)
    yield from checked.notes
    yield from outlook_words(checked, plan)


def check_facts(checked: Checked) -> dict[str, object]:
    """What `check` found, for machines."""
    found = checked.survey
    facts = asdict(checked)
    for each in facts["earlier"]:
        each["difference"].pop("unsent")
        each["removed"] = len(each["removed"])
    facts["survey"] = asdict(found) | {"to_send": found.to_send} if found is not None else None
    for part, name in (("outlook", "liability"), ("agreement", "worth")):
        if facts[part] is not None and facts[part][name] is not None:
            facts[part][name] = str(facts[part][name])
    return facts


def _survey_words(checked: Checked, found: Survey) -> Iterator[str]:
    blank = f" ({count(checked.blank, 'blank record')} left out)" if checked.blank else ""
    used = ", ".join(f"{kind} from {column!r}" for kind, column in checked.columns.items())
    yield f"{count(found.rows, 'row')}{blank}, customers named by {used}"
    yield f"  {number(found.usable)} usable, {number(found.rows - found.usable)} invalid"
    shown, more = found.problems[:MOST_REASONS], len(found.problems) - MOST_REASONS
    for problem, after in zip_longest(shown, shown[1:]):
        yield f"  {number(problem.rows)} × {problem.reason} ({_first(problem)})"
        if after is None or after.remedy != problem.remedy:
            yield f"      {problem.remedy}"
    if more > 0:
        yield f"  … and {count(more, 'more reason')}: --json lists them."
    yield from repeats_words(checked, found)


def elsewhere_words(checked: Checked) -> Iterator[str]:
    """Customers who were served for other occasions."""
    if checked.new_occasion:
        yield f"  {checked.new_occasion} is a new occasion for this series."
    elsewhere = checked.survey.served_elsewhere if checked.survey is not None else {}
    for again, jobs in elsewhere.items():
        occasion = f"for the occasion {again}" if again else "without an occasion"
        named = ", ".join(jobs) if len(jobs) <= MOST_JOBS else f"{len(jobs)} jobs"
        yield f"  {count(sum(jobs.values()), 'customer')} served {occasion} (job {named})"
    if elsewhere:
        yield "      Each occasion is a coupon of its own."


def look_alike_words(checked: Checked) -> Iterator[str]:
    """Rows that are held back until somebody says who their customers are."""
    for why, held in only_alike(checked.held_back).items():
        whom = "some of the suppression list" if why is Withheld.ALIKE_EXCLUDED else "some who were served before"
        more = ", …" if held.rows > len(held.first) else ""
        named = f"row{'' if held.rows == 1 else 's'} {', '.join(map(str, held.first))}{more}"
        looks = "looks" if held.rows == 1 else "look"
        yield f"  {count(held.rows, 'customer')} {looks} like {whom}: the same but for a country code, zeros or case"
        skip = checked.left_out.alike is Alike.SKIP
        what = "left out, as the same people" if skip else "held back until somebody says who they are"
        yield f"      Not sent, {what}: {named}."


def repeats_words(checked: Checked, found: Survey) -> Iterator[str]:
    """Customers who stand in the file more than once, or who were served before."""
    if found.duplicates:
        pairs = _pairs(found.duplicate_rows, found.duplicates)
        yield f"  {count(found.duplicates, 'duplicate')}: only the first row of a customer is sent ({pairs})"
    if found.alike:
        pairs = _pairs(found.alike_rows, found.alike)
        yield f"  {count(found.alike, 'look-alike')}: the same but for a country code, zeros or case ({pairs})"
        yield "      Both are sent. Write a customer's identifier in one way if they are the same."
    others = Counter({job: rows for job, rows in found.served.items() if job != checked.job}).most_common()
    for job, rows in others[:MOST_JOBS]:
        yield f"  {count(rows, 'customer')} already served by job {job}"
    if rest := others[MOST_JOBS:]:
        yield f"  {count(sum(rows for _, rows in rest), 'customer')} already served by {len(rest)} more jobs"


def _first(problem: ProblemCount) -> str:
    """The first rows of a problem, in a sheet their cells."""
    sheet = all(problem.cells) and bool(problem.cells)
    what = "cell" if sheet else "row"
    named = problem.cells if sheet else map(str, problem.first)
    more = ", …" if problem.rows > len(problem.first) else ""
    return f"{what}{'' if problem.rows == 1 else 's'} {', '.join(named)}{more}"


def _pairs(rows: Sequence[tuple[int, int]], of: int) -> str:
    return ", ".join(f"row {row} = row {one}" for row, one in rows) + (", …" if of > len(rows) else "")


def earlier_words(job: str, tally: Tally, difference: Difference, removed: Sequence[int]) -> Iterator[str]:
    """An unfinished job of another content of the same file."""
    yield f"Job {job}, of an earlier content of this file, isn't finished: {tally_words(tally)}."
    yield f"  Since then: {difference.words}."
    if removed:
        first = ", ".join(map(str, removed[:MOST_JOBS])) + (", …" if len(removed) > MOST_JOBS else "")
        yield f"  {number(len(removed))} of the removed have no coupon yet (row {first} of the earlier content)."


def series_words(series: Series | None, *, look_first: bool = False) -> Iterator[str]:
    """What the server says of the series, as far as it matters before a start."""
    if series is None:
        return
    worth = {"PERC": f"{series.discount_value} %", "ABS": series.discount_value}.get(series.discount_type, "")
    yield f"Series {series.id}: {series.description or 'without a description'}" + (f", {worth} off" if worth else "")
    stock = "no bound" if series.stock_left is None else number(series.stock_left)
    cap = "no bound" if series.max_per_customer is None else number(series.max_per_customer)
    ends = f"{'Expired' if series.expired else 'Valid till'} {series.valid_till}. " if series.valid_till else ""
    yield f"  {ends}Coupons left: {stock}. At most for a customer: {cap}."
    yield f"  {'A customer who has one is left out (held).' if look_first else _repeat_words(series)}"
    if series.min_days_between:
        yield f"  A customer who got one in the last {count(series.min_days_between, 'day')} is refused."
    if series.generic:
        yield "  GENERIC: everybody gets the same code."
    if series.third_party_codes:
        yield "  Its codes come from a third party; Capillary may not be able to issue them here."
    if series.sends_messages:
        yield "  Issuing may send customers a message."


def _repeat_words(series: Series) -> str:
    if series.resends:
        return "A customer who has one gets the same coupon again."
    if series.generic or (series.multiple_allowed is False and series.resends is False):
        return "A customer who has one is refused (held)."
    if series.multiple_allowed and series.resends is False:
        return "A customer who has one from elsewhere gets another: see --look-first."
    return "What happens to a customer who has one isn't known."


def forecast_words(ahead: Outlook, plan: Plan) -> str:
    """How long it will take at the limit."""
    of = f" of {number(ahead.pending)}" if ahead.rows < ahead.pending else ""
    limit = f"{number(plan.rate)} a minute" if plan.per == 60 else f"{number(plan.rate)} per {plan.per:g} s"
    took = duration(ahead.seconds) if ahead.seconds else "at once"
    return f"{number(ahead.rows)}{of} row{'' if ahead.rows == 1 else 's'} at {limit}: {took}"


def forecast(ahead: Outlook, plan: Plan) -> str:
    """How long it will take at the limit, and until when, where that is known."""
    if plan.deferred:
        return f"{forecast_words(ahead, plan)}, once workers begin; their own hours, pace and limits hold"
    zone = plan.between.zone if plan.between else None
    begins = datetime.fromtimestamp(ahead.begins, zone).astimezone(zone)
    if ahead.ends is None:
        until = ", done in more than a year"
    else:
        ends = datetime.fromtimestamp(ahead.ends, zone).astimezone(zone)
        until = f", until {ends:%H:%M}" + (f" on {ends:%a %d %b}" if ends.date() != begins.date() else "")
    if plan.between is not None:
        until = f", from {begins:%H:%M on %a %d %b}{until} ({plan.between})"
    elif not ahead.seconds:
        until = ""
    return f"{forecast_words(ahead, plan)}{until}"


def outlook_words(checked: Checked, plan: Plan) -> Iterator[str]:
    """What lies ahead of a run."""
    ahead = checked.outlook
    if not ahead.rows:
        yield "To send: nothing."
        return
    yield f"To send: {forecast(ahead, plan)}"
    yield from cost_words(checked)
    for short in ahead.short:
        yield f"  CAN'T LAST: {short}. A run stops before its first request; --yes-short overrides."


def cost_words(checked: Checked) -> Iterator[str]:
    """What the coupons of a run may cost."""
    ahead = checked.outlook
    if ahead.liability is not None:
        each = ahead.liability / ahead.rows
        yield f"  Worth at most {_amount(ahead.liability)}, in the org's currency: {_amount(each)} for each row."
    elif checked.series is not None:
        yield "  What the coupons may cost has no bound that Capillary tells."


def _amount(value: Decimal) -> str:
    return f"{value:,.2f}".replace(",", "\N{NO-BREAK SPACE}").removesuffix(".00")
