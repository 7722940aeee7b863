"""Resident memory of a node's processes, from /proc."""

from pathlib import Path

from tests.support import RunningNode


def proportional_mib(pid: int) -> float:
    """PSS in MiB: what pages are shared is divided among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def resident_mib(pid: int) -> float:
    """RSS in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def of_node(node: RunningNode) -> dict[str, float]:
    """RSS by process, and the sum of PSS, in MiB."""
    children = node.children()
    processes = {"supervisor": node.process.pid}
    processes |= {f"{kind} {n}": pid for kind, pids in children.items() for n, pid in enumerate(pids, 1)}
    figures = {name: resident_mib(pid) for name, pid in processes.items()}
    figures["sum of RSS"] = sum(figures.values())
    figures["sum of PSS"] = sum(proportional_mib(pid) for pid in processes.values())
    return figures
