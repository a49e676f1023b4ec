"""`make bench`: run the parts, each in a process of its own, print what they found, and write results.md.

`python -m benchmarks [PART ...] [--full] [--smoke]`. Without a PART all are run; what other parts found earlier stays
in results.md, so that a long run can be done in pieces.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time

from benchmarks import report

PARTS = {
    "use-of-limit": "limit",
    "limit-lifted": "lifted",
    "workers": "workers",
    "start": "start",
    "growth": "growth",
    "page": "page",
}


def main() -> int:
    """Run what was asked for; 0 if every part ended well."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--full", action="store_true", help="the long ones too: 10 M rows, the real 300 in 60 s")
    parser.add_argument("--smoke", action="store_true", help="a few rows: does it work at all?")
    parser.add_argument("--usual", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    unknown = [name for name in asked.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}: {', '.join(PARTS)}")
    scale = "full" if asked.full else "smoke" if asked.smoke else "usual"
    if asked.alone:
        return _one(asked.parts[0], scale)
    failed = [name for name in asked.parts or PARTS if not _part(name, scale)]
    if scale != "smoke":
        report.write(part for name in PARTS if (part := report.kept(name)) is not None)
        print(f"Written: {report.RESULTS}")
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _part(name: str, scale: str) -> bool:
    """One part in a process of its own, so that it finds the memory as small as the next one does."""
    print(f"== {name} ...", flush=True)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "benchmarks", name, f"--{scale}", "--alone"], check=False)
    print(f"== {name}: {time.monotonic() - began:.0f} s\n", flush=True)
    return done.returncode == 0


def _one(name: str, scale: str) -> int:
    part = importlib.import_module(f"benchmarks.{PARTS[name]}").measure(scale)
    for table in part.tables:
        print(f"\n{table.caption}\n\n{table.text()}")
    if part.curves:
        print(f"\n{report.plot_text(part.curves)}")
    if scale != "smoke":
        report.keep(name, part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
