"""CSV / Excel -> raw records: lazily, with row numbers, every cell as it stands in the file.

Nothing is guessed and nothing dropped: a file that can't be read exactly is refused before its first record, saying
what, where and what next; a record that doesn't fit the header is handed on with its problem and all of its cells.
"""

from bulk_issue.source.emails import valid_email
from bulk_issue.source.records import Source, open_source, sheet_records

__all__ = ["Source", "open_source", "sheet_records", "valid_email"]
