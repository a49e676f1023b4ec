"""What is wrong with an upload, and what a run of it would do: found out in a thread, once for each way to read it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bulk_issue import app
from bulk_issue.config import Config
from bulk_issue.errors import BulkIssueError, HeaderUnclear
from bulk_issue.outlook import Plan
from bulk_issue.web.drafts import Draft
from bulk_issue.web.works import aside

#: Damaged cells that a page shows.
MOST_DAMAGE = 50
#: Files that are read at once, and findings that are remembered.
AT_ONCE, REMEMBERED = 2, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What is known of an upload as it is read now; what couldn't be found out says why."""

    #: None if the file can't be read at all.
    preview: app.Preview | None = None
    #: None if no run of it is possible.
    checked: app.Checked | None = None
    damage: Sequence[app.Damage] = ()
    trouble: BulkIssueError | None = None
    #: Set where a person must say what the first record is, before anything else is known.
    first: HeaderUnclear | None = None


class Inspections:
    """Looks into uploads, and remembers what was found as long as it is likely to be asked for again."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._tasks: dict[Draft, asyncio.Task[Inspected]] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)

    def of(self, draft: Draft) -> asyncio.Task[Inspected]:
        """What is found out of this draft, or is being found out."""
        if draft not in self._tasks:
            for old in list(self._tasks)[: -REMEMBERED + 1]:
                del self._tasks[old]
            self._tasks[draft] = asyncio.create_task(self._inspect(draft))
        return self._tasks[draft]

    def forget(self, draft: str) -> None:
        """Look again: customers may have been served meanwhile."""
        self._tasks = {key: task for key, task in self._tasks.items() if key.id != draft or not task.done()}

    async def _inspect(self, draft: Draft) -> Inspected:
        async with self._turn:
            return await aside(lambda: self._look(draft))

    async def _look(self, draft: Draft) -> Inspected:
        found = Inspected()
        try:
            found = replace(found, preview=app.preview(draft.path, draft.reading))
            base = replace(self._config, omit=draft.omit)
            config = replace(base, series_id=draft.series_id, again=draft.again) if draft.series_id else None
            checked = await app.check(draft.path, draft.reading, config, Plan.of(config or self._config), draft.omit)
            found = replace(found, checked=checked)
            bad = checked.survey.rows - checked.survey.usable if checked.survey else 0
            damage = app.damaged(draft.path, draft.reading, min(bad, MOST_DAMAGE)) if bad else ()
            return replace(found, damage=damage)
        except HeaderUnclear as error:
            return replace(found, first=error)
        except BulkIssueError as error:
            return replace(found, trouble=error)
