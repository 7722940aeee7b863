"""The fenced blocks of documents, and a shell that runs those of one document as a reader would: in order, in one session."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support import DEADLINE_S

ROOT = Path(__file__).parents[1]
ADDRESS = "127.0.0.1:8000"  # of the node in all documents
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "---- end of a block ----"
OUTPUTS = ("json", "text")


class Block(NamedTuple):
    """``output`` is the text of the block behind it, where that is what a reader sees."""

    page: str
    language: str
    text: str
    output: str | None

    @property
    def name(self) -> str:
        """The page and the first line, which names a block in the tests."""
        return f"{self.page}: {self.text.splitlines()[0]}"


def blocks(page: str) -> list[Block]:
    """All of a page, in order. ``page`` is a path below the project's root."""
    found = [(match[1], match[2]) for match in _FENCE.finditer((ROOT / page).read_text("utf-8"))]
    followers = [*found, ("", "")][1:]
    return [
        Block(page, language, text, after if kind in OUTPUTS else None)
        for (language, text), (kind, after) in zip(found, followers, strict=True)
    ]


def shell_blocks(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "sh"]


def write_programs(page: str, directory: Path, address: str) -> None:
    """Each program of a page as the file that its first line names, with the address of the node that there is."""
    for block in blocks(page):
        if block.language in ("python", "js"):
            name = block.text.splitlines()[0].strip("#/ ")
            (directory / name).write_text(block.text.replace(ADDRESS, address), "utf-8")


def run_blocks(wanted: Sequence[Block], directory: Path, environment: Mapping[str, str], address: str) -> list[str]:
    """The standard output of each block, up to the first that fails. The text stays as it is: curl's own settings
    lead it to the node."""
    connect = f'silent\nconnect-to = "{ADDRESS}:{address}"\n'
    (directory / ".curlrc").write_text(connect)
    script = "set -euo pipefail\n" + "".join(f"{block.text}\necho; echo '{_MARK}'\n" for block in wanted)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env={**environment, "CURL_HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    outputs = done.stdout.split(_MARK)[:-1]
    assert done.returncode == 0, f"{wanted[len(outputs)].name}\n{done.stdout[-2000:]}\n{done.stderr}"
    return [output.strip() for output in outputs]


def is_as_shown(output: str, shown: str) -> bool:
    """Whether an output is the one that a document shows, where ``…`` stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None
