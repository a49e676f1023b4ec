"""`make planted`: known mistakes, each made on purpose in a copy of the repository, and caught by its test.

A test that can't go red proves nothing. Each mistake here breaks one of the promises of docs/design.md §3 by a small
change; the test that is named with it must fail, and fail as a test does: a copy that can't be imported catches
nothing. Before that all these tests pass on a copy as it is.

The rule: the working tree is never touched, and every mistake has a copy of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Copies that are tested at once.
AT_ONCE = 2
#: Seconds after which pytest counts as something that never ends.
LONGEST = 300.0
#: What no copy needs: versions, caches, virtual environments, results.
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*-results", "build", "dist")
#: What a test ends with where code can't even run: that shows nothing of a promise.
BROKEN = re.compile(r"^E +(Name|Type|Attribute|Import|ModuleNotFound|Syntax|UnboundLocal)Error\b", re.MULTILINE)
#: Runs pytest, but only where the package is the copy's own.
RUN = """\
import sys
from pathlib import Path
import bulk_issue, pytest
if Path(bulk_issue.__file__).resolve().parents[1] != Path.cwd().resolve():
    print(f"{bulk_issue.__file__} is not the copy's")
    sys.exit(70)
sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--basetemp=.places", *sys.argv[1:]]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A change that breaks a promise, and the test that must see it."""

    name: str
    #: Its number in docs/design.md §3.
    promise: int
    #: Below `bulk_issue/`; `old` stands in it exactly once.
    file: str
    old: str
    new: str
    #: Below `tests/`.
    test: str


STORY, TAKEOVER = "test_promises.py::test_", "test_takeover.py::test_"
PERSON = "test_tired_person.py::test_nobody_gets_a_coupon_that_no_agreement_named"

