"""Makes the awkward files beside it, by the hands of several programs, and the table of what each of them must give.

python tests/awkward/make.py [FOLDER]

Needs LibreOffice (soffice), gnumeric (ssconvert), node with the package `xlsx` (SheetJS 0.18, named by NODE_PATH), and
the Python packages xlsxwriter, openpyxl, pandas, xlwt, odfpy. The files are committed, so that the tests need none of
them. What the files must give is written by hand in `expected.toml`.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import pandas as pd
import xlsxwriter  # type: ignore[import-untyped]

PEOPLE = [
    ["Asha", "919800000001", "asha@shop.example", "0000000001"],
    ["José", "919800000002", "jose@shop.example", "0000000002"],
    ['Zoë, the "second"', "919800000003", "zoe@shop.example", "0000000003"],
]
HEADER = ["Name", "Mobile", "Email", "External ID"]
TABLE = [HEADER, *PEOPLE]


def text(delimiter: str = ",", end: str = "\r\n", quoting: Any = csv.QUOTE_MINIMAL, rows: Any = TABLE) -> str:
    made = io.StringIO(newline="")
    csv.writer(made, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return made.getvalue()


# --- text, as programs of many kinds write it -------------------------------------------------------------------

TEXTS: dict[str, bytes] = {
    "rfc4180.csv": text().encode(),
    "unix.csv": text(end="\n").encode(),
    "old-mac.csv": text(end="\r").encode(),
    "bom.csv": text().encode("utf-8-sig"),
    "excel-germany.csv": text(";").encode("utf-8-sig"),
    "excel-western.csv": text(";").encode("cp1252"),
    "excel-unicode.txt": text("\t").encode("utf-16"),
    "utf16-big.csv": b"\xfe\xff" + text().encode("utf-16-be"),
    "tabs.tsv": text("\t", "\n").encode(),
    "pipes.psv": text("|", "\n").encode(),
    "all-quoted.csv": text(quoting=csv.QUOTE_ALL).encode(),
    "mixed-ends.csv": text().encode().replace(b"\r\n", b"\n", 2),
    "no-last-end.csv": text(end="\n").encode().rstrip(b"\n"),
    "sep-line.csv": b"sep=;\r\n" + text(";").encode(),
    "r-write-csv.csv": b'"","Name","Mobile"\n"1","Asha",919800000001\n"2","Jos\xc3\xa9",919800000002\n',
    "r-with-na.csv": b'"Name","Mobile"\n"Asha",919800000001\n"Ravi",NA\n',
    "r-scientific.csv": b'"Name","Mobile"\n"Asha",9.198e+11\n"Ravi",919800000002\n',
    "pandas-float.csv": b"Name,Mobile\nAsha,919800000001.0\nRavi,\n",
    "pandas-index.csv": b",Name,Mobile\n0,Asha,919800000001\n1,Ravi,919800000002\n",
    "mysql-outfile.csv": b"Name\tMobile\nAsha\t919800000001\nRavi\t\\N\n",
    "mysql-null.csv": b"Name,Mobile\nAsha,919800000001\nRavi,NULL\n",
    "psql-pipe.csv": b"name|mobile\nAsha|919800000001\nRavi|919800000002\n",
    "sqlserver-null.csv": b"name,mobile\r\nAsha,919800000001\r\nRavi,(null)\r\n",
    "oracle-quoted.csv": b'"NAME","MOBILE_NO"\n"Asha","919800000001"\n',
    "sas-dots.csv": b"Name,Mobile\nAsha,919800000001\nRavi,.\n",
    "java-nan.csv": b"Name,Mobile\nAsha,919800000001\nRavi,NaN\n",
    "quoted-newline.csv": b'Name,Mobile\n"Asha\nof Pune",919800000001\nRavi,919800000002\n',
    "quotes-in-quotes.csv": b'Name,Mobile\n"Asha ""the first""",919800000001\n',
    "ragged-short.csv": b"Name,Mobile,City\nAsha,919800000001\nRavi,919800000002,Pune\n",
    "ragged-long.csv": b"Name,Mobile\nAsha,919800000001\nRavi,R.,919800000002\n",
    "trailing-delimiter.csv": b"Name,Mobile,\nAsha,919800000001,\n",
    "duplicate-header.csv": b"Mobile,Name,Mobile\n919800000001,Asha,919800000009\n",
    "empty-header.csv": b",Mobile,\nAsha,919800000001,x\n",
    "nul-bytes.csv": b"Name,Mobile\nAs\x00ha,919800000001\n",
    "nul-in-mobile.csv": b"Name,Mobile\nAsha,9198\x0000000001\n",
    "blank-rows.csv": b"Name,Mobile\n\nAsha,919800000001\n,,\n  ,\nRavi,919800000002\n\n",
    "total-row.csv": b"External ID,Amount\nE1,10\nE2,20\nTotal,30\n",
    "grand-total.csv": b"Mobile,Amount\n919800000001,10\nGrand Total,10\n",
    "title-rows.csv": b"Diwali campaign\nexported 2026-11-01\n\nName,Mobile,Email,City\n"
    b"Asha,919800000001,a@shop.example,Pune\n",
    "no-header.csv": b"Asha,919800000001\nRavi,919800000002\n",
    "plus-signs.csv": b"Mobile\n+919800000001\n+91 98000-00002\n(91) 9800000003\n",
    "formula-guard.csv": b'Mobile\n\'+919800000001\n"=""919800000002"""\n',
    "negative.csv": b"Mobile\n-919800000001\n",
    "cut-digits.csv": b"Mobile\n9198000000010000000\n",
    "arabic-digits.csv": "Mobile\n٩١٩٨٠٠٠٠٠٠٠١\n".encode(),
    "invisible.csv": "Mobile,Email\n\u200e919800000001\u200f,\n,as\u200bha@shop.example\n".encode(),
    "full-width.csv": "Mobile\n９１９８００００００１\n".encode(),
    "dates.csv": b"Mobile\n2026-11-01\n01/11/2026\n919800000001\n",
    "lost-zeros.csv": b"External ID\n" + b"".join(b"%07d\n" % n for n in range(40)) + b"41\n",
    "local-numbers.csv": b"Mobile\n9800000001\n09800000002\n919800000003\n98000\n",
    "utf8-in-cp1252.csv": b"Name,Mobile\nJos\xe9,919800000001\n",
    "open-quote.csv": b'Name,Mobile\n"Asha,919800000001\nRavi,919800000002\n',
    "one-column.csv": b"919800000001\n",
    "html.csv": b"<!DOCTYPE html><title>Sign in</title>",
    "json.csv": b'[{"mobile": "919800000001"}]\n',
    "packed.csv.gz": gzip.compress(text().encode(), mtime=0),
}


