"""Can it work from here? Everything that can be looked at without issuing: nothing here sends an issue request."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bulk_issue.app import care
from bulk_issue.app.desk import opened
from bulk_issue.client import Client
from bulk_issue.clock import SystemClock
from bulk_issue.config import Config
from bulk_issue.errors import BulkIssueError
from bulk_issue.findings import Finding, Grade
from bulk_issue.model import Identifier, IdentifierKind, Reading, ReadProblem, Series, Unreadable
from bulk_issue.saying import duration

#: Seconds by which clocks may differ: look-ups reckon in the server's time, `--between` and files in ours.
APART = 10.0
#: A customer that nobody has: that it isn't known is an answer, and shows that this account may ask.
NOBODY = Identifier(IdentifierKind.EXTERNAL_ID, "bulk-issue-doctor", "externalId:bulk-issue-doctor")
#: What nothing but sending shows.
ONLY_THE_CANARY = (
    "Only the first row that `run` sends (the canary) will show whether this account may issue from the series, "
    "as which till or store it issues, and whether a coupon can be read back."
)


async def examine(config: Config) -> AsyncIterator[Finding]:
    """Look at the host, the credentials, the clocks, the series, reading back, and the ledger, in this order."""
    clock = SystemClock()
    async with Client(
        config.account, clock, timeout=config.timeout, connections=1, series_id=config.series_id
    ) as client:
        found = await client.series(config.series_id)
        answers = True
        for finding in _access(config, found):
            answers = answers and finding.grade is not Grade.FAILED
            yield finding
        if answers:
            yield _series(config, found)
            yield _reading(await client.coupons(NOBODY))
        if client.ahead is not None:
            yield _clocks(client.ahead)
    for finding in await _ledger(config):
        yield finding


def _access(config: Config, found: Series | Unreadable) -> list[Finding]:
    """Whether the host answers as Capillary does, and takes the credentials."""
    host, credentials = config.account.host, config.account.user or config.account.client_key
    reached = Finding(what="host", grade=Grade.OK, said=f"{host} answers")
    if isinstance(found, Series) or found.problem is ReadProblem.NOT_FOUND or found.status == 403:
        return [reached, Finding(what="credentials", grade=Grade.OK, said=f"those of {credentials} are taken")]
    if found.of_credentials:
        remedy = "Check user and password, or client key and secret, and that they belong to this --base-url."
        return [reached, Finding(what="credentials", grade=Grade.FAILED, said=found.reason, remedy=remedy)]
    if found.problem is ReadProblem.THROTTLED:
        remedy = "Something else uses up this account's limit now. Try again in a minute."
    elif found.status is None:
        remedy = "Check --base-url and the network from here to there; a proxy isn't used."
    else:
        remedy = "Check --base-url; if it is right, try again later."
    return [Finding(what="host", grade=Grade.FAILED, said=f"{host}: {found.reason}", remedy=remedy)]


def _series(config: Config, found: Series | Unreadable) -> Finding:
    name = f"series {config.series_id}"
    if isinstance(found, Unreadable):
        if found.problem is ReadProblem.NOT_FOUND:
            return Finding(what="series", grade=Grade.FAILED, said=found.reason, remedy="Check --series.")
        said = f"the facts of {name} can't be read: {found.reason}"
        remedy = "Only sending will show whether it is open. Better: let Capillary give this account the right."
        return Finding(what="series", grade=Grade.WARNING, said=said, remedy=remedy)
    said = f"{name} ({found.description})" if found.description else name
    if why := found.closed:
        remedy = "Extend it in Capillary, or take another series."
        return Finding(what="series", grade=Grade.FAILED, said=f"{said} {why}", remedy=remedy)
    return Finding(what="series", grade=Grade.OK, said=f"{said} can be read and is open")


def _reading(found: Reading | Unreadable) -> Finding:
    what = "reading back"
    if isinstance(found, Reading) or found.problem is ReadProblem.NOT_FOUND:
        said = "this account may read coupons, so rows in doubt can be settled"
        return Finding(what=what, grade=Grade.OK, said=said)
    if found.problem is ReadProblem.REFUSED:
        said = f"this account may not read coupons: rows in doubt wait for a person ({found.reason})"
        remedy = "Let Capillary give it the right to GET /v2/customers/coupons."
        return Finding(what=what, grade=Grade.WARNING, said=said, remedy=remedy)
    said = f"it couldn't be seen whether this account may read coupons: {found.reason}"
    return Finding(what=what, grade=Grade.WARNING, said=said, remedy="Try again later.")


def _clocks(ahead: float) -> Finding:
    # the server's clock is told in whole seconds
    apart = 0.0 if -1.0 <= ahead <= 0.0 else abs(ahead)
    if apart <= APART:
        said = f"this machine's and the server's are {duration(apart)} apart"
        return Finding(what="clock", grade=Grade.OK, said=said)
    way = "behind" if ahead > 0 else "ahead of"
    said = f"this machine's is {duration(apart)} {way} the server's"
    remedy = "Set this machine's clock by NTP: --between and the times in result files go by it."
    return Finding(what="clock", grade=Grade.WARNING, said=said, remedy=remedy)


async def _ledger(config: Config) -> list[Finding]:
    try:
        async with opened(config.ledger):  # made, if it wasn't there
            pass
        found = await care.check(config.ledger)
    except BulkIssueError as error:
        return [Finding(what="ledger", grade=Grade.FAILED, said=error.message, remedy=error.hint)]
    sound = Finding(what="ledger", grade=Grade.OK, said=f"{config.ledger} is where it may be, and sound")
    return [finding for finding in found if finding.grade is not Grade.OK] or [sound]


__all__ = ["ONLY_THE_CANARY", "Finding", "Grade", "examine"]