MISTAKES = (
    # --- 1: intent first ----------------------------------------------------------------------------------------
    Mistake(
        name="a request leaves before its intent is committed",
        promise=1,
        file="ledger/sqlite.py",
        old="        with connection.begin():\n            if _identity",
        new="        connection.commit()\n        connection.begin()\n        if True:\n            if _identity",
        test="test_ledger.py::test_an_intent_is_on_disk_before_begin_returns",
    ),
    Mistake(
        name="a row that lost its claim is sent all the same",
        promise=1,
        file="ledger/work.py",
        old="            won += winners\n",
        new="            won += pending\n",
        test=STORY + "no_request_leaves_without_its_intent_on_disk",
    ),
    Mistake(
        name="a commit is left to the system's cache",
        promise=1,
        file="ledger/sqlite.py",
        old='"PRAGMA synchronous = FULL"',
        new='"PRAGMA synchronous = NORMAL"',
        test=STORY + "a_commit_is_flushed_to_the_disk",
    ),
    # --- 2: never twice -----------------------------------------------------------------------------------------
    Mistake(
        name="a row in doubt is pending again",
        promise=2,
        file="retry.py",
        old="        case Meaning.NOT_PROCESSED:\n",
        new="        case Meaning.NOT_PROCESSED | Meaning.UNCLEAR:\n",
        test=STORY + "a_request_without_an_answer_is_looked_up_and_never_sent_again",
    ),
    Mistake(
        name="another attempt on a time-out",
        promise=2,
        file="pool.py",
        old="            answer = await self._request(intent)\n",
        new=(
            "            answer = await self._request(intent)\n"
            "            if isinstance(answer, Fault) and answer.kind is FaultKind.TIMEOUT:\n"
            "                answer = await self._request(intent)\n"
        ),
        test=STORY + "a_request_without_an_answer_is_looked_up_and_never_sent_again",
    ),
    Mistake(
        name="--look-first looks and sends all the same",
        promise=2,
        file="look.py",
        old="        if intent.series_id in series:\n",
        new="        if intent.series_id in ():\n",
        test="test_look.py::test_who_holds_a_coupon_of_the_series_is_held_and_gets_no_request",
    ),
    Mistake(
        name="--look-first sends on the word of a reader that has shown nothing",
        promise=2,
        file="look.py",
        old="        if await self._goes_first(intent, found):\n",
        new="        if found is not None:\n",
        test="test_look.py::test_before_the_reader_is_proven_one_row_goes_at_a_time",
    ),
    Mistake(
        name="709 in words that nobody knows is a rejection",
        promise=2,
        file="verdicts.py",
        old='    _by_text(U, "709",',
        new='    _by_text(R, "709",',
        test="test_classify.py::test_a_failure_whose_cause_is_not_said_is_left_to_the_record",
    ),
    Mistake(
        name="a refusal that speaks of a time-out is definite",
        promise=2,
        file="classify.py",
        old="        line = verdicts.TIMED_OUT\n",
        new="        pass\n",
        test="test_classify.py::test_no_refusal_that_speaks_of_a_time_out_is_definite",
    ),
    Mistake(
        name="a look-up that was never seen to find anybody shows that nobody is there",
        promise=2,
        file="readers.py",
        old=(
            "        if reading.names_nobody and (identifier.kind, form(identifier)) not in self._forms:\n"
            "            return None\n"
            "        return self._facts.get((reading.endpoint, identifier.kind))\n"
        ),
        new="        return next(iter(self._facts.values()), None)\n",
        test="test_reconcile.py::test_a_look_up_that_has_found_nobody_yet_settles_nothing",
    ),
    Mistake(
        name="that nobody bears an identifier of one form counts for all forms",
        promise=2,
        file="readers.py",
        old='            return f"{len(value)} digits"\n',
        new='            return "digits"\n',
        test="test_reconcile.py::test_that_nobody_bears_an_identifier_of_another_form_says_nothing",
    ),
    Mistake(
        name="a decision that no coupon was issued throws away the code beside it",
        promise=2,
        file="decisions.py",
        old='        if beside and beside.casefold() != (code or "").casefold():\n',
        new="        if beside and code and beside.casefold() != code.casefold():\n",
        test="test_decisions.py::test_a_decision_and_a_code_beside_it_must_agree",
    ),
    Mistake(
        name="a decision may give a row the coupon of another customer",
        promise=3,
        file="ledger/deciding.py",
        old="            if holder.key != row.key and not _has(tx, row, code):\n",
        new="            if holder.key is row:\n",
        test="test_ledger.py::test_a_decision_for_a_code_that_another_customer_has_is_refused",
    ),
    Mistake(
        name="an excluded row is pending",
        promise=2,
        file="exclusion.py",
        old="            return Withheld.EXCLUDED\n",
        new="            return None\n",
        test="test_exclusion.py::test_excluded_rows_are_never_sent_and_no_failures",
    ),
    Mistake(
        name="a suppression list that grew is the one of before",
        promise=2,
        file="app/left_out.py",
        old="        if (said.sha256, said.alike) == (job.left_out.sha256, job.left_out.alike):\n",
        new="        if said.alike == job.left_out.alike:\n",
        test="test_left_out.py::test_a_list_that_grew_takes_pending_rows_away",
    ),
    Mistake(
        name="a row that is withheld may begin",
        promise=2,
        file="ledger/schema.py",
        old="SENDABLE = and_(PENDING, rows.c.withheld.is_(None))\n",
        new="SENDABLE = PENDING\n",
        test="test_omissions.py::test_a_withheld_row_never_begins",
    ),
    Mistake(
        name="a customer who looks like a served one is sent to without a word",
        promise=2,
        file="ledger/work.py",
        old="        if not found:\n            return list(free), [], []\n",
        new="        if found is not None:\n            return list(free), [], []\n",
        test="test_omissions.py::test_begin_holds_back_who_looks_like_a_customer_of_another_job",
    ),
    Mistake(
        name="a failures record that lost its zeros is taken for a correction",
        promise=2,
        file="ledger/registering.py",
        old="if (was := named(tx, theirs)) is not None and _altered(row, was.key):",
        new="if (was := named(tx, theirs)) is not None and row.key is None:",
        test="test_omissions.py::test_a_record_that_lost_its_zeros_supersedes_nothing_and_names_nobody",
    ),
    Mistake(
        name="a redirect is followed",
        promise=2,
        file="client/exchange.py",
        old="allow_redirects=False",
        new="allow_redirects=True",
        test="test_client.py::test_a_redirect_is_an_answer",
    ),
    Mistake(
        name="a request leaves after its `send_by`",
        promise=2,
        file="client/exchange.py",
        old="        if self._clock.now().boot > self._send_by:\n",
        new="        if self._clock.now().boot > self._send_by + 30.0:\n",
        test="test_client.py::test_a_request_that_waited_too_long_for_a_connection_is_dropped",
    ),
    Mistake(
        name="what a dead run had in flight is pending again",
        promise=2,
        file="states.py",
        old="        E.HOLDER_DIED: S.IN_DOUBT,\n",
        new="        E.HOLDER_DIED: S.PENDING,\n",
        test="test_states.py::test_what_may_have_been_sent_is_pending_again_only_when_surely_not_processed",
    ),
    Mistake(
        name="reconciling before the grace has passed",
        promise=2,
        file="reconcile.py",
        old="        return 2 * self.grace\n",
        new="        return 0.0\n",
        test=STORY + "a_coupon_that_exists_and_shows_at_the_last_moment_is_the_rows",
    ),
    Mistake(
        name="one empty look is enough",
        promise=2,
        file="reconcile.py",
        old="            case Nothing() if self._second_look(doubt, began):\n",
        new="            case Nothing():\n",
        test=STORY + "a_coupon_that_shows_only_after_the_first_look_is_the_rows",
    ),
    Mistake(
        name="the second look before a late coupon has had its time to show",
        promise=2,
        file="reconcile.py",
        old="        return 2 * self.grace\n",
        new="        return self.grace\n",
        test=STORY + "a_coupon_that_exists_and_shows_at_the_last_moment_is_the_rows",
    ),
    Mistake(
        name="a reader is trusted unproven",
        promise=2,
        file="candidates.py",
        old="    if facts is None:\n",
        new=(
            "    facts = facts or ReaderFacts(endpoint=reading.endpoint, kind=doubt.identifier.kind, offset=0.0)\n"
            "    if facts is None:\n"
        ),
        test="test_candidates.py::test_a_reader_that_is_not_proven_says_nothing_at_all",
    ),
    Mistake(
        name="our own clock instead of the server's",
        promise=2,
        file="candidates.py",
        old="    return None if zero is None else zero + moment.boot\n",
        new="    return moment.wall\n",
        test=STORY + "whoever_sets_our_clock_moves_no_coupon_out_of_its_window",
    ),
    Mistake(
        name="a row whose claim another host wrote first is sent all the same",
        promise=2,
        file="ledger/work.py",
        old="        return [row for row in free if (row.job, row.number) in landed]\n",
        new="        return [row for row in free if landed or not landed]\n",
        test="test_postgres.py::test_two_accounts_that_claim_the_same_customers_in_opposite_order_never_share_one",
    ),
    Mistake(
        name="no claim inside one job",
        promise=2,
        file="ledger/work.py",
        old="        asked = [(row.scope, row.key, row.again",
        new='        asked = [(row.scope, f"{row.key}#{row.number}", row.again',
        test="test_ledger.py::test_the_second_row_of_a_customer_is_a_duplicate_of_the_first",
    ),
    Mistake(
        name="no claim across jobs",
        promise=2,
        file="ledger/registering.py",
        old="scope=scope(spec.org, spec.series_id)",
        new="scope=scope(spec.id, spec.series_id)",
        test="test_ledger.py::test_a_customer_served_by_another_job_is_a_duplicate",
    ),
    Mistake(
        name="an outcome without a look at the holder",
        promise=2,
        file="ledger/answers.py",
        old="(state is RowState.IN_FLIGHT and row.holder == settlement.intent.holder)",
        new="(state is RowState.IN_FLIGHT)",
        test=STORY + "an_answer_to_another_run_moves_no_row",
    ),
    Mistake(
        name="an outcome without a look at the attempt",
        promise=2,
        file="ledger/answers.py",
        old="    mine = row.attempt == settlement.intent.attempt and (\n",
        new="    mine = (\n",
        test="test_ledger.py::test_a_coupon_for_a_row_that_moved_on_is_excess",
    ),
    Mistake(
        name="an open breaker probes without waiting for a row to be settled",
        promise=2,
        file="health.py",
        old="            due = due and (blind or self._settled_since_probe)\n",
        new="",
        test=STORY + "an_hour_of_500s_leaves_at_most_ten_rows_in_doubt_beside_those_in_flight",
    ),
    Mistake(
        name="no answer is asked what time it is",
        promise=3,
        file="crew.py",
        old="            on_reply=readers.saw,\n",
        new="",
        test="test_reconcile.py::test_an_answer_ties_its_boots_clock_to_the_servers",
    ),
    Mistake(
        name="the wall clock says when another boot sent a request",
        promise=3,
        file="candidates.py",
        old="else boots.get(moment.boot_id)\n",
        new="else reading.server_time - reading.at.wall + moment.wall - moment.boot\n",
        test="test_candidates.py::test_after_a_reboot_no_older_coupon_of_the_series_is_taken",
    ),
    Mistake(
        name="a batch of answers that touch each other is taken in as if they didn't",
        promise=2,
        file="ledger/answers.py",
        old="    return len({*names}) < len(names) or any(\n",
        new="    return bool(names) and False and any(\n",
        test="test_ledger.py::test_a_batch_of_answers_comes_out_as_one_by_one",
    ),
    Mistake(
        name="a claim that comes to nothing frees a customer whom another row's reply has named",
        promise=2,
        file="ledger/claims.py",
        old="        tx.execute(_INHERIT, given_up)\n",
        new="",
        test="test_ledger.py::test_a_row_under_way_is_not_sent_again_once_a_reply_has_named_its_customer",
    ),
    Mistake(
        name="the customer's number is ignored: who shares a name is one customer",
        promise=2,
        file="ledger/coupons.py",
        old="if number is not None and number > 0 else None\n",
        new="if number is not None and number < 0 else None\n",
        test="test_who_is_who.py::test_customers_whose_profiles_share_names_are_different_customers",
    ),
    Mistake(
        name="a name that two customers bear goes on to name the first",
        promise=3,
        file="ledger/placeholders.py",
        old="    return theirs is not None and mine is not None and known.get(theirs, theirs) != mine\n",
        new="    return False\n",
        test="test_who_is_who.py::test_a_known_placeholder_makes_nobody_a_duplicate",
    ),
    Mistake(
        name="a duplicate by a placeholder stays one",
        promise=3,
        file="ledger/placeholders.py",
        old="        _free(tx, tx.execute(_BEHIND",
        new="        (lambda *_: None)(tx, tx.execute(_BEHIND",
        test="test_who_is_who.py::test_a_row_that_was_a_duplicate_by_a_placeholder_only_is_sent_after_all",
    ),
    Mistake(
        name="commands about the ledger ignore the profile's ledger",
        promise=2,
        file="cli/options.py",
        old="        if any(profile.shared(param) for param in command.params)",
        new='        if any(param.name == "base_url" for param in command.params)',
        test="test_profile.py::test_a_served_customer_is_found_in_the_profiles_ledger",
    ),
    # --- 2: never twice, on several hosts -----------------------------------------------------------------------
    Mistake(
        name="a run that was replaced goes on",
        promise=2,
        file="ledger/runs.py",
        old=" != hold.token:",
        new=' == "":',
        test=TAKEOVER + "a_run_that_was_replaced_begins_nothing_and_settles_only_its_own_rows",
    ),
    Mistake(
        name="a begin that waited for a takeover sees the ledger as it was before",
        promise=2,
        file="ledger/postgres.py",
        old="default_transaction_isolation = 'read committed'",
        new="default_transaction_isolation = 'repeatable read'",
        test=TAKEOVER + "a_begin_that_waited_for_a_takeover_sees_it",
    ),
    Mistake(
        name="requests of a run that is gone are given up while they may be on their way",
        promise=2,
        file="ledger/jobs.py",
        old="later(now, max(lingers(self._db, budget), lingering(tx, seq)))",
        new="now",
        test=TAKEOVER + "a_run_that_was_replaced_begins_nothing_and_settles_only_its_own_rows",
    ),
    Mistake(
        name="requests of a run that is gone are given up by the time-out of the run that found it gone",
        promise=2,
        file="ledger/jobs.py",
        old="max(lingers(self._db, budget), lingering(tx, seq))",
        new="lingers(self._db, budget)",
        test=TAKEOVER + "requests_of_a_run_that_is_gone_are_given_up_by_the_longer_time_out",
    ),
    Mistake(
        name="the grace of what another host gave up goes by that host's clock",
        promise=2,
        file="ledger/jobs.py",
        old="        adopt(tx, seq, given_up)\n",
        new="",
        test=TAKEOVER + "what_another_host_gave_up_counts_from_when_the_next_holder_finds_it",
    ),
    Mistake(
        name="the job of a worker that stands still is nobody's for as long as its session lives",
        promise=7,
        file="ledger/workers.py",
        old="engine.last_heartbeat > clock_timestamp()",
        new="engine.last_heartbeat < clock_timestamp()",
        test=TAKEOVER + "a_worker_that_stands_still_is_replaced_though_its_session_lives",
    ),
    Mistake(
        name="a run that a person made is ended as a lost worker's",
        promise=2,
        file="ledger/workers.py",
        old="AND runs.worker IS NOT NULL AND NOT EXISTS",
        new="AND NOT EXISTS",
        test=TAKEOVER + "nobody_else_is_evicted",
    ),
    Mistake(
        name="a run that only waits for the record doesn't find that it was replaced",
        promise=7,
        file="job.py",
        old="            await insist(lambda: self.parts.ledger.jobs.confirm(hold))\n",
        new="",
        test="test_job.py::test_a_run_that_waits_for_the_record_ends_when_another_one_holds_its_job",
    ),
    Mistake(
        name="a person decides on a row that a lost process may still send",
        promise=2,
        file="ledger/doubts.py",
        old="        if (wait := _given_up_in(row, now)) > 0:\n",
        new="        if (wait := 0) > 0:\n",
        test=TAKEOVER + "nobody_decides_on_a_row_whose_request_may_be_on_the_wire",
    ),
    Mistake(
        name="a database that was put back is gone on with",
        promise=2,
        file="ledger/home.py",
        old="    if here is None or written is None or not here.is_other_than(",
        new="    if here is None or written is None or here.is_other_than(",
        test="test_postgres.py::test_nobody_goes_on_in_a_database_that_was_put_back_before_it_was_reopened",
    ),
    Mistake(
        name="a run that was cut off goes on with the rate that was agreed before",
        promise=4,
        file="ledger/permits.py",
        old="min(budget.rate, account.rate)",
        new="budget.rate",
        test=TAKEOVER + "a_run_that_was_cut_off_keeps_to_the_limit_that_others_have_agreed_on_since",
    ),
    # --- 3: nothing lost ----------------------------------------------------------------------------------------
    Mistake(
        name="an older coupon is taken for the row's",
        promise=3,
        file="candidates.py",
        old="    sent, last = begun + facts.offset, given_up + facts.offset + grace\n",
        new='    sent, last = float("-inf"), given_up + facts.offset + grace\n',
        test="test_candidates.py::test_a_coupon_of_minutes_before_the_request_is_ignored",
    ),
    Mistake(
        name="answers are joined with rows by position",
        promise=3,
        file="ledger/answers.py",
        old="[_moved(move) for move in landed if tuple(move.values) == columns]",
        new="[{**_moved(move), **its.values} for move, its in zip(landed, reversed(landed), strict=True)]",
        test=STORY + "answers_that_are_recorded_together_go_to_their_own_rows",
    ),
    Mistake(
        name="a row that was in doubt is rejected without a last look",
        promise=3,
        file="retry.py",
        old="    if intent.doubted:\n",
        new="    if intent.doubted and state is RowState.HELD:\n",
        test="test_retry.py::test_a_row_that_was_ever_in_doubt_ends_only_through_a_last_look",
    ),
    Mistake(
        name="a 429 counts as an attempt",
        promise=3,
        file="retry.py",
        old="answer.status in (401, 429)",
        new="answer.status == 401",
        test="test_retry.py::test_answers_that_say_nothing_of_the_row_use_up_none_of_its_attempts",
    ),
    Mistake(
        name="rows that a failures file retries are missing from its results",
        promise=3,
        file="ledger/views.py",
        old=(".where(rows.c.job == seq)\n                .order_by(rows.c.number)\n"),
        new=('.where(rows.c.job == seq, rows.c.state != "linked")\n                .order_by(rows.c.number)\n'),
        test="test_ledger.py::test_a_failures_file_retries_its_parents_rows_in_place",
    ),
    Mistake(
        name="exit 0 with rows in doubt",
        promise=3,
        file="ending.py",
        old="    if any_in(_S.IN_DOUBT, _S.IN_FLIGHT) or excess:\n",
        new="    if excess:\n",
        test="test_ending.py::test_a_run_that_was_not_stopped_ends_as_its_rows_stand",
    ),
    Mistake(
        name="rows in doubt stand in failures.csv",
        promise=3,
        file="shown.py",
        old='    RowState.IN_DOUBT: ("in_doubt", IN_DOUBT),\n',
        new='    RowState.IN_DOUBT: ("in_doubt", FAILURES),\n',
        test="test_sink.py::test_failures_are_the_rejected_and_invalid_rows_of_the_results",
    ),
    Mistake(
        name="the guard against formulas alters the input's cells",
        promise=3,
        file="sink/__init__.py",
        old="        line = (*cells, *[shown(row) for shown in shows])\n",
        new=(
            "        guarded = [f\"'{cell}\" if cell.startswith(('=', '+', '-', '@')) else cell for cell in cells]\n"
            "        line = (*guarded, *[shown(row) for shown in shows])\n"
        ),
        test="test_sink.py::test_no_text_of_ours_is_a_formula_and_no_original_cell_or_code_is_touched",
    ),
    Mistake(
        name="the pool closes connections that other threads are using",
        promise=3,
        file="ledger/sqlite.py",
        old="poolclass=QueuePool, pool_size=KEPT, max_overflow=-1",
        new="pool_size=KEPT",
        test="test_many_readers.py::test_thirty_threads_read_a_ledger_whose_campaign_runs",
    ),
    Mistake(
        name="the connection that closes last may not write",
        promise=3,
        file="ledger/database.py",
        old=(
            "        self._readers.dispose()\n"
            "        if self._connection is not None:\n"
            "            self.dialect.detach(self._connection)\n"
            "            self._connection.close()\n"
            "        self._engine.dispose()\n"
        ),
        new=(
            "        if self._connection is not None:\n"
            "            self.dialect.detach(self._connection)\n"
            "            self._connection.close()\n"
            "        self._engine.dispose()\n"
            "        self._readers.dispose()\n"
        ),
        test="test_journal.py::test_the_last_one_that_closes_moves_all_into_the_file",
    ),
    Mistake(
        name="a ledger that came without its journal is sent from",
        promise=2,
        file="ledger/home.py",
        old='    if tx.dialect.name == "sqlite":\n        return _without_journal(tx)\n',
        new='    if tx.dialect.name == "sqlite":\n        return None\n',
        test="test_journal.py::test_a_copy_with_nothing_in_it_says_so",
    ),
    Mistake(
        name="the ledger's file says that it is whole while somebody records",
        promise=2,
        file="ledger/journal.py",
        old="        self._to_be_moved = True  #",
        new="        self._to_be_moved = False  #",
        test="test_journal.py::test_from_the_first_change_on_the_file_says_that_it_needs_its_journal",
    ),
    # --- 4: never over the limit, and not far below it ----------------------------------------------------------
    Mistake(
        name="a permit is free `per` after the request was sent",
        promise=4,
        file="ledger/work.py",
        old="permits.answered(tx, [(*r, arrived or s.at) for",
        new="permits.answered(tx, [(*r, s.intent.begun) for",
        test="test_ledger.py::test_a_permit_is_free_per_seconds_after_the_answer",
    ),
    Mistake(
        name="a permit without an answer is free `per` after it was taken",
        promise=4,
        file="ledger/permits.py",
        old=" + budget.unanswered + budget.per,",
        new=" + budget.per,",
        test="test_ledger.py::test_without_an_answer_a_permit_stays_taken_for_timeout_grace_and_per",
    ),
    Mistake(
        name="a new run forgets the permits of the one before",
        promise=4,
        file="ledger/permits.py",
        old="    whole = case(",
        new=("    connection.execute(delete(permits).where(permits.c.account == budget.account))\n    whole = case("),
        test=STORY + "a_run_right_after_another_keeps_to_what_is_left_of_the_limit",
    ),
    Mistake(
        name="the permits of a dead run are free at once",
        promise=4,
        file="ledger/takeover.py",
        old="        own = and_(rows.c.job == row.job, rows.c.number == row.number)\n",
        new=(
            "        own = and_(rows.c.job == row.job, rows.c.number == row.number)\n"
            "        from bulk_issue.ledger import permits\n"
            "        permits.never_left(tx, [(row.job, row.number, row.attempt)])\n"
        ),
        test=STORY + "a_run_right_after_a_kill_keeps_to_what_is_left_of_the_limit",
    ),
    Mistake(
        name="every worker renews the token",
        promise=4,
        file="auth.py",
        old="            fresh = self._fetches == before or self._latest is None\n",
        new="            fresh = True\n",
        test="test_auth.py::test_fifty_requests_at_once_fetch_one_token",
    ),
    # --- 5: flat ------------------------------------------------------------------------------------------------
    Mistake(
        name="all rows are read before the first is written",
        promise=5,
        file="sink/__init__.py",
        old="    for row in rows:\n",
        new="    for row in list(rows):\n",
        test="test_sink.py::test_memory_does_not_grow_with_the_rows",
    ),
    # --- 6: quiet -----------------------------------------------------------------------------------------------
    Mistake(
        name="the password in a repr",
        promise=6,
        file="config.py",
        old='    password: str = field(default="", repr=False)\n',
        new='    password: str = ""\n',
        test="test_config.py::test_secrets_are_in_no_repr",
    ),
    Mistake(
        name="the customer in a repr",
        promise=6,
        file="model.py",
        old="    value: str = field(repr=False)\n",
        new="    value: str\n",
        test="test_model.py::test_no_repr_shows_a_customer_or_a_code",
    ),
    Mistake(
        name="everybody may read the results",
        promise=6,
        file="sink/folder.py",
        old="os.fchmod(file.fileno(), 0o600)",
        new="os.fchmod(file.fileno(), 0o644)",
        test="test_sink.py::test_customer_data_is_readable_for_its_owner_only",
    ),
    Mistake(
        name="the words of a bug are logged",
        promise=6,
        file="cli/telling.py",
        old="            message=message,\n",
        new='            message=str(error or ""),\n',
        test="test_exit_codes.py::test_trouble_for_a_bug_that_is_raised_while_rows_are_sent",
    ),
    Mistake(
        name="config show shows secrets",
        promise=6,
        file="cli/settings.py",
        old="        yield name, MASKED if there else None, origin\n",
        new="        yield name, values.secret(name, file) if there else None, origin\n",
        test="test_settings.py::test_secrets_are_masked_and_their_origin_is_told",
    ),
    Mistake(
        name="what a server says of a customer is repeated",
        promise=6,
        file="classify.py",
        old='    clean = " ".join("…" if _telling(word) else word for word in clean.split())\n',
        new="",
        test="test_quiet.py::test_what_a_server_says_of_a_customer_is_not_repeated[400]",
    ),
    # --- 7: again is safe ---------------------------------------------------------------------------------------
    Mistake(
        name="a run ends with a row that the record has just put back",
        promise=7,
        file="job.py",
        old="        return sending and not self.parts.asked.is_set() and await insist(to_send) > 0",
        new="        return False",
        test="test_job.py::test_what_the_record_puts_back_during_the_last_read_is_issued_too",
    ),
    Mistake(
        name="a claim ends when its coupon is there",
        promise=7,
        file="ledger/claims.py",
        old="for job, row, state, _ in moved if state not in CLAIMING]\n",
        new="for job, row, state, _ in moved if state not in (RowState.IN_FLIGHT, RowState.IN_DOUBT)]\n",
        test="test_ledger.py::test_a_customer_served_by_another_job_is_a_duplicate",
    ),
    Mistake(
        name="a next command sends only a part once more",
        promise=7,
        file="cli/nexts.py",
        old='        *("first", "job",',
        new='        *("job",',
        test="test_nexts.py::test_what_follows_the_first_rows_sends_the_others_once_they_look_right",
    ),
    # --- 9: errors go to "unclear" ------------------------------------------------------------------------------
    Mistake(
        name="a 502 means that nothing was processed",
        promise=9,
        file="verdicts.py",
        old='    _line(On.STATUS, U, "502",',
        new='    _line(On.STATUS, N, "502",',
        test="test_classify.py::test_only_the_closed_list_is_not_processed_in_the_table",
    ),
    Mistake(
        name="a look-up that failed shows that there is no coupon",
        promise=9,
        file="reconcile.py",
        old="            finding = Unsure(because=reading.reason)\n",
        new="            finding = Nothing()\n",
        test=STORY + "a_time_in_which_nothing_can_be_looked_up_proves_nothing",
    ),
    Mistake(
        name="a second coupon for a row is dropped",
        promise=9,
        file="ledger/answers.py",
        old="    return Landed.EXCESS\n",
        new="    return Landed.STALE\n",
        test="test_ledger.py::test_a_coupon_for_a_row_that_moved_on_is_excess",
    ),
    Mistake(
        name="answers go down with a job that was taken over",
        promise=3,
        file="pool.py",
        old="                self._over = over  # whoever",
        new="                raise over  # whoever",
        test="test_pool.py::test_answers_are_recorded_though_the_job_was_taken_over_meanwhile",
    ),
    Mistake(
        name="nobody looks again at rows that were in doubt",
        promise=9,
        file="audit.py",
        old="            await self._look(self.doubts.doubted, before, issued)\n",
        new="            del before, issued\n",
        test=STORY + "a_coupon_that_comes_after_the_grace_is_told_by_the_next_run",
    ),
    Mistake(
        name="a restored ledger sends what it takes for pending",
        promise=2,
        file="ledger/restored.py",
        old="    marked = [row for row in claimed if row.restored is not None]\n",
        new="    marked = []\n",
        test="test_care.py::test_nothing_of_a_restored_ledger_is_sent_before_the_record_was_asked",
    ),
    Mistake(
        name="a restored ledger forgets that a rejected row may have been retried since",
        promise=2,
        file="ledger/reopen.py",
        old="_AGAIN = (Event.RETRY, Event.PUT_BACK, Event.FREED)",
        new="_AGAIN: tuple[Event, ...] = ()",
        test="test_care.py::test_a_rejected_row_that_is_retried_after_a_restore_is_looked_up_first",
    ),
    Mistake(
        name="a file that the backup didn't know is sent without a look",
        promise=2,
        file="ledger/registering.py",
        old="    mark(tx, seq)\n",
        new="",
        test="test_care.py::test_a_file_that_the_backup_did_not_know_is_looked_up_until_a_person_trusts",
    ),
    Mistake(
        name="a row that was in doubt at the backup is looked up only as of then",
        promise=2,
        file="ledger/reopen.py",
        old="    tx.execute(update(rows).where(IN_DOUBT).values(given_up | nothing_seen))\n",
        new="",
        test="test_care.py::test_rows_that_could_be_sent_are_in_doubt_from_the_backup_to_the_restore",
    ),
    Mistake(
        name="a restore claims the customers of a file that was being registered",
        promise=3,
        file="ledger/reopen.py",
        old=".where(jobs.c.state != str(JobState.REGISTERING))",
        new="",
        test="test_care.py::test_what_was_being_registered_at_the_backup_claims_nobody",
    ),
    Mistake(
        name="who was purged is served again",
        promise=2,
        file="ledger/forgotten.py",
        old="    return plain if hashed is None else plain | {hashed(text): text for text in plain}\n",
        new="    return plain\n",
        test="test_care.py::test_nobody_is_served_twice_after_a_purge_whatever_the_identifier",
    ),
    Mistake(
        name="a purge leaves the cells of the file",
        promise=6,
        file="ledger/purging.py",
        old="values(cells=NOTHING, reason=None",
        new="values(reason=None",
        test="test_care.py::test_a_purge_leaves_no_trace_of_customers_or_codes_and_keeps_the_counts",
    ),
    Mistake(
        name="a purge hashes the claims and leaves the coupon codes",
        promise=6,
        file="ledger/purging.py",
        old="    if coded:\n",
        new="    if False:\n",
        test="test_care.py::test_a_purge_leaves_no_trace_of_customers_or_codes_and_keeps_the_counts",
    ),
    # --- a ledger that moves ------------------------------------------------------------------------------------
    Mistake(
        name="a file that was moved to a database takes changes",
        promise=2,
        file="ledger/copying.py",
        old="            moved.mark(here, self.place, identity)\n",
        new="",
        test="test_copying.py::test_only_an_empty_database_takes_a_copy_and_only_one_does",
    ),
    Mistake(
        name="a copy that was committed is taken for one that wasn't",
        promise=2,
        file="ledger/copying.py",
        old="                if self._arrived(here, there):\n                    return None\n",
        new="",
        test="test_copying.py::test_wherever_a_copy_dies_one_ledger_at_most_is_in_use_and_the_next_copy_ends_it",
    ),
    Mistake(
        name="a value that changed on its way isn't seen",
        promise=2,
        file="ledger/copying.py",
        old="                if one != other and (one is None or",
        new="                if False and (one is None or",
        test="test_copying.py::test_a_difference_is_found_and_nothing_is_moved",
    ),
    # --- 8: nothing unasked -------------------------------------------------------------------------------------
    Mistake(
        name="a button of an old tab starts whatever there is now",
        promise=8,
        file="web/works.py",
        old="if changed is not None or (work.order.agreed and (agreed is None or agreed.digest != work.order.agreed)):",
        new="if changed is not None:",
        test=PERSON,
    ),
    Mistake(
        name="sending again sends all that is pending",
        promise=8,
        file="app/desk.py",
        old="retried = checked.agreement is not None and checked.agreement.which is not Selection.PENDING",
        new="retried = False",
        test=PERSON,
    ),
    Mistake(
        name="a file is read in another way after it has brought coupons",
        promise=8,
        file="ledger/jobs.py",
        old="if self._locks.held_by_others(job) or not registering.nothing_came_of(tx, job):",
        new="if self._locks.held_by_others(job):",
        test=PERSON,
    ),
)


