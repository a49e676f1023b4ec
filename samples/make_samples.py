"""Writes the sample files beside it: the same bytes every time. Every person in them is invented.

python samples/make_samples.py [FOLDER]
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import xlsxwriter  # type: ignore[import-untyped]

from bulk_issue.columns import OUR_COLUMNS
from bulk_issue.config import Reading
from bulk_issue.customer_columns import columns
from bulk_issue.rows import judge
from bulk_issue.source import open_source

HEADER = ("Name", "Mobile No.", "External ID", "E-mail", "City", "Note")
ROWS = 1_200
JOB = "5a3e91c07d"

FIRST = (
    "Asha",
    "Ravi",
    "Meera",
    "Arjun",
    "Zoë",
    "Kabir",
    "Nisha",
    "Vikram",
    "Leela",
    "Anaïs",
    "Farah",
    "José",
    "Øystein",
)
LAST = ("Example", "Muster", "Sample", "Specimen", "Beispiel", "Placeholder", "Ejemplo")
CITIES = ("Pune", "Mumbai", "Delhi", "Chennai", "Kochi", "Jaipur", "Indore", "Surat", "Köln", "Málaga")

#: Mobiles to which the sandbox refuses a coupon, by the record that has them: the last four digits are the error code.
REFUSED = {101: "919800000701", 350: "919800010701", 351: "919800000740", 720: "919800010740", 1100: "919800020701"}
#: Those digits, for the others to avoid.
BEHAVIOUR = range(500, 800)

Cells = tuple[str, ...]


def people() -> list[Cells]:
    """The records as they should be: one for each customer."""
    dice = random.Random(7)
    free = (number for number in range(1, 10_000) if number not in BEHAVIOUR)
    found: list[Cells] = []
    for number in range(1, ROWS + 1):
        first, last = dice.choice(FIRST), dice.choice(LAST)
        mobile = REFUSED.get(number) or f"919800{next(free):06d}"
        email = f"customer{number}@shop.example" if dice.random() < 0.3 else ""
        found.append((f"{first} {last}", mobile, "", email, dice.choice(CITIES), ""))
    return found


def customers() -> list[Cells]:
    """The records as such files are: some of them awkward. What becomes of each stands in the tests."""
    found = people()

    def change(number: int, **cells: str) -> None:
        names = ("name", "mobile", "external_id", "email", "city", "note")
        found[number - 1] = tuple(cells.get(name, cell) for name, cell in zip(names, found[number - 1], strict=True))

    change(10, note="vegetarian,\nallergic to nuts")
    change(11, name='Ravi "Rocky" Example', note='said "call me later"')
    change(12, name="अनीता Example", city="बेंगलुरु")
    change(20, mobile="+91 98000-00020")
    change(21, mobile="(+91) 98000.00021")
    change(40, mobile="", external_id="000000000123", note="known by external id only")
    change(41, external_id="000000000124", note="the external id goes before the mobile")
    change(42, mobile="", email="Asha.Example@Shop.example", note="e-mail only")
    change(60, mobile="", email="", note="no identifier at all")
    change(61, mobile="9.19E+11", note="a spreadsheet was here")
    change(62, mobile="919800000062.0", note="and a program")
    change(63, mobile="9198OOOOOO63", note="letters for zeros")
    change(64, mobile="98000", note="too short")
    change(65, mobile="", email="asha.example(at)shop.example", note="no e-mail address")
    change(800, name="Asha Again", mobile=found[4][1], note="the same customer as record 5")
    change(
        801, name="Asha Once More", mobile=f"+{found[4][1][:2]} {found[4][1][2:]}", note="and again, written otherwise"
    )
    return found


def write_csv(path: Path, records: Sequence[Cells]) -> None:
    """As UTF-8, with one blank line and one record that has a cell too many."""
    with path.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file, lineterminator="\n").writerow
        write(HEADER)
        for number, record in enumerate(records, 1):
            write((*record, "one cell too many") if number == 900 else record)
            if number == 600:
                file.write("\n")


def write_workbook(path: Path, records: Sequence[Cells]) -> None:
    """The same records, with plain mobiles as numbers as a spreadsheet has them. A sheet can't be ragged."""
    with xlsxwriter.Workbook(path) as book:
        book.set_properties({"created": datetime(2026, 1, 1, tzinfo=UTC)})
        sheet = book.add_worksheet("Customers")
        sheet.write_row(0, 0, HEADER)
        line = 1
        for number, record in enumerate(records, 1):
            for column, cell in enumerate(record):
                if column == 1 and cell.isdecimal():
                    sheet.write_number(line, column, int(cell))
                elif cell:
                    sheet.write_string(line, column, cell)
            line += 2 if number == 600 else 1


def write_failures(path: Path, origin: Path) -> None:
    """The rejected and invalid rows of a run of `origin` against the sandbox, as such a run leaves them."""
    refusals = {"0701": ("701", "customer not found"), "0740": ("740", "customer marked as fraud")}
    with open_source(origin, Reading()) as source, path.open("w", encoding="utf-8-sig", newline="") as file:
        write = csv.writer(file).writerow
        write((*source.header, *OUR_COLUMNS))
        places = columns(source.header, {})
        for record in chain.from_iterable(source.chunks()):
            trouble = judge(record, places).problem
            if trouble is None and record.number not in REFUSED:
                continue
            code, reason = (trouble.code, trouble.reason) if trouble else refusals[REFUSED[record.number][-4:]]
            ours = {
                "_row": str(record.number),
                "_status": "invalid" if trouble else "rejected",
                "_error_code": code,
                "_reason": reason,
                "_remedy": trouble.remedy if trouble else "",
                "_attempts": "0" if trouble else "1",
                "_job": JOB,
            }
            width = len(source.header)
            write((*record.cells[:width], *(ours.get(name, "") for name in OUR_COLUMNS), *record.cells[width:]))


SETTINGS = """\
# Settings for bulk-issue: --config bulk-issue.toml, and --profile for another table than [default].
# A setting is named like its option, with _ for -. Flags and BULK_ISSUE_… go before it. Secrets are never in here.
# Paths are meant from this file's folder.

[default]
# The sandbox (bulk-issue sandbox); its password, demo-password, goes into BULK_ISSUE_PASSWORD.
base_url = "http://127.0.0.1:8080"
user = "demo"

# The account's limit: so many requests in any window of so long. All runs of an account share it.
rate = 300
per = "60s"

# How long a request may take, how long after that it may still take effect, and how long to settle doubts at the end.
timeout = "30s"
grace = "2m"
reconcile_for = "10m"

# When to give a row up, and when to pause or stop the run: a share of the last rows, or a count.
max_attempts = 4
max_doubt = "10%"
max_failures = "5%"
canary = 1

# Start nothing at night, in the customers' time zone.
# between = "09:00-21:00"
# zone = "Asia/Kolkata"

[production]
base_url = "https://eu.api.capillarytech.com"
client_key = "your-client-key"
client_secret_file = "client-secret.txt"

# What workers defer by themselves, each due time once (docs/workers.md).
# [[schedule]]
# name = "nightly"
# cron = "0 2 * * *"
# zone = "Asia/Kolkata"
# file = "/srv/campaigns/%Y-%m-%d.csv"
# series = 544770
"""


def main(folder: Path) -> None:
    """Write every sample into the folder."""
    records = customers()
    write_csv(folder / "customers.csv", records)
    write_workbook(folder / "customers.xlsx", records)
    write_failures(folder / "failures.csv", folder / "customers.csv")
    (folder / "bulk-issue.toml").write_text(SETTINGS, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
