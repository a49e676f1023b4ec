"""Whether and when there is another attempt.

Pure: the clock's reading and the dice's draw are passed in. The rule that it keeps: an unclear answer never leads to
another attempt by itself, and a row that was ever in doubt becomes REJECTED or HELD only through a last look-up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bulk_issue.model import Answer, Fault, Intent, Meaning, Outcome, Reply
from bulk_issue.states import Event, RowState

#: The error code of a look-up before a request that drew a 429.
THROTTLED = "http-429"
#: The error code of a look-up before a request whose reader has shown nothing yet.
UNPROVEN = "look-up-unproven"
#: Seconds: the first pause, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


def backoff(tries: int, draw: float, *, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> float:
    """Seconds to wait before try number `tries` + 1: doubling, bounded, with jitter.

    `draw` in [0, 1) spreads the pause over its upper half, so that many processes don't come back together.
    """
    doubled = first * 2.0 ** min(max(tries, 0), 32)  # clamped: 2.0 ** 10_000 overflows
    return min(doubled, longest) * (0.5 + draw / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What an outcome does to its row."""

    event: Event
    #: The verdict to record, its reason completed where the decision adds to it.
    outcome: Outcome
    #: True if this attempt counts against the row's bound.
    counts: bool
    #: For NOT_PROCESSED: seconds until the row is due again.
    delay: float = 0.0
    #: For UNCLEAR: what absence from the record would make of the row.
    if_absent: RowState = RowState.PENDING


def decide(answer: Answer | None, outcome: Outcome, intent: Intent, *, max_attempts: int, draw: float) -> Decision:
    """What becomes of the row. Total over every meaning. Without an answer: a look before the request kept it back."""
    spent = intent.spent + 1
    match outcome.meaning:
        case Meaning.ISSUED:
            return Decision(event=Event.ISSUED, outcome=outcome, counts=True)
        case Meaning.HELD:
            return _final(Event.HELD, RowState.HELD, outcome, intent)
        case Meaning.REJECTED:
            return _final(Event.REJECTED, RowState.REJECTED, outcome, intent)
        case Meaning.HALT:
            # The whole job is refused, not this row: it goes back behind all others.
            return Decision(event=Event.NOT_PROCESSED, outcome=outcome, counts=False)
        case Meaning.NOT_PROCESSED:
            counts = not _free(answer, outcome)
            if counts and spent >= max_attempts:
                busy = replace(outcome, reason=f"Busy: not processed in {spent} attempts. {outcome.reason}".strip())
                return _final(Event.REJECTED, RowState.REJECTED, busy, intent)
            return Decision(
                event=Event.NOT_PROCESSED, outcome=outcome, counts=counts, delay=backoff(intent.spent, draw)
            )
        case Meaning.UNCLEAR:
            last = spent >= max_attempts and outcome.if_absent is RowState.PENDING
            return Decision(
                event=Event.UNCLEAR,
                outcome=outcome,
                counts=True,
                if_absent=RowState.REJECTED if last else outcome.if_absent,
            )


def _final(event: Event, state: RowState, outcome: Outcome, intent: Intent) -> Decision:
    """A definite end; for a row that was ever in doubt only after a last look at the record."""
    if intent.doubted:
        return Decision(event=Event.UNCLEAR, outcome=outcome, counts=True, if_absent=state)
    return Decision(event=event, outcome=outcome, counts=True)


def _free(answer: Answer | None, outcome: Outcome) -> bool:
    """Answers that say nothing about the row don't use up its attempts: never left, 429, 401."""
    match answer:
        case Fault():
            return not answer.sent
        case Reply():
            return answer.status in (401, 429)
        case None:
            return outcome.error_code in (THROTTLED, UNPROVEN)
