"""The rules of the layout: who may import whom, what stays pure, how long a file may be.

They are read off the source with ``ast``; nothing is imported, so a rule also holds for a module
that cannot be imported here. A rule is broken by an import anywhere in a file, in a function or
under ``TYPE_CHECKING`` too.
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "novamesh"
LINE_LIMIT = 500

IO_MODULES = (
    "asyncio",
    "duckdb",
    "http",
    "io",
    "mmap",
    "multiprocessing",
    "os",
    "pathlib",
    "shutil",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "urllib.request",
)
IO_BUILTINS = ("open", "print", "input")


class Rule(NamedTuple):
    """Files under ``where`` import nothing of ``forbidden``, unless it is in ``allowed``."""

    where: str
    forbidden: tuple[str, ...]
    allowed: tuple[str, ...] = ()

    def breaches(self, imported: set[str]) -> list[str]:
        return sorted(name for name in imported if within(name, self.forbidden) and not within(name, self.allowed))


RULES = (
    # The edge goes on accepting while the store is down, so it holds nothing of it but pure types.
    Rule("edge", ("novamesh.store", "duckdb"), ("novamesh.store.contract",)),
    Rule("spool", ("novamesh.edge", "novamesh.store")),
    Rule("store", ("novamesh.edge",)),
    Rule("event", ("novamesh",), ("novamesh.errors", "novamesh.event")),
    Rule("sql", ("novamesh",), ("novamesh.errors", "novamesh.sql")),
    # Programs import the client to talk to a node elsewhere: it must not bring a node along.
    Rule("client", ("novamesh",), ("novamesh.client", "novamesh.errors", "novamesh.redact")),
    Rule(
        "transfer",
        ("novamesh",),
        ("novamesh.transfer", "novamesh.client", "novamesh.errors", "novamesh.event.model"),
    ),
    Rule("event", IO_MODULES),
    Rule("spool/frame.py", IO_MODULES),
    Rule("sql", IO_MODULES),
)
PURE = ("event", "spool/frame.py", "sql")


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def files(where: str = "") -> list[Path]:
    path = SOURCE / where
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def module_name(file: Path) -> str:
    return ".".join(("novamesh", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def package_of(file: Path) -> str:
    name = module_name(file)
    return name if file.stem == "__init__" else name.rpartition(".")[0]


def imports(text: str, package: str) -> set[str]:
    """Every name that ``text``, a module of ``package``, imports, in full: ``from a import b`` is ``a.b``."""
    return {name for node in ast.walk(ast.parse(text)) for name in _imported_by(node, package)}


def _imported_by(node: ast.AST, package: str) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            parts = package.split(".")[: -(level - 1) or None] if level else []
            base = ".".join([*parts, module] if module else parts)
            yield from (base if alias.name == "*" else f"{base}.{alias.name}" for alias in names)
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield name


def io_calls(text: str) -> list[str]:
    """Calls of builtins that do I/O without any import."""
    return [
        f"{node.func.id}() in line {node.lineno}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IO_BUILTINS
    ]


def imports_of(file: Path) -> set[str]:
    return imports(file.read_text("utf-8"), package_of(file))


def reachable(start: set[str], graph: dict[str, set[str]]) -> dict[str, str]:
    """Everything that importing ``start`` loads, each with who imported it: modules of ``graph``,
    the packages they live in, and names from outside."""
    found = dict.fromkeys(start, "")
    waiting = list(start)
    while waiting:
        module = waiting.pop()
        for name in graph.get(module, ()):
            for loaded in _loads(name, graph):
                if loaded not in found:
                    found[loaded] = module
                    waiting.append(loaded)
    return found


def _loads(name: str, graph: dict[str, set[str]]) -> list[str]:
    if not within(name, ("novamesh",)):
        return [name]
    parts = name.split(".")
    return [module for end in range(1, len(parts) + 1) if (module := ".".join(parts[:end])) in graph]


def rule_id(rule: Rule) -> str:
    return f"{rule.where} without {rule.forbidden[0]}"


@pytest.mark.parametrize("rule", RULES, ids=rule_id)
def test_imports_keep_the_rule(rule: Rule) -> None:
    guarded = files(rule.where)
    assert guarded, f"no file under src/novamesh/{rule.where}: the rule guards nothing"
    broken = {module_name(file): found for file in guarded if (found := rule.breaches(imports_of(file)))}
    assert broken == {}


@pytest.mark.parametrize("where", PURE)
def test_pure_code_calls_no_builtin_that_does_io(where: str) -> None:
    broken = {module_name(file): found for file in files(where) if (found := io_calls(file.read_text("utf-8")))}
    assert broken == {}


def test_edge_does_not_load_the_store_by_way_of_others() -> None:
    graph = {module_name(file): imports_of(file) for file in files()}
    found = reachable({name for name in graph if within(name, ("novamesh.edge",))}, graph)
    # Importing the contract loads the package it lives in, so that must be clean as well; it is looked into like any.
    allowed = ("novamesh.store", "novamesh.store.contract", "novamesh.store.loss")  # the last is part of the contract
    broken = {
        name: f"imported by {by}"
        for name, by in found.items()
        if within(name, ("novamesh.store", "duckdb")) and name not in allowed
    }
    assert broken == {}


def test_files_are_short() -> None:
    lengths = {module_name(file): len(file.read_text("utf-8").splitlines()) for file in files()}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > LINE_LIMIT} == {}


def test_every_dependency_is_explained_and_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    explained = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    groups = {
        "runtime": project["project"]["dependencies"],
        "dev": project["project"]["dependencies"] + project["dependency-groups"]["dev"],
        "fuzz": project["dependency-groups"]["fuzz"],
    }
    for group, requirements in groups.items():
        locked = (ROOT / "requirements" / f"{group}.lock").read_text("utf-8")
        for requirement in requirements:
            name = requirement.split(">=")[0].split("[")[0]
            assert f"`{name}`" in explained, f"docs/dependencies.md does not explain {name}"
            assert f"\n{name.replace('.', '-')}==" in locked, f"{group}.lock lacks {name}: run scripts/lock"


# The checker itself, on made-up modules.

OFFENCES = [
    "import {name}",
    "import {name} as harmless",
    "import sys, {name}",
    "from {name} import thing",
    "from {name} import *",
    "def later():\n    import {name}",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {name} import Thing",
    "import importlib\nimportlib.import_module('{name}')",
    "__import__('{name}')",
]


@pytest.mark.parametrize("rule", RULES, ids=rule_id)
@pytest.mark.parametrize("offence", OFFENCES)
def test_checker_finds_every_forbidden_import(rule: Rule, offence: str) -> None:
    for name in rule.forbidden:
        assert rule.breaches(imports(offence.format(name=name), "novamesh.made_up"))


@pytest.mark.parametrize(
    ("text", "package", "found"),
    [
        ("from novamesh import store", "novamesh.edge", "novamesh.store"),
        ("from ..store import loader", "novamesh.edge", "novamesh.store.loader"),
        ("from ..store.duckdb import Store", "novamesh.edge", "novamesh.store.duckdb.Store"),
        ("from .. import store", "novamesh.edge", "novamesh.store"),
        ("from . import app", "novamesh.edge", "novamesh.edge.app"),
        ("from urllib import request", "novamesh.sql", "urllib.request"),
    ],
)
def test_checker_resolves_names(text: str, package: str, found: str) -> None:
    assert imports(text, package) == {found}


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("edge", "from novamesh.store import contract"),
        ("edge", "from novamesh.store.contract import Query"),
        ("edge", "from novamesh.storeroom import shelf"),
        ("store", "import duckdb"),
        ("spool", "import os"),
        ("event", "from novamesh.errors import InvalidEvent"),
        ("event", "from novamesh.event.model import Event"),
        ("sql", "from urllib.parse import quote"),
        ("sql", "from . import names"),
    ],
)
def test_checker_lets_the_rest_pass(where: str, text: str) -> None:
    found = [rule.breaches(imports(text, f"novamesh.{where}")) for rule in RULES if rule.where == where]
    assert found
    assert not any(found)


def test_checker_finds_builtins_that_do_io() -> None:
    assert io_calls("x = 1\nprint(open('f').read())") == ["print() in line 2", "open() in line 2"]
    assert io_calls("reopen(); door.open()") == []


def test_checker_follows_imports() -> None:
    graph = {
        "novamesh": set[str](),
        "novamesh.edge.app": {"novamesh.status.Uptime", "msgspec.json"},
        "novamesh.status": {"novamesh.store.contract.Query"},
        "novamesh.store": {"duckdb"},
        "novamesh.store.contract": {"typing.Any"},
    }
    found = reachable({"novamesh.edge.app"}, graph)
    assert found["duckdb"] == "novamesh.store"
    assert found["novamesh.store.contract"] == found["novamesh.store"] == "novamesh.status"
    assert found["msgspec.json"] == "novamesh.edge.app"