def tested(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run these tests in the copy; pytest's exit code and what it said."""
    environment = os.environ | {"PYTHONPATH": str(copy)}
    command = [sys.executable, "-c", RUN, *(f"tests/{test}" for test in tests)]
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, "it never ended"
    return done.returncode, done.stdout


def plant(copy: Path, mistake: Mistake) -> str:
    """Make the mistake; empty if it could be made, otherwise why not."""
    file = copy / "bulk_issue" / mistake.file
    text = file.read_text(encoding="utf-8")
    if (count := text.count(mistake.old)) != 1:
        return f"what it changes stands {count} times in bulk_issue/{mistake.file}"
    file.write_text(text.replace(mistake.old, mistake.new), encoding="utf-8")
    return ""


def caught(pristine: Path, folder: Path, mistake: Mistake) -> str:
    """Whether its test catches the mistake: empty if it does, otherwise what happened instead."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        copy = Path(shutil.copytree(pristine, Path(place) / "copy"))
        if why := plant(copy, mistake):
            return why
        code, said = tested(copy, [mistake.test])
    if code == 0:
        return "its test passes"
    failed = code == 1 and "1 failed" in said and not BROKEN.search(said)
    return "" if failed else f"its test broke down instead of failing (exit code {code}):\n{said}"


def main() -> int:
    """Print a line a mistake; 0 if each is caught."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bulk-issue-planted-") as name, ThreadPoolExecutor(AT_ONCE) as pool:
        folder = Path(name)
        pristine = Path(shutil.copytree(ROOT, folder / "pristine", ignore=LEFT_OUT))
        code, said = tested(pristine, sorted({mistake.test for mistake in MISTAKES}))
        if code != 0:
            print(said, "Not all of these tests pass before any mistake is made.", sep="\n")
            return 1
        print("| mistake | promise | test | caught |\n|---|--:|---|---|", flush=True)
        missed = 0
        for mistake, why in zip(MISTAKES, pool.map(partial(caught, pristine, folder), MISTAKES), strict=True):
            missed += bool(why)
            verdict = f"NOT: {why}" if why else "yes"
            print(f"| {mistake.name} | {mistake.promise} | {mistake.test} | {verdict} |", flush=True)
    print(f"\n{len(MISTAKES) - missed} of {len(MISTAKES)} caught in {time.monotonic() - began:.0f} s.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
