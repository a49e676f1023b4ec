"""Who may import whom, and who may touch what (docs/design.md, "Layout").

Imports only go downwards: faces, then `app`, then services and adapters, then the core. The map below names every
module; one that it doesn't know fails the test, so that a new module gets its layer the day it is born. Imports count
wherever they stand: inside functions, under TYPE_CHECKING, and through `import_module` with a literal name.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# --- the map ----------------------------------------------------------------------------------------------------
# A part is a module or a package directly under bulk_issue; within a package imports are free.

CORE = _words(
    "alike errors findings model states verdicts classify wire retry chance health countries customer_columns ending "
    "rows columns shown candidates commands config hours outlook ports saying deferred"
)
#: Adapters in groups: those of one group know each other, the groups don't.
ADAPTERS = (
    frozenset({"source"}),
    frozenset({"sink"}),
    frozenset({"decisions"}),
    frozenset({"survey"}),
    frozenset({"exclusion"}),
    frozenset({"seen"}),
    frozenset({"client", "auth"}),
    frozenset({"limiter"}),
    frozenset({"ledger", "engine"}),  # in one database
    frozenset({"clock"}),
)
SERVICES = frozenset({"pool", "look", "readers", "reconcile", "audit", "held", "crew", "job"})
#: What adapters that write files share.
BELOW_ADAPTERS = frozenset({"aside"})
BELOW_APP = CORE.union(SERVICES, BELOW_ADAPTERS, *ADAPTERS)

#: Part -> the parts that it may import. The package's own `__init__` (its version) is free to all.
ALLOWED: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(CORE, CORE),
    **dict.fromkeys(BELOW_ADAPTERS, CORE),
    **{part: CORE | BELOW_ADAPTERS | group for group in ADAPTERS for part in group},
    **dict.fromkeys(SERVICES, CORE | SERVICES),
    "app": BELOW_APP,
    "before": BELOW_APP | {"app"},
    "progress": CORE,
    "telling": CORE,
    # The stand-in API is no part of what it stands in front of: it shares words with it, never behaviour.
    "sandbox": frozenset({"errors", "model"}),
    "web": BELOW_APP | {"app", "before"},
    "cli": BELOW_APP | {"app", "before", "progress", "sandbox", "telling", "web"},
    "testing": CORE,
    "api": BELOW_APP | {"app"},
    "__main__": frozenset({"cli"}),
    "__init__": frozenset({"api"}),  # for its names; loaded when one of them is used
}

#: Third-party library -> the parts that may import it: one, or one reason for several.
LIBRARIES: Mapping[str, frozenset[str]] = {
    "aiohttp": frozenset({"client", "auth", "sandbox", "web"}),  # one speaks it, two are spoken to
    "aiolimiter": frozenset({"limiter"}),
    "alembic": frozenset({"ledger"}),
    "apprise": frozenset({"telling"}),
    "argon2": frozenset({"web"}),
    "click": frozenset({"cli"}),
    "croniter": frozenset({"engine"}),
    "defusedxml": frozenset({"source"}),
    "email_validator": frozenset({"source"}),
    "jinja2": frozenset({"web"}),
    "pandas": frozenset({"source"}),
    "platformdirs": frozenset({"cli"}),
    "procrastinate": frozenset({"engine"}),
    "psycopg": frozenset({"ledger", "engine"}),
    "python_calamine": frozenset({"source"}),
    "rich": frozenset({"progress"}),
    "sqlalchemy": frozenset({"ledger"}),
    "structlog": frozenset({"telling"}),
    "xlsxwriter": frozenset({"sink"}),
}
#: Libraries that `bulk-issue --help` may load.
QUICK = frozenset({"click", "platformdirs", "rich"})

#: Standard library for the core: no IO, clock, dice, environment or logging.
PURE = _words(
    "__future__ abc base64 binascii bisect collections collections.abc contextlib copy dataclasses datetime decimal "
    "difflib email.utils enum fractions functools hashlib heapq html itertools json math operator pathlib re shlex "
    "string textwrap types typing unicodedata urllib.parse"
)
#: Services wait and tell; what they wait for and whom they tell comes through the ports.
FOR_SERVICES = PURE | {"asyncio", "logging"}

#: What only some parts may touch: dotted name -> those parts (docs/design.md: who owns what).
OWNED: Mapping[str, frozenset[str]] = {
    "asyncio.run": frozenset({"cli", "web", "api"}),  # the page gives every run a loop of its own
    "asyncio.Runner": frozenset({"cli"}),
    "os.environ": frozenset({"cli", "web"}),
    "os.getenv": frozenset({"cli", "web"}),
    "sys.argv": frozenset({"cli"}),
    "sys.exit": frozenset({"cli"}),
    "sqlite3": frozenset({"ledger", "survey", "exclusion", "seen"}),  # all but the ledger's are temporary
    "tomllib": frozenset({"cli", "web"}),
}

#: Calls that read a clock or the disk by way of an allowed module.
CLOCKS = frozenset({"now", "utcnow", "today", "utcfromtimestamp"})
DISK = _words(
    "absolute chmod cwd exists expanduser glob home is_dir is_file iterdir mkdir open read_bytes read_text rename "
    "resolve rglob rmdir stat touch unlink write_bytes write_text"
)
BUILTIN_IO = frozenset({"breakpoint", "input", "open", "print"})


# --- what a module does -----------------------------------------------------------------------------------------


def sources(root: Path = ROOT) -> dict[str, str]:
    """Dotted name -> text of every module of the package; packages end in `.__init__`."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in sorted((root / "bulk_issue").rglob("*.py"))
    }


