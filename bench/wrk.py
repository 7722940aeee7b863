"""The load generator: wrk, driven by a Lua script, read back as numbers."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

# Bodies are sent in turn; `pause` is in milliseconds between an answer and the next request.
_SCRIPT = """
local bodies, n = {}, 0
for _, path in ipairs({%(files)s}) do
  local file = io.open(path, "rb"); bodies[#bodies + 1] = file:read("*a"); file:close()
end
function request()
  if #bodies == 0 then return wrk.format("GET") end
  n = n %% #bodies + 1
  return wrk.format("POST", nil, nil, bodies[n])
end
%(pause)s
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %%d, "us": %%d, "refused": %%d, "broken": %%d, ' ..
    '"p50_us": %%d, "p99_us": %%d}\\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class Load(NamedTuple):
    """What came of a load: requests a second, latencies in ms, answers that were not 2xx, connections that broke."""

    per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    refused: int
    broken: int


def load(
    url: str,
    seconds: float,
    connections: int,
    headers: Mapping[str, str] | None = None,
    bodies: list[bytes] | None = None,
    pause_ms: int = 0,
) -> Load:
    """GET ``url``, or POST the bodies in turn, for so many seconds. Raises RuntimeError without wrk."""
    if shutil.which("wrk") is None:
        raise RuntimeError("the benchmarks need wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as directory:
        files = []
        for n, body in enumerate(bodies or []):
            files.append(Path(directory) / f"body-{n}")
            files[-1].write_bytes(body)
        script = Path(directory) / "load.lua"
        pause = f"function delay() return {pause_ms} end" if pause_ms else ""
        script.write_text(_SCRIPT % {"files": ", ".join(f'"{file}"' for file in files), "pause": pause})
        arguments = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "20s", "-s", str(script)]
        for name, value in (headers or {}).items():
            arguments += ["-H", f"{name}: {value}"]
        output = subprocess.run([*arguments, url], capture_output=True, text=True, check=True, timeout=seconds + 60)
    result = json.loads(output.stdout.strip().splitlines()[-1])
    return Load(
        per_s=result["requests"] / (result["us"] / 1e6),
        p50_ms=result["p50_us"] / 1000,
        p99_ms=result["p99_us"] / 1000,
        requests=result["requests"],
        refused=result["refused"],
        broken=result["broken"],
    )
