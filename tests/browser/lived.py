"""A node with a past, for tests and pictures of its page: 30 days of uptime and an hour of traffic are written for it.

The files are made by the code that measures, with times of long ago.
"""

import math
import random
import sqlite3
import time
from pathlib import Path

import httpx

from novamesh.status.metrics import WorkerMetrics
from novamesh.status.uptime import DAY_S
from tests.support import RunningNode, wait_for

# Days ago, hour of the day, seconds; oldest first.
OUTAGES = ((17, 3.5, 4_980), (17, 16.2, 1_150), (9, 9.1, 47), (2, 11.75, 265))
AGE_DAYS = 24
EVENTS = 50  # of a request
DEAD_PID = 999_999_999  # of a worker that no process can be


def write_uptime(data_dir: Path, now_s: float) -> None:
    """Beats since :data:`AGE_DAYS` days ago, with :data:`OUTAGES`, up to ``now_s``; the node goes on from there."""
    today = now_s // DAY_S * DAY_S
    begin = today - AGE_DAYS * DAY_S + 40_000
    gaps = [(today - ago * DAY_S + hour * 3600, length) for ago, hour, length in OUTAGES]
    starts = [begin, *(gap + length for gap, length in gaps)]
    db = sqlite3.connect(data_dir / "status.db")
    with db:
        # The node's own first beat may be yet to come: what lies in the future counts from when it is there.
        spans = zip(starts, [*(gap for gap, _ in gaps), now_s + 60], strict=True)
        db.executemany("INSERT INTO intervals (start_s, end_s) VALUES (?, ?)", spans)
        db.execute(
            "INSERT INTO state VALUES (1, ?, ?, 1) ON CONFLICT (id) DO UPDATE SET first_start_s = excluded.first_start_s",
            (begin, now_s),
        )
    db.close()


def write_traffic(data_dir: Path, now_s: float, silent: range = range(31, 35)) -> None:
    """The hour before ``now_s``, as a worker leaves it that has died since; ``silent``: minutes ago without a worker."""
    chance = random.Random(7)
    worker = WorkerMetrics(data_dir / "run", DEAD_PID)
    for ago in range(59, -1, -1):
        if ago in silent:
            continue
        minute = int(now_s) // 60 * 60 - ago * 60
        wave = 1 + 0.45 * math.sin(ago / 9) + 0.2 * math.sin(ago / 2.3) + chance.random() / 5
        worker.heartbeat(minute, True)
        part = 1 if ago else now_s % 60 / 60  # of this minute, what has been of it
        for _ in range(round(60 * wave * part)):
            slow = chance.random() < 0.02
            latency_ms = chance.uniform(4, 14) if slow else chance.lognormvariate(-0.1, 0.35)
            worker.observe(round(latency_ms * 1e6), minute + 1, events=EVENTS)
            worker.count(202, EVENTS)
        worker.heartbeat(min(minute + 59.9, now_s), True)
    worker.close()


def lived(data_dir: Path, **settings: object) -> RunningNode:
    """A node on ``data_dir``, which must be new, with that past."""
    node = RunningNode(data_dir, node="ingest-eu5", region="eu", region_label="Europe — France", workers=1, **settings)
    give_past(node)
    return node


def give_past(node: RunningNode) -> None:
    """That past, for a node that has just started."""
    write_uptime(node.data_dir, time.time())
    write_traffic(node.data_dir, time.time())
    wait_for(lambda: "Downtime on 3 days" in httpx.get(node.url).text, what="the past on the page")
