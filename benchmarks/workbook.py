"""`python -m benchmarks.workbook PATH ROWS`: customers as an Excel sheet, identifiers as text, as careful people do."""

from __future__ import annotations

import sys

import xlsxwriter  # type: ignore[import-untyped]  # it has no types

from benchmarks.measured import FIRST_MOBILE


def main() -> None:
    """Write it row by row."""
    path, rows = sys.argv[1], int(sys.argv[2])
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ("name", "mobile", "city"))
        for n in range(rows):
            sheet.write_row(n + 1, 0, (f"Customer {n}", str(FIRST_MOBILE + n), "Bengaluru"))


if __name__ == "__main__":
    main()
