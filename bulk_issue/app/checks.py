"""What can be known before the first issue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bulk_issue import rows
from bulk_issue.app.desk import desk, judged
from bulk_issue.app.reports import Files
from bulk_issue.config import Config, Reading
from bulk_issue.model import Lineage, Series
from bulk_issue.source import open_source
from bulk_issue.survey import Survey, survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What `check` found, before anything is sent."""

    columns: dict[str, str]
    blank: int
    survey: Survey
    series: Series | None = None
    #: What couldn't be checked, and why.
    notes: list[str] = field(default_factory=list)


async def check(path: Path, reading: Reading, config: Config | None) -> Checked:
    """Everything that can be known before the first issue; with a `config`, also what Capillary and the ledger say."""
    notes: list[str] = []
    with open_source(path, reading) as source:
        places = rows.columns(source.header, reading.map, reading.identify_by)
        named = {str(kind): source.header[at] for kind, at in places.items()}
        chunks = judged(source, places, reading)
        if config is None:
            notes.append("Without --series and credentials, served customers and the series' facts aren't checked.")
            return Checked(columns=named, survey=survey(chunks), blank=source.blank, notes=notes)
        asked, told = asyncio.Event(), notes.append
        async with desk(config, lambda progress: told(progress.message), asked, Files()) as at:
            series = await at.series()
            org = await at.org(series)
            views, again = at.ledger.views, config.again
            own = at.spec(source, path, org).id

            def served(keys: Sequence[str]) -> dict[str, Lineage]:
                claims = views.served(org, config.series_id, again, keys)
                return {key: claim for key, claim in claims.items() if claim.job != own}

            counted = survey(chunks, served)
        return Checked(columns=named, survey=counted, blank=source.blank, series=series, notes=notes)