def texts(folder: Path) -> None:
    for name, content in TEXTS.items():
        (folder / name).write_bytes(content)
    for name, inside in (("packed.zip", ["c.csv"]), ("two-files.zip", ["a.csv", "b.csv"])):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as parts:
            for each in inside:
                parts.writestr(zipfile.ZipInfo(each), text())


# --- workbooks --------------------------------------------------------------------------------------------------


def by_xlsxwriter(folder: Path) -> None:
    with xlsxwriter.Workbook(folder / "numbers.xlsx") as book:
        sheet = book.add_worksheet("Customers")
        padded = book.add_format({"num_format": "0000000000"})
        whole = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, ["Name", "External ID"])
        sheet.write_row(1, 0, ["text with zeros", "0000000001"])
        sheet.write("A3", "number under a padding format")
        sheet.write_number("B3", 2, padded)
        sheet.write("A4", "16 digits")
        sheet.write_number("B4", 9198000000010001)
        sheet.write("A5", "a date")
        sheet.write_datetime("B5", date(2026, 11, 1), whole)
        sheet.write("A6", "an error")
        sheet.write_formula("B6", "=NA()", value="#N/A")
        sheet.write("A7", "a formula with its value")
        sheet.write_formula("B7", '="E"&7', value="E7")
        sheet.write("A8", "a formula without one")
        sheet.write_formula("B8", '="E"&8', value="")
        sheet.write("A9", "true")
        sheet.write_boolean("B9", True)
    with xlsxwriter.Workbook(folder / "filtered.xlsx", {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        for at, row in enumerate(TABLE):
            if at == 2:
                sheet.set_row(at, options={"hidden": True})
            sheet.write_row(at, 0, row)
    with xlsxwriter.Workbook(folder / "shifted.xlsx") as book:
        sheet = book.add_worksheet()
        sheet.write("B2", "Loyalty customers, Diwali")
        for at, row in enumerate(TABLE):
            sheet.write_row(3 + at, 1, row)


def by_openpyxl(folder: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Read me"
    book.active.append(["This file holds the customers of the campaign."])
    sheet = book.create_sheet("Customers")
    for row in TABLE:
        sheet.append(row)
    book.create_sheet("Empty")
    hidden = book.create_sheet("Archive")
    hidden.append(HEADER)
    hidden.append(PEOPLE[0])
    hidden.sheet_state = "hidden"
    book.save(folder / "sheets.xlsx")
    book = openpyxl.Workbook()
    for name in ("North", "South"):
        sheet = book.create_sheet(name)
        sheet.append(HEADER)
        sheet.append(PEOPLE[0])
    del book["Sheet"]
    book.save(folder / "alike-sheets.xlsx")
    book = openpyxl.Workbook()
    book.active.append(["Mobile"])
    book.active.append([919800000001])
    book.active.append([919800000002.0])
    book.active.append([9198000000.5])
    book.active.append(["919800000003 "])
    book.save(folder / "mobiles-as-numbers.xlsx")


def by_pandas(folder: Path) -> None:
    frame = pd.DataFrame(PEOPLE, columns=HEADER)
    frame.to_excel(folder / "pandas.xlsx", index=False, engine="openpyxl")
    frame.to_excel(folder / "pandas-index.xlsx", engine="xlsxwriter")
    frame.to_excel(folder / "pandas.ods", index=False, engine="odf")  # type: ignore[arg-type]  # its stubs know no odf
    numbers = pd.DataFrame({"Mobile": [919800000001, None]})
    numbers.to_excel(folder / "pandas-floats.xlsx", index=False, engine="openpyxl")
    frame.to_csv(folder / "pandas.csv", index=False)
    frame.to_csv(folder / "pandas-quoted.csv", index=False, sep=";", quoting=csv.QUOTE_NONNUMERIC)


def by_xlwt(folder: Path) -> None:
    xlwt = importlib.import_module("xlwt")  # needed here only, so no requirement
    book = xlwt.Workbook()
    sheet = book.add_sheet("Customers")
    for at, row in enumerate(TABLE):
        for column, cell in enumerate(row):
            sheet.write(at, column, cell)
    sheet.write(4, 1, 919800000004)
    book.save(str(folder / "excel97.xls"))


SHEETJS = """
const XLSX = require('xlsx');
const rows = JSON.parse(process.argv[2]);
const book = XLSX.utils.book_new();
XLSX.utils.book_append_sheet(book, XLSX.utils.aoa_to_sheet(rows), 'Customers');
for (const type of ['xlsb', 'xlsm', 'xls', 'ods', 'xlsx', 'csv'])
  XLSX.writeFile(book, process.argv[3] + '/sheetjs.' + type);
"""


def by_sheetjs(folder: Path) -> None:
    import json

    subprocess.run(
        ["node", "-e", SHEETJS, "-", json.dumps([*TABLE, ["number", 919800000004]]), str(folder)], check=True
    )
    with tempfile.TemporaryDirectory() as place:
        narrow = json.dumps([["Mobile"], ["919800000001"], [919800000002]])
        subprocess.run(["node", "-e", SHEETJS, "-", narrow, place], check=True)
        Path(place, "sheetjs.xlsb").replace(folder / "sheetjs-narrow.xlsb")


def by_libreoffice(folder: Path) -> None:
    """What LibreOffice makes of our own files."""
    with tempfile.TemporaryDirectory() as place:
        origin = Path(place, "libreoffice.xlsx")
        with xlsxwriter.Workbook(origin) as book:
            sheet = book.add_worksheet("Customers")
            for at, row in enumerate(TABLE):
                sheet.write_row(at, 0, row)
            sheet.write_formula("B5", "=919800000000+4")
            sheet.write_formula("B6", "=1/0")
        for kind in ("xls", "ods", "csv:Text - txt - csv (StarCalc):59,34,76,1", "xlsx", "fods", "html"):
            out = folder if kind != "xlsx" else Path(place, "out")
            convert = ["soffice", "--headless", "--convert-to", kind, "--outdir", str(out), str(origin)]
            subprocess.run(convert, check=True, capture_output=True, env={"HOME": place, "PATH": "/usr/bin:/bin"})
        (Path(place, "out", "libreoffice.xlsx")).replace(folder / "libreoffice.xlsx")


def by_gnumeric(folder: Path) -> None:
    origin = folder / "pandas.xlsx"
    for name in ("gnumeric.xls", "gnumeric.ods", "gnumeric.csv", "gnumeric.xlsx"):
        subprocess.run(["ssconvert", str(origin), str(folder / name)], check=True, capture_output=True)


MAKERS: Sequence[Callable[[Path], None]] = (
    texts,
    by_xlsxwriter,
    by_openpyxl,
    by_pandas,
    by_xlwt,
    by_sheetjs,
    by_libreoffice,
    by_gnumeric,
)

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    folder.mkdir(exist_ok=True)
    for make in MAKERS:
        make(folder)
