"""Under which names a request finds what the server keeps for it."""

from __future__ import annotations

import asyncio

from aiohttp import web

from bulk_issue.ledger import SqliteLedger
from bulk_issue.web.access import OneTimeToken, Password, Session, Sessions, Throttle
from bulk_issue.web.board import Board
from bulk_issue.web.drafts import Drafts
from bulk_issue.web.inspection import Inspections
from bulk_issue.web.settings import Settings
from bulk_issue.web.works import Works

SETTINGS = web.AppKey("settings", Settings)
SESSIONS = web.AppKey("sessions", Sessions)
TOKEN = web.AppKey("token", OneTimeToken)
PASSWORD = web.AppKey("password", Password)
THROTTLE = web.AppKey("throttle", Throttle)
DRAFTS = web.AppKey("drafts", Drafts)
INSPECTIONS = web.AppKey("inspections", Inspections)
WORKS = web.AppKey("works", Works)
LEDGER = web.AppKey("ledger", SqliteLedger)
BOARD = web.AppKey("board", Board)
#: The port that is listened on.
PORT = web.AppKey("port", int)
#: Set when the server ends: nothing may wait any longer.
CLOSING = web.AppKey("closing", asyncio.Event)

SESSION = web.RequestKey("session", Session)
