"""What a row's life looks like.

Two rules keep this module honest: everything that may change a row's state is an `Event` in the table below, and the
table knows nothing of HTTP, SQL or files. The ledger repeats it only as guards in its WHERE clauses.

Theory of operation. A row is PENDING until its intent (the durable promise "about to be sent") and its claim on the
customer are committed together: then it is IN_FLIGHT, and from that moment on only three things may make it sendable
again: an answer from the closed list "not processed", the server's own record read by a proven reader, or a person's
recorded decision. Whatever else happens (a time-out, a crash, an answer nobody can read) leads to IN_DOUBT. That one
asymmetry is the product: a row left to reconcile costs a minute, a coupon issued twice costs money.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, unique

from bulk_issue.errors import IllegalTransition


@unique
class RowState(StrEnum):
    """Where a row stands. The value is what the ledger stores and what `_status` shows."""

    #: Not sent, or surely not processed: may be sent.
    PENDING = "pending"
    #: The intent is on disk; the request may be on its way. Shown to people as in doubt.
    IN_FLIGHT = "in_flight"
    #: The request may have been processed and nobody knows.
    IN_DOUBT = "in_doubt"
    #: A coupon was issued for this row; its code is known.
    ISSUED = "issued"
    #: The customer had a coupon of the series before; this row issued nothing.
    HELD = "held"
    #: Capillary refused this row. Final until a person retries it.
    REJECTED = "rejected"
    #: The record names no usable customer, or one whom the suppression list names. Never sent.
    INVALID = "invalid"
    #: Another row, of this job or another, has the claim on this customer. Never sent, unless they turn out to be two.
    DUPLICATE = "duplicate"
    #: A record of a failures file that *is* a row of its parent job: retried there, shown as that row stands.
    LINKED = "linked"
    #: Not sent, because the job was cancelled; a person may put it back.
    CANCELLED = "cancelled"
    #: Replaced by a corrected record of a failures file.
    SUPERSEDED = "superseded"


@unique
class Event(StrEnum):
    """What happens to a row."""

    #: Intent, claim and permit are committed.
    BEGIN = "begin"
    #: Another row holds the claim on this customer.
    CLAIM_LOST = "claim_lost"
    #: The answer carries our coupon.
    ISSUED = "issued"
    #: The answer says that the customer already has one.
    HELD = "held"
    #: The answer refuses this row.
    REJECTED = "rejected"
    #: The answer is on the closed list of those that prove that nothing was processed.
    NOT_PROCESSED = "not_processed"
    #: Anything else after the request may have left.
    UNCLEAR = "unclear"
    #: The holder is known dead with this row in flight.
    HOLDER_DIED = "holder_died"
    #: The ledger was restored from a backup: what became of the row since then isn't known.
    RESTORED = "restored"
    #: The server's record, or a person, shows the coupon of a doubtful row.
    FOUND = "found"
    #: The server's record, or a person, shows that no coupon came of a doubtful row.
    ABSENT = "absent"
    #: No coupon came of it, and the last answer was "already held".
    ABSENT_HELD = "absent_held"
    #: No coupon came of it, and the row's last answer or its attempts leave nothing to try.
    ABSENT_REJECTED = "absent_rejected"
    #: A person puts a rejected row back.
    RETRY = "retry"
    #: A person cancels the job.
    CANCEL = "cancel"
    #: The name by which another row holds the claim turned out to be a placeholder: it names nobody.
    FREED = "freed"
    #: A person puts a cancelled row back.
    PUT_BACK = "put_back"
    #: A failures file brings a corrected record for this row.
    SUPERSEDE = "supersede"
    #: The suppression list names the customer.
    EXCLUDE = "exclude"
    #: The suppression list doesn't name the customer any more.
    READMIT = "readmit"


S, E = RowState, Event

TRANSITIONS: Mapping[RowState, Mapping[Event, RowState]] = {
    S.PENDING: {
        E.BEGIN: S.IN_FLIGHT,
        E.CLAIM_LOST: S.DUPLICATE,
        E.RESTORED: S.IN_DOUBT,
        E.CANCEL: S.CANCELLED,
        E.EXCLUDE: S.INVALID,
    },
    S.IN_FLIGHT: {
        E.ISSUED: S.ISSUED,
        E.HELD: S.HELD,
        E.REJECTED: S.REJECTED,
        E.NOT_PROCESSED: S.PENDING,
        E.UNCLEAR: S.IN_DOUBT,
        E.HOLDER_DIED: S.IN_DOUBT,
    },
    S.IN_DOUBT: {
        # A definite answer that comes late still settles its own row.
        E.ISSUED: S.ISSUED,
        E.FOUND: S.ISSUED,
        E.ABSENT: S.PENDING,
        E.ABSENT_HELD: S.HELD,
        E.ABSENT_REJECTED: S.REJECTED,
    },
    S.REJECTED: {E.RETRY: S.PENDING, E.SUPERSEDE: S.SUPERSEDED},
    S.INVALID: {
        E.SUPERSEDE: S.SUPERSEDED,
        # Only where that list was why.
        E.READMIT: S.PENDING,
    },
    S.ISSUED: {},
    S.HELD: {},
    S.DUPLICATE: {E.FREED: S.PENDING},
    S.LINKED: {},
    S.CANCELLED: {E.PUT_BACK: S.PENDING},
    S.SUPERSEDED: {},
}

#: Rows in these states hold the claim on their customer: nobody else may send for them.
CLAIMING = frozenset({S.IN_FLIGHT, S.IN_DOUBT, S.ISSUED, S.HELD})
#: Rows in these states may still change without a person's doing, and without a reply to a row of another customer.
OPEN = frozenset({S.PENDING, S.IN_FLIGHT, S.IN_DOUBT})


def after(state: RowState, event: Event) -> RowState:
    """The state that follows; an event that the state doesn't allow raises `IllegalTransition`."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(
            f"a row that is {state} can't be moved by {event}",
            hint="This is a bug in bulk-issue; nothing was changed. Please report it.",
        ) from None


def sources(event: Event) -> tuple[RowState, ...]:
    """The states that an event may start from, for the ledger's guards."""
    return tuple(state for state, moves in TRANSITIONS.items() if event in moves)
