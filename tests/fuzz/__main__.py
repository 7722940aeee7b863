"""``scripts/fuzz``: each target in turn for some seconds, and one line of what came of it.

What is found lies in ``.fuzz/<target>/findings/``, the grown corpus in ``.fuzz/<target>/corpus/``. A finding becomes an
entry of ``tests/fuzz/corpus/<target>/`` with its fix; ``--minimize`` takes over the smallest inputs that reach what
the whole grown corpus reaches.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import live
from tests.fuzz.target import CORPUS, Target
from tests.fuzz.targets import TARGETS

GROWN = Path(__file__).parents[2] / ".fuzz"
MOST_FINDINGS = 10
# Seconds for one input, and MiB for the process: beyond them the input is a finding.
INPUT_S, PROCESS_MIB = 60, 6144
MOST_BYTES = 16 * 1024
_DONE = re.compile(r"stat::number_of_executed_units: (\d+)|^#(\d+)\t", re.MULTILINE)
_COVERED = re.compile(r"\bcov: (\d+)")


def main() -> int:
    """Run what was asked for. Returns 1 if anything was found."""
    names = [*TARGETS, *live.TARGETS]
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Example: scripts/fuzz sql --seconds 3600")
    parser.add_argument("target", nargs="*", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="default: another one each time")
    parser.add_argument("--minimize", action="store_true", help="do not fuzz: keep the smallest corpus for tests")
    arguments = parser.parse_args()
    if unknown := set(arguments.target) - set(names):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if arguments.minimize:
        for name in arguments.target or TARGETS:
            print(f"{name}: {minimize(TARGETS[name])} entries")
        return 0
    found = 0
    for name in arguments.target or names:
        seed = arguments.seed or time.time_ns() % 2**31
        if name in TARGETS:
            found += fuzz(TARGETS[name], arguments.seconds, seed)
        else:
            found += live.fuzz(name, arguments.seconds, seed, GROWN / name / "findings")
    return 1 if found else 0


def fuzz(target: Target, seconds: int, seed: int) -> int:
    """Fuzz one target with coverage. Returns how many findings there were."""
    corpus, findings = GROWN / target.name / "corpus", GROWN / target.name / "findings"
    for directory in (corpus, findings, CORPUS / target.name):
        directory.mkdir(parents=True, exist_ok=True)
    for place, content in enumerate(target.seeds()):
        (corpus / f"seed-{place:04d}").write_bytes(content)
    started = time.monotonic()
    known, executions, covered, runs = set(findings.iterdir()), 0, 0, 0
    while (left := seconds - (time.monotonic() - started)) > 1 and runs < MOST_FINDINGS:
        log = _run(target, [f"-max_total_time={int(left)}", f"-seed={seed + runs}"], corpus, CORPUS / target.name)
        counts = [int(a or b) for a, b in _DONE.findall(log)]
        executions += max(counts, default=0)
        covered = max([covered, *map(int, _COVERED.findall(log))])
        runs += 1
    found = {path for path in set(findings.iterdir()) - known if path.suffix != ".log"}
    for path in sorted(found):
        print(f"{target.name}: {path}")
    size = len(list(corpus.iterdir()))
    took = round(time.monotonic() - started)
    print(
        f"{target.name}: {took} s, {executions} executions, {covered} edges, corpus {size}, findings {len(found)}",
        flush=True,
    )
    return len(found)


def minimize(target: Target) -> int:
    """Make the kept corpus the smallest one that reaches what all inputs reach. Returns its size."""
    kept, fresh = CORPUS / target.name, GROWN / target.name / "minimized"
    shutil.rmtree(fresh, ignore_errors=True)
    for directory in (fresh, kept):
        directory.mkdir(parents=True, exist_ok=True)
    _run(target, ["-merge=1", "-max_len=2048"], fresh, GROWN / target.name / "corpus", kept)
    regressions = {path.name: path.read_bytes() for path in kept.iterdir() if not _is_made(path)}
    shutil.rmtree(kept)
    kept.mkdir()
    for path in fresh.iterdir():
        (kept / path.name).write_bytes(path.read_bytes())
    for name, content in regressions.items():
        (kept / name).write_bytes(content)
    return len(list(kept.iterdir()))


def _is_made(path: Path) -> bool:
    """Whether the fuzzer gave the entry its name: the SHA-1 of its content. The others are regressions."""
    return re.fullmatch(r"[0-9a-f]{40}", path.name) is not None


def _run(target: Target, options: list[str], *corpora: Path) -> str:
    """One run of libFuzzer in a process of its own. Returns what it said."""
    findings = GROWN / target.name / "findings"
    command = [sys.executable, "-m", "tests.fuzz.guided", target.name, *map(str, corpora)]
    limits = [f"-timeout={INPUT_S}", f"-rss_limit_mb={PROCESS_MIB}", f"-max_len={MOST_BYTES}"]
    # In memory where the system has such a place: segments are synced. The fuzzer leaves its files behind.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="novamesh-fuzz-", dir=memory) as directory,
        (GROWN / target.name / "log").open("w+", errors="replace") as log,
    ):
        subprocess.run(
            [*command, *limits, *options, f"-artifact_prefix={findings}/", "-print_final_stats=1"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONHASHSEED": "0", "TMPDIR": directory},
            check=False,
        )
        log.seek(0)
        said = log.read()
    for place in re.finditer(r"Test unit written to (\S+)", said):
        Path(place[1] + ".log").write_text(said[-20_000:])
    return said


if __name__ == "__main__":
    sys.exit(main())
