"""The console that is committed is what its sources make, carries what it must, and is in what is installed."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from novamesh.edge.console.serving import CONTENT_SECURITY_POLICY, built

ROOT = Path(__file__).parents[2]
CONSOLE = ROOT / "console"
BUILT = ROOT / "src/novamesh/edge/console/built"
LIMIT_BYTES = 700_000
LINE_LIMIT = 500


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode((BUILT / "manifest.json").read_bytes())
    return document


def sources() -> list[Path]:
    names = ("build.mjs", "package-lock.json", "package.json", "tsconfig.json")
    return sorted([*(CONSOLE / name for name in names), *(CONSOLE / "src").iterdir()], key=lambda path: str(path))


def test_it_is_built_from_the_present_sources(manifest: dict[str, Any]) -> None:
    lines = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(CONSOLE).as_posix()}\n"
        for path in sources()
    )
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == manifest["sources"], "run scripts/console"


def test_the_files_are_those_that_were_built(manifest: dict[str, Any]) -> None:
    there = {path.name for path in BUILT.iterdir()}
    assert there == {*manifest["files"], "manifest.json"}
    hashed = [name for name in there if re.search(r"-[0-9a-f]{12}\.", name)]
    assert sorted(name.rpartition(".")[2] for name in hashed) == ["css", "js"]
    for name in hashed:
        assert hashlib.sha256((BUILT / name).read_bytes()).hexdigest()[:12] in name
        assert f"console/{name}" in (BUILT / "index.html").read_text()


def test_it_is_small_enough() -> None:
    assert sum(path.stat().st_size for path in BUILT.iterdir()) < LIMIT_BYTES


def test_its_sources_are_short() -> None:
    assert {
        path.name for path in sources() if path.suffix != ".json" and len(path.read_text().splitlines()) > LINE_LIMIT
    } == set()


def test_licenses_of_all_that_is_bundled_are_there() -> None:
    text = (BUILT / "LICENSES.txt").read_text()
    wanted = msgspec.json.decode((CONSOLE / "package.json").read_bytes())["dependencies"]
    for name, version in wanted.items():
        assert re.search(rf"^{re.escape(name)} {re.escape(version)} \(.+\)$", text, re.MULTILINE), name
    assert text.count("Permission is hereby granted") >= len(wanted)


def test_versions_are_exact_and_the_lock_names_no_registry() -> None:
    package = msgspec.json.decode((CONSOLE / "package.json").read_bytes())
    versions = [*package["dependencies"].values(), *package["devDependencies"].values()]
    assert all(re.fullmatch(r"[\d.]+", version) for version in versions)
    assert '"resolved"' not in (CONSOLE / "package-lock.json").read_text()


def test_the_page_has_nothing_inline() -> None:
    page = (BUILT / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", page)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_no_text_becomes_html_or_code() -> None:
    """The policy has browsers refuse it; here it is refused for those that do not know trusted types."""
    (script,) = BUILT.glob("*.js")
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser|createContextualFragment"
    assert re.findall(sinks, script.read_text()) == []


def test_what_is_served_is_what_was_built(manifest: dict[str, Any]) -> None:
    assert set(built()) == set(manifest["files"])
    assert "manifest.json" not in built()


def test_a_wheel_will_contain_it() -> None:
    """Hatch packs what is below src/novamesh, unless git ignores it."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git here")
    ignored = subprocess.run(
        ["git", "check-ignore", *BUILT.iterdir()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ignored.returncode, ignored.stdout) == (1, "")


def test_pictures_of_it_are_small() -> None:
    pictures = list((ROOT / "docs/images").glob("console-*.png"))
    assert len(pictures) == 3
    assert all(picture.stat().st_size <= 150_000 for picture in pictures)
