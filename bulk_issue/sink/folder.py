"""The folder that result files go to: whose it is, and how finished files get to their places.

The rule: a folder with another job's files, or a person's under our names, is never written to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum, unique
from pathlib import Path

from bulk_issue.aside import aside_in
from bulk_issue.errors import ConfigError
from bulk_issue.model import JobId
from bulk_issue.shown import FAILURES, IN_DOUBT, RESULTS

SUMMARY = "summary.json"
NAMES = (RESULTS, FAILURES, IN_DOUBT)


@unique
class Format(StrEnum):
    """What kind of files is written. The value is their ending."""

    CSV = "csv"
    XLSX = "xlsx"


def claim_folder(out: Path, job: JobId) -> None:
    """Prove, before a run starts, that its files can be written to `out`; the folder is there on return.

    Raises `ConfigError` if the folder holds other files under our names (another job's, or a person's), or can't be
    written to. A folder is a job's by the `job` in its summary.json; where that is gone or torn, by its own name.
    """
    try:
        if why := occupied(out, job):
            raise ConfigError(f"the folder for results, {out}: {why}", hint="Name another one with --out.")
        with aside_in(out) as aside, (aside / "probe").open("wb") as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as exc:
        raise ConfigError(
            f"the folder for results, {out}, can't be written to: {exc.strerror}", hint="Name another one with --out."
        ) from exc


def occupied(out: Path, job: JobId) -> str:
    """Why the folder isn't this job's to write to; empty if it is."""
    try:
        facts = json.loads((out / SUMMARY).read_bytes())
    except FileNotFoundError:
        names = [f"{name}.{ending}" for ending in Format for name in NAMES]
        found = next((name for name in names if (out / name).exists()), "")
        return f"it holds a {found}, and no {SUMMARY} says whose" if found and not _named_for(job, out) else ""
    except ValueError:
        if _named_for(job, out):  # torn, by a power cut or a full disk
            return ""
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("job"), str):
        return f"its {SUMMARY} is not one of bulk-issue's"
    return "" if facts["job"] == job else f"it holds the files of job {facts['job']}"


def format_in(out: Path) -> Format:
    """Which kind of files a job's folder holds."""
    return Format.XLSX if (out / f"{RESULTS}.{Format.XLSX}").exists() else Format.CSV


def _named_for(job: JobId, out: Path) -> bool:
    """Whether the folder's own name says whose it is, as the default one's does."""
    return out.name.endswith(f"-{job}")


def set_edited_aside(out: Path, on_record: Callable[[], Collection[str]]) -> list[Path]:
    """Give failures and decisions that a person has edited a name of their own, before they are replaced.

    A file is an edited one if it was written later than the summary, which is written last. What is `on_record` (by
    its SHA-256) was run: nothing of it would be lost.
    """
    with suppress(FileNotFoundError):
        written = (out / SUMMARY).stat().st_mtime_ns
        edited = [
            path
            for path in (out / f"{name}.{ending}" for name in (FAILURES, IN_DOUBT) for ending in Format)
            if path.exists() and path.stat().st_mtime_ns > written and sha256(path) not in on_record()
        ]
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        return [path.replace(path.with_name(f"{path.stem}-edited-{now}{path.suffix}")) for path in edited]
    return []


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(aside: Path, out: Path, fresh: Sequence[str], stale: Sequence[str]) -> list[Path]:
    """Move finished files to their places, in that order, durable and readable for nobody else; then remove others."""
    for name in fresh:
        with (aside / name).open("rb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
    files = [(aside / name).replace(out / name) for name in fresh]
    for name in stale:
        (out / name).unlink(missing_ok=True)
    folder = os.open(out, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return files