def part_of(module: str) -> str:
    """`bulk_issue.ledger.work` -> `ledger`; the package itself -> `__init__`."""
    return [*module.split("."), "__init__"][1]


def imports(module: str, tree: ast.AST, known: Mapping[str, str]) -> Iterator[str]:
    """Dotted names of everything that the module imports, wherever the import stands."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                if level:
                    package = module.split(".")[:-level]
                    base = ".".join([*package, base] if base else package)
                base = base or ""
                for alias in names:
                    # `from bulk_issue import rows` and `from urllib import parse` import modules, not names.
                    inner = f"{base}.{alias.name}"
                    is_module = inner in known or f"{inner}.__init__" in known or inner in PURE or base == "bulk_issue"
                    yield base if alias.name == "__version__" or not is_module else inner
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def touched(tree: ast.AST) -> Iterator[str]:
    """Dotted names of the form `module.name` that the module uses or imports."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                yield f"{owner}.{name}"
            case ast.ImportFrom(module=str(owner), names=names):
                yield owner
                yield from (f"{owner}.{alias.name}" for alias in names)
            case ast.Import(names=names):
                yield from (alias.name for alias in names)


def impurities(tree: ast.AST, imported: frozenset[str]) -> Iterator[str]:
    """Calls that read a clock or do IO through what the core may import."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in BUILTIN_IO:
                yield f"{name}()"
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS and "datetime" in imported:
                yield f".{name}()"
            case ast.Call(func=ast.Attribute(attr=name)) if name in DISK and "pathlib" in imported:
                yield f".{name}()"


# --- the judgement ----------------------------------------------------------------------------------------------


def complaints(modules: Mapping[str, str]) -> list[str]:
    """One sentence for everything in these modules (dotted name -> text) that the map doesn't allow."""
    found: list[str] = []
    for module, text in modules.items():
        part = part_of(module)
        if part not in ALLOWED:
            found.append(
                f"{module} is not in the map: give `{part}` a layer in tests/test_architecture.py "
                "(core, adapter, service or face) and in docs/design.md"
            )
            continue
        tree = ast.parse(text, module)
        imported = frozenset(imports(module, tree, modules))
        found += [f"{module} {wrong}" for name in sorted(imported) if (wrong := _wrong_import(part, name))]
        found += [
            f"{module} touches {name}, which is the business of {_listed(owners)}"
            for name, owners in OWNED.items()
            if part not in owners and name in frozenset(touched(tree))
        ]
        if part in CORE:
            found += [
                f"{module} calls {call}: the core does no IO and reads no clock"
                for call in sorted(set(impurities(tree, imported)))
            ]
    return found


