"""Requests made of the node's own OpenAPI document, right and wrong ones, and its answers held against it.

What the document allows is accepted, what it does not is refused; every answer has a status, a content type, headers and
JSON that are documented; without a key there is a 401; another method is a 405; and there is no 5xx. schemathesis makes
the requests and checks the answers, in a process of its own.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support import RunningNode, run_cli, wait_for

SETTINGS: Final = {"workers": 1, "query_time_limit_ms": 2000}
# Text that is no SQL is refused, and the document cannot say which; nor which batches there are.
_CONFIG: Final = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 413, 414, 415, 431]

[[operations]]
include-path-regex = "^/v1/(query|export|batches)"
checks.positive_data_acceptance.enabled = false
"""
# A form has its pattern, but a month has no 31st for it.
_TIMES: Final = ["2026-01-31T13:45:30.123456789+02:00", "2026-01-31 13:45", "2026-01-31", "1970-01-01T00:00:00Z", None]
# A request that takes longer has hung.
_ANSWER_S: Final = 60
_CASES: Final = re.compile(r"^  (\d+) generated", re.MULTILINE)


def play(node: RunningNode, seconds: int, seed: int) -> int:
    """Fuzz a node for so many seconds. Returns the number of requests; AssertionError with all that was found."""
    scopes = [part for scope in ("ingest", "query", "admin") for part in ("--scope", scope)]
    key = run_cli("keys", "create", "--data-dir", node.data_dir, *scopes).stdout.strip()
    wait_for(lambda: _is_known(node, key), what="the key")
    with tempfile.TemporaryDirectory() as directory:
        config, document = Path(directory) / "schemathesis.toml", Path(directory) / "openapi.json"
        config.write_text(_CONFIG)
        document.write_text(json.dumps(_narrowed(httpx.get(node.url + "/openapi.json").json())))
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "schemathesis.cli",
                    "--config-file",
                    config,
                    "run",
                    document,
                    "--url",
                    node.url,
                ),
                *(f"--header=Authorization: Bearer {key}", f"--max-time={max(1, seconds)}"),
                *(f"--seed={seed}", "--generation-database=none", f"--request-timeout={_ANSWER_S}", "--no-color"),
                *("--continue-on-failure", "--warnings=off"),
            ],
            capture_output=True,
            text=True,
            cwd=directory,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = _CASES.search(done.stdout)
    assert cases, done.stdout
    return int(cases[1])


def _narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with less room, where the node has less than JSON Schema can say: bodies are not compressed here.
    Streams without an end are left out."""
    document["components"]["schemas"]["Event"]["properties"]["timestamp"] = {"enum": _TIMES}
    paths: dict[str, Any] = document["paths"]
    endless = [path for path, item in paths.items() if "text/event-stream" in json.dumps(item)]
    document["paths"] = {path: item for path, item in paths.items() if path not in endless}
    for item in paths.values():
        for operation in item.values():
            parameters = operation.get("parameters", [])
            operation["parameters"] = [one for one in parameters if one["name"] != "Content-Encoding"]
    return document


def _is_known(node: RunningNode, key: str) -> bool:
    with node.client() as client:
        return client.get("/v1/schema", headers={"Authorization": f"Bearer {key}"}).status_code == 200
