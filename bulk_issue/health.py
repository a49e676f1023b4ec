"""What a series of answers means for the run: go on, go on carefully, or stop.

Pure bookkeeping over the outcomes of one run; times are passed in as boot-clock seconds. The ledger's guards keep the
promises; this module keeps an outage from filling the ledger with doubt, and a wrong setting from failing every row.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum, unique

from bulk_issue.chance import above
from bulk_issue.config import Share
from bulk_issue.model import Intent, Meaning, Outcome
from bulk_issue.retry import backoff
from bulk_issue.states import Event, RowState
from bulk_issue.verdicts import EXPIRIES, remedy, speaks_of_time

#: The breaker opens after this many unclear outcomes in a row, or `max_doubt` of the last so many.
UNCLEAR_IN_A_ROW, DOUBT_WINDOW = 5, 100
#: `max_failures` looks at all rows that ended in this run and at the last so many of them, from so many on.
FAILURE_WINDOW, FAILURE_JUDGED_FROM = 1_000, 50
#: A percentage counts as exceeded when luck explains it with less than this chance: in the whole run, and in the last
#: rows, which are looked at much oftener (a series that breaks late must not be outweighed by what went well before).
#: It is asked again after every rejection; how often a healthy run is stopped all the same: docs/design.md §8.
LUCK, LUCK_LATELY = 1e-3, 1e-6
#: Rejections without a single coupon that stop a run in its canary phase.
CANARY_REJECTIONS = 5
#: Rows that the record must settle as rejected, and none with a coupon, before a refusal's words count as a rejection.
CONVINCED = 3
#: Seconds that a run goes on with an open breaker, or with nothing but 429 and "not processed".
PATIENCE = 900.0
#: Seconds between probes while the record can't be read at all: each may leave one more row in doubt.
BLIND_PROBE = 240.0


@unique
class StopKind(StrEnum):
    """Why a run ends before its rows do."""

    HALTED = "halted"
    BREAKER = "breaker"
    FAILURES = "failures"
    STALLED = "stalled"
    #: As asked: a signal, `--first`, a pause.
    ASKED = "asked"
    #: A person cancelled the job; the hint is why, in that person's words.
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why, in words for the person who has to act, and what to do."""

    kind: StopKind
    because: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds that a run was started with."""

    max_doubt: Share
    max_failures: Share
    canary: int


@dataclass(slots=True)
class Health:
    """Told of every outcome; asked before every intent."""

    limits: Limits
    began: float
    stop: Stop | None = None
    #: Rows issued or held in this run, up to the canary's number.
    canaries: int = 0
    _rejections: int = 0
    #: Rows that ended in this run, and whether each of the last ones was rejected.
    _rows: int = 0
    _ended: deque[bool] = field(default_factory=lambda: deque(maxlen=FAILURE_WINDOW))
    _doubts: deque[bool] = field(default_factory=lambda: deque(maxlen=DOUBT_WINDOW))
    _unclear_in_a_row: int = 0
    _unprocessed_in_a_row: int = 0
    _unauthorized: int = 0
    _misdirected: int = 0
    _refused_rows: list[tuple[str, int]] = field(default_factory=list)
    _first_answers: list[str] = field(default_factory=list)
    #: Boot second since which nothing else came, at first the run's begin; None while the last answer was another.
    _unprocessed_since: float | None = None
    _quiet_until: float = 0.0
    #: Boot second at which the breaker opened; None while it is closed.
    _open_since: float | None = None
    _probes: int = 0
    _probe_at: float = 0.0
    _blind_probe_at: float = 0.0
    _settled_since_probe: bool = False
    #: Refusals without a cause before the first coupon.
    _causeless: int = 0
    #: By the words of a refusal without a cause: rows that the record settled as rejected, and those with a coupon.
    _came_to_nothing: Counter[str] = field(default_factory=Counter)
    _came_to_a_coupon: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._unprocessed_since = self.began

    # --- told ---------------------------------------------------------------------------------------------------

    def note(self, intent: Intent, outcome: Outcome, event: Event, now: float, draw: float, *, fresh: bool) -> None:
        """Take in one outcome and what became of its row; `fresh` as in `Reply.fresh_credential`."""
        self._watch_halts(intent, outcome, fresh=fresh)
        if outcome.meaning in (Meaning.NOT_PROCESSED, Meaning.HALT):
            self._unprocessed_in_a_row += 1
            if self._unprocessed_in_a_row > 1:
                self._quiet_until = now + backoff(self._unprocessed_in_a_row - 2, draw)
            if self._unprocessed_since is None:
                self._unprocessed_since = now
            if now - self._unprocessed_since > PATIENCE:
                self._end(
                    StopKind.STALLED,
                    f"for {PATIENCE / 60:.0f} minutes not one request was processed ({outcome.reason})",
                    "Run the same command again when the service answers; nothing is lost.",
                )
        else:
            self._unprocessed_in_a_row = 0
            self._unprocessed_since = None
            self._quiet_until = 0.0
        comes_to_nothing = self._comes_to_nothing(outcome)
        self._watch_doubt(intent, outcome, now, unclear=outcome.meaning is Meaning.UNCLEAR and not comes_to_nothing)
        self._watch_failures(Event.REJECTED if comes_to_nothing else event)
        self._watch_canary(outcome)

    def halt(self, because: str, hint: str) -> None:
        """The whole job is refused, for a reason that no answer to a row gave."""
        self._end(StopKind.HALTED, because, hint)

    def stall(self, because: str, hint: str) -> None:
        """Nothing more can be sent, for a reason that no answer to a row gave."""
        self._end(StopKind.STALLED, because, hint)

    def settled(self, reason: str = "", event: Event | None = None) -> None:
        """A row in doubt was settled from the server's record; it had come into doubt for this reason."""
        self._settled_since_probe = True
        if event is Event.ABSENT_REJECTED:
            if not self._is_convinced(reason):  # afterwards its rows count as soon as they are answered
                self._watch_failures(Event.REJECTED)
            self._came_to_nothing[reason] += 1
        elif event is Event.FOUND:
            self._came_to_a_coupon.add(reason)

    # --- asked --------------------------------------------------------------------------------------------------

    @property
    def breaker_open(self) -> bool:
        return self._open_since is not None

    def may_start(self, idle: int, in_flight: int, now: float, *, blind: bool) -> int:
        """How many intents may be written now; `blind` says that the record can't be read."""
        if self.stop is not None or now < self._quiet_until:
            return 0
        if self._open_since is not None:
            if now - self._open_since > PATIENCE:
                self._end(
                    StopKind.BREAKER,
                    "too many answers left it open whether a coupon was issued",
                    "Rows in doubt are safe. Run the same command again when the service is well.",
                )
                return 0
            due = now >= (self._blind_probe_at if blind else self._probe_at)
            due = due and (blind or self._settled_since_probe)
            return 1 if due and in_flight == 0 else 0
        if self.canaries < self.limits.canary:
            return 1 if in_flight == 0 else 0
        return idle

    def ask_again_in(self, now: float) -> float:
        """Seconds until `may_start` may answer otherwise, as far as time alone decides it."""
        waits = [at - now for at in (self._quiet_until, self._probe_at if self.breaker_open else 0.0) if at > now]
        return min(max(waits, default=1.0), 1.0)

    # --- the single watches -------------------------------------------------------------------------------------

    def _watch_halts(self, intent: Intent, outcome: Outcome, *, fresh: bool) -> None:
        code = outcome.error_code
        if outcome.meaning is Meaning.HALT:
            self._end(StopKind.HALTED, outcome.reason, remedy(code))
        self._misdirected += outcome.misdirected
        if self._misdirected >= 2:
            self._end(
                StopKind.HALTED,
                "two answers named another coupon series than the one asked for",
                "Something between here and Capillary mixes up answers. Don't go on before it is repaired.",
            )
        self._unauthorized = self._unauthorized + fresh if code == "http-401" else 0
        if self._unauthorized >= 2:
            self._end(
                StopKind.HALTED,
                "Capillary refuses the credentials (401)",
                "Check user and password, or client key and secret, and run the same command again.",
            )
        self._watch_refused_rows(intent, code)
        if len(self._first_answers) < 3 and outcome.meaning is not Meaning.NOT_PROCESSED:
            self._first_answers.append(code)
            if self._first_answers == ["http-400"] * 3:
                self._end(
                    StopKind.HALTED,
                    "the first three rows were all refused as bad requests (400)",
                    "Check the series and which column holds the identifier (--map, --identify-by).",
                )

    def _watch_refused_rows(self, intent: Intent, code: str) -> None:
        """What one row may draw by itself is everybody's when three draw it in a row."""
        if code not in ("http-403", "http-404", *EXPIRIES):
            self._refused_rows.clear()
            return
        self._refused_rows.append((code, intent.row))
        if len({row for refused, row in self._refused_rows if refused == code}) < 3:
            return
        if code in EXPIRIES:
            self._end(
                StopKind.HALTED,
                f"three rows in a row were refused because the series or its campaign has expired ({code})",
                "Check the series' validity in Capillary. When it is right, retry the rejected rows.",
            )
        else:
            self._end(
                StopKind.HALTED,
                f"three rows in a row were answered by {code[5:]}",
                "Check --base-url, and that this account may issue coupons.",
            )

    def _comes_to_nothing(self, outcome: Outcome) -> bool:
        """Whether this is a refusal without a cause whose words the record has shown to come to nothing in this run.

        Such rows are settled from the record as ever, but there is no outage to wait for.
        """
        causeless = outcome.meaning is Meaning.UNCLEAR and outcome.if_absent is RowState.REJECTED
        return causeless and self._is_convinced(outcome.reason)

    def _is_convinced(self, reason: str) -> bool:
        known = self._came_to_nothing[reason] >= CONVINCED and reason not in self._came_to_a_coupon
        return known and not speaks_of_time(reason)  # what was done behind a time-out, the next one may do

    def _watch_canary(self, outcome: Outcome) -> None:
        """Refusals without a cause, before the first coupon: nothing can settle them, and waiting doesn't help."""
        if self.canaries > 0 or self.limits.canary == 0:
            return
        self._causeless += outcome.meaning is Meaning.UNCLEAR and outcome.if_absent is RowState.REJECTED
        if self._causeless and self._causeless + self._rejections >= CANARY_REJECTIONS:
            self._end(
                StopKind.FAILURES,
                f"the first {CANARY_REJECTIONS} rows were all refused and none got a coupon",
                "Read Capillary's words in in_doubt.csv, and look whether these customers have got one. Rows in doubt "
                "are safe; when the cause is gone, run the same command again.",
            )

    def _watch_doubt(self, intent: Intent, outcome: Outcome, now: float, *, unclear: bool) -> None:
        if outcome.meaning is Meaning.NOT_PROCESSED:
            return
        self._doubts.append(unclear)
        self._unclear_in_a_row = self._unclear_in_a_row + 1 if unclear else 0
        if self._open_since is None:
            if unclear and self._too_doubtful():
                self._open_since = now
                self._probes = 0
                self._schedule_probe(now)
        elif intent.begun.boot > self._open_since:  # a probe: what was under way before says nothing of now
            if unclear:
                self._probes += 1
                self._schedule_probe(now)
            else:
                self._open_since = None
                self._doubts.clear()

    def _schedule_probe(self, now: float) -> None:
        self._settled_since_probe = False
        self._probe_at = now + backoff(self._probes, 1.0, first=5.0)
        self._blind_probe_at = now + BLIND_PROBE

    def _too_doubtful(self) -> bool:
        share = self.limits.max_doubt
        if share.percent == 100:
            return False
        most = share.count if share.count is not None else DOUBT_WINDOW * (share.percent or 0) / 100
        return self._unclear_in_a_row >= UNCLEAR_IN_A_ROW or sum(self._doubts) >= max(most, 1)

    def _watch_failures(self, event: Event) -> None:
        if event in (Event.ISSUED, Event.HELD):
            self.canaries = min(self.canaries + 1, self.limits.canary)
            self._rows += 1
            self._ended.append(False)
            return
        if event is not Event.REJECTED:
            return
        self._rows += 1
        self._ended.append(True)
        self._rejections += 1
        if self.canaries == 0 < self.limits.canary and self._rejections >= CANARY_REJECTIONS:
            self._end(
                StopKind.FAILURES,
                f"the first {CANARY_REJECTIONS} rows were all rejected and none got a coupon",
                "Look at the reasons in failures.csv. Usually it is the wrong column, country code or series.",
            )
        lately = sum(self._ended)
        if self._too_many(lately, len(self._ended), LUCK_LATELY):
            self._end_for_failures(f"{lately} of the last {len(self._ended)} rows")
        elif self.limits.max_failures.count is None and self._too_many(self._rejections, self._rows, LUCK):
            self._end_for_failures(f"{self._rejections} of the {self._rows} rows of this run")

    def _too_many(self, rejected: int, rows: int, luck: float) -> bool:
        share = self.limits.max_failures
        if share.count is not None:
            return rejected > share.count
        return rows >= FAILURE_JUDGED_FROM and above((share.percent or 0) / 100, rejected, rows, luck)

    def _end_for_failures(self, which: str) -> None:
        self._end(
            StopKind.FAILURES,
            f"{which} were rejected: more than --max-failures allows",
            "Look at the reasons in failures.csv. To go on all the same, run again with --max-failures 100%.",
        )

    def _end(self, kind: StopKind, because: str, hint: str) -> None:
        if self.stop is None:
            self.stop = Stop(kind=kind, because=because, hint=hint)