def _wrong_import(part: str, name: str) -> str | None:
    """What is wrong with this part importing that name, if anything."""
    top, _, rest = name.partition(".")
    if top == "bulk_issue":
        target = rest.partition(".")[0] or "__init__"
        if target in (part, "__init__") or target in ALLOWED[part]:
            return None
        if target not in ALLOWED:
            return f"imports {name}, and `{target}` is not in the map"
        return f"imports {name}: `{part}` may only import {_listed(ALLOWED[part])}"
    if top in sys.stdlib_module_names:
        if part in CORE and name not in PURE:
            return f"imports {name}: the core takes of the standard library only what does no IO (PURE in the map)"
        if part in SERVICES and name not in FOR_SERVICES:
            return f"imports {name}: services reach the world through the ports"
        return None
    if top not in LIBRARIES:
        return f"imports {name}, a library without an owner in the map"
    if part not in LIBRARIES[top]:
        return f"imports {name}: the one importer of {top} is {_listed(LIBRARIES[top])}"
    return None


def _listed(parts: frozenset[str]) -> str:
    return ", ".join(sorted(parts)) or "nothing"


def _cycles(modules: Mapping[str, str]) -> list[str]:
    """Modules that import each other, over any number of steps."""
    ours = {
        module.removesuffix(".__init__"): {
            name
            for name in imports(module, ast.parse(text), modules)
            if (name in modules or f"{name}.__init__" in modules) and name != "bulk_issue"  # its version is free to all
        }
        for module, text in modules.items()
    }

    def reachable(start: str) -> frozenset[str]:
        seen: set[str] = set()
        todo = list(ours[start])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += ours[name]
        return frozenset(seen)

    return sorted(name for name in ours if name in reachable(name))


# --- the package ------------------------------------------------------------------------------------------------


def test_imports_keep_to_the_map() -> None:
    found = complaints(sources())

    assert not found, "\n".join(found)


def test_no_modules_import_each_other() -> None:
    assert _cycles(sources()) == []


def test_the_layout_in_the_docs_names_every_module() -> None:
    layout = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").partition("## 13. Layout")[2]

    parts = {part_of(module) for module in sources()} - {"__init__", "__main__"}
    assert {part for part in parts if not re.search(rf"\b{part}(\.py|/)", layout)} == set()


def test_each_dependency_has_an_owner_in_the_map() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    extras = [lines for name, lines in project["optional-dependencies"].items() if name not in ("dev", "bench")]
    lines = [line for group in [project["dependencies"], *extras] for line in group]
    declared = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in lines}

    assert {name.removesuffix("_cffi") for name in declared - {"bulk_issue"}} == set(LIBRARIES)


def test_help_loads_no_slow_library() -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = ['bulk-issue', '--help']\n"
        "try:\n"
        "    runpy.run_module('bulk_issue', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as done:\n"
        "    assert not done.code, done.code\n"
        "print('loaded:', *sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    assert "bulk_issue.cli" in loaded
    assert loaded & (LIBRARIES.keys() - QUICK) == set()


