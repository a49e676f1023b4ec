"""`python -m bulk_issue`: the same as `bulk-issue`."""

from __future__ import annotations

from bulk_issue.cli import main

if __name__ == "__main__":
    main()
