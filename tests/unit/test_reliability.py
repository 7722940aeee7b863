"""Every fault that docs/reliability.md lists is injected by the test it names."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"


def listed() -> list[tuple[str, str]]:
    """Files and tests of the table of faults, one a row."""
    section = PAGE.read_text("utf-8").partition("## Faults\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| fault |")]
    found = [re.search(r"\| `(tests/\S+\.py)::(test_\w+)` \|$", row) for row in rows]
    assert all(found), "a row names no test"
    return [(match[1], match[2]) for match in found if match]


def test_every_listed_test_exists() -> None:
    tests = listed()
    assert len(tests) > 40
    for file, name in tests:
        tree = ast.parse((ROOT / file).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file} has no {name}"


def test_every_test_with_the_name_of_a_fault_is_listed() -> None:
    """Those of the files that hold nothing but faults of spool and database."""
    names = {name for _, name in listed()}
    for file in ("test_disk.py", "test_load_cycle.py", "test_clock.py", "test_spool_of_a_node.py"):
        tree = ast.parse((ROOT / "tests" / "faults" / file).read_text("utf-8"))
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
        assert tests <= names, file