# --- the map can say no -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "text", "complaint"),
    [
        ("unheard", "", "not in the map"),
        ("unheard.of", "", "not in the map"),
        ("rows", "import pandas", "the one importer of pandas is source"),
        ("rows", "from bulk_issue import pool", "imports bulk_issue.pool"),
        ("rows", "from bulk_issue.ledger.work import x", "imports bulk_issue.ledger.work"),
        ("rows", "from . import pool", "imports bulk_issue.pool"),
        ("rows", "from bulk_issue import unheard", "`unheard` is not in the map"),
        ("rows", "def f():\n    import os", "imports os"),
        ("rows", "if TYPE_CHECKING:\n    import logging", "imports logging"),
        ("rows", "import urllib.request", "imports urllib.request"),
        ("rows", "from urllib import request", "imports urllib"),
        ("rows", "from importlib import import_module", "imports importlib"),
        ("retry", "from random import random", "imports random"),
        ("retry", "from datetime import datetime\nx = datetime.now()", "calls .now()"),
        ("config", "from pathlib import Path\nx = Path('a').read_text()", "calls .read_text()"),
        ("wire", "print('x')", "calls print()"),
        ("classify", "import yaml", "without an owner"),
        ("source", "from bulk_issue.sink import x", "imports bulk_issue.sink"),
        ("client", "from bulk_issue.ledger import x", "imports bulk_issue.ledger"),
        ("sink", "import importlib\nimportlib.import_module('pandas')", "imports pandas"),
        ("source", "import sqlite3", "touches sqlite3"),
        ("pool", "from bulk_issue.client import x", "imports bulk_issue.client"),
        ("pool", "import time", "through the ports"),
        ("job", "from bulk_issue.app import x", "imports bulk_issue.app"),
        ("app", "from bulk_issue.cli import x", "imports bulk_issue.cli"),
        ("app", "import os\nx = os.environ['HOME']", "touches os.environ"),
        ("app", "from os import environ", "touches os.environ"),
        ("app", "import asyncio\nasyncio.run(x)", "touches asyncio.run"),
        ("sandbox.server", "from bulk_issue.classify import x", "imports bulk_issue.classify"),
        ("sandbox.server", "from ..client import x", "imports bulk_issue.client"),
        ("cli", "from bulk_issue.testing import x", "imports bulk_issue.testing"),
        ("cli", "import sqlalchemy.orm", "the one importer of sqlalchemy is ledger"),
    ],
)
def test_a_forbidden_import_is_named(module: str, text: str, complaint: str) -> None:
    (found,) = complaints({f"bulk_issue.{module}": text})

    assert found.startswith(f"bulk_issue.{module} ")
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("config", "from pathlib import Path\nfrom urllib.parse import urlsplit\nfrom bulk_issue.model import x"),
        ("wire", "from urllib import parse\nfrom email.utils import parsedate_to_datetime"),
        ("client", "import aiohttp\nimport os\nfrom bulk_issue.auth import x\nfrom bulk_issue import __version__"),
        ("ledger.work", "import sqlite3\nfrom bulk_issue.ledger import schema\nfrom . import locks\nimport alembic.op"),
        ("pool", "import asyncio\nfrom bulk_issue.classify import classify\nfrom bulk_issue.ports import Work"),
        ("app", "from bulk_issue.pool import x\nfrom bulk_issue.ledger import y\nfrom bulk_issue.source import z"),
        ("cli", "import click, os\nx = os.environ\ndef f():\n    from bulk_issue.app import x"),
        ("sandbox.server", "from aiohttp import web\nfrom bulk_issue.sandbox.book import Book"),
    ],
)
def test_an_allowed_import_passes(module: str, text: str) -> None:
    assert complaints({f"bulk_issue.{module}": text}) == []


def test_a_cycle_is_named() -> None:
    modules = {
        "bulk_issue.a": "from bulk_issue.b import x",
        "bulk_issue.b": "def f():\n    from bulk_issue import c",
        "bulk_issue.c": "import bulk_issue.a",
        "bulk_issue.d": "import bulk_issue.a",
    }

    assert _cycles(modules) == ["bulk_issue.a", "bulk_issue.b", "bulk_issue.c"]
