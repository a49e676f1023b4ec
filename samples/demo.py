"""`make demo`: a whole campaign on this machine, in a folder of its own, with no real coupon.

Starts the sandbox, runs samples/customers.csv against it at a raised limit, and shows what came of it.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
#: Rows of a result file that are shown.
LOOK = 4


def main() -> int:
    """Run the demo; 0 if the campaign ended as it should."""
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir(mode=0o700)
    customers = DEMO / "customers.csv"
    shutil.copyfile(ROOT / "samples" / "customers.csv", customers)
    here = [sys.executable, "-m", "bulk_issue"]
    with subprocess.Popen(
        [*here, "sandbox", "--port", "0", "--rate", "3000", "--per", "60"], stdout=subprocess.PIPE, text=True
    ) as sandbox:
        try:
            assert sandbox.stdout is not None
            url = sandbox.stdout.readline().split()[1]
            say(f"1. The sandbox stands in for Capillary: {url}")
            settings = {
                "BULK_ISSUE_BASE_URL": url,
                "BULK_ISSUE_USER": "demo",
                "BULK_ISSUE_PASSWORD": "demo-password",
                "BULK_ISSUE_LEDGER": str(DEMO / "ledger.db"),
            }
            env = os.environ | settings
            say("2. What does the file hold?   bulk-issue check customers.csv --series 544770")
            subprocess.run([*here, "check", customers, "--series", "544770", "--rate", "3000"], env=env, check=False)
            say("3. Issue.   bulk-issue run customers.csv --series 544770 --rate 3000")
            run = [*here, "run", customers, "--series", "544770", "--rate", "3000", "--yes"]
            code = subprocess.run(run, env=env, check=False).returncode
            say(f"   (exit code {code}: ended, and some rows are rejected or invalid)")
            say("4. The same command again sends nothing: every row has its coupon or its reason.")
            again = subprocess.run([*run, "--quiet"], env=env, check=False, stdout=subprocess.DEVNULL).returncode
            say(f"   (exit code {again})")
        finally:
            sandbox.send_signal(signal.SIGTERM)
    (out,) = (DEMO / "customers.csv-results").iterdir()
    say(f"5. A look into {out.relative_to(ROOT)}")
    look(out / "results.csv", ("_row", "_status", "_coupon_code", "_valid_till"))
    look(out / "failures.csv", ("_row", "_status", "_error_code", "_reason"))
    return 0 if code == again == 1 else 1


def say(text: str) -> None:
    """Print one step of the story."""
    print(f"\n{text}", flush=True)


def look(path: Path, columns: tuple[str, ...]) -> None:
    """Print the first rows of a result file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    print(f"\n  {path.name}: {len(rows)} rows")
    for row in rows[:LOOK]:
        print("   ", "  ".join(f"{row[column]:.70}" for column in columns))


if __name__ == "__main__":
    sys.exit(main())
