"""The composition root: a `Config` and a file become ledger, client, run and result files.

The only part that knows every adapter. The faces (command line, web page, library) call it and nothing below it.
"""

from bulk_issue.app.checked import Checked, Earlier, Talk
from bulk_issue.app.checks import check
from bulk_issue.app.desk import Desk, desk, existing, opened, there
from bulk_issue.app.preview import Damage, Preview, damaged, preview
from bulk_issue.app.reports import Files, Report, export
from bulk_issue.app.served import Served, served
from bulk_issue.audit import Audited, Seen
from bulk_issue.ledger.runs import who

__all__ = [
    "Audited",
    "Checked",
    "Damage",
    "Desk",
    "Earlier",
    "Files",
    "Preview",
    "Report",
    "Seen",
    "Served",
    "Talk",
    "check",
    "damaged",
    "desk",
    "existing",
    "export",
    "opened",
    "preview",
    "served",
    "there",
    "who",
]
