"""What every test may rely on: the settings of the person who runs the tests don't reach it."""

from __future__ import annotations

import os

# At import, before any module of ours or any child process can read them.
for _name in [name for name in os.environ if name.startswith("BULK_ISSUE_")]:
    del os.environ[_name]
