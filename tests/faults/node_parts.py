"""The parts of a node in one process, on real files, that end as processes do: at once, wherever they are.

Writer, loader and database are those of the node. A crash is a copy of the files as they are at that moment, in the
middle of a write or of a load; new parts start on the copy, and what the old ones do from then on counts for nothing.
After a power cut the copy holds of each live segment only what was synced, then rubbish.
"""

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest import mock

from novamesh.config import Config
from novamesh.errors import RequestError
from novamesh.event.accept import accept_batch, accept_event
from novamesh.event.record import Record, batch_for_key, encode, new_batch
from novamesh.spool.files import SystemFiles
from novamesh.spool.frame import SEGMENT_HEADER_SIZE, is_end
from novamesh.spool.repair import clear_leftovers
from novamesh.spool.segment import list_segments
from novamesh.spool.tally import Tally
from novamesh.spool.writer import Limits, SpoolWriter
from novamesh.store import loader as loaders
from novamesh.store.contract import Gaps
from novamesh.store.duckdb import Database
from novamesh.store.loader import Loader
from novamesh.store.recount import Places, recount
from tests.api.contract import encoded
from tests.faults.model import Request
from tests.unit.spool_files import NODE

NOW: Final = 1_767_225_600_000_000
SEGMENT_BYTES: Final = 3_000  # so small that a few requests fill one
SPACE: Final = "default"


class Crash(BaseException):
    """The process is gone: nobody handles this, as nobody handles a SIGKILL."""


class _Noting(SystemFiles):
    """The system's files, and how much of each segment was synced through them."""

    def __init__(self, synced: dict[str, int]) -> None:
        self._synced = synced

    def fdatasync(self, descriptor: int) -> None:  # type: ignore[override] # a method for a function
        os.fdatasync(descriptor)
        self._note(descriptor)

    def fsync(self, descriptor: int) -> None:  # type: ignore[override]
        os.fsync(descriptor)
        self._note(descriptor)

    def _note(self, descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        self._synced[name] = os.fstat(descriptor).st_size


class NodeParts:
    """One node's spool and store. ``directory`` holds its files, and after each crash a new copy of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lives = 0
        self._clock = NOW
        self._synced: dict[str, int] = {}  # of each segment, in bytes
        self._synced_in_copy: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        for name in ("spool", "ledger"):
            (self._home / name).mkdir(parents=True)
        self._start()

    @property
    def _home(self) -> Path:
        return self._directory / str(self._lives)

    def _start(self) -> None:
        spool, ledger = self._home / "spool", self._home / "ledger"
        clear_leftovers(spool)
        # Of each their own, so that a fault meets the one that is meant.
        self._writer_files, self._loader_files = _Noting(self._synced), _Noting(self._synced)
        config = Config(data_dir=str(self._home), query_threads=1)
        self._database = Database(config)
        self._loader = Loader(self._database, spool, NODE, ledger, self._loader_files)
        self._tally = Tally(ledger, spool)
        limits = Limits(spool, 2**40, 0)
        self._writer = SpoolWriter(spool, NODE, SEGMENT_BYTES, limits, self._loop, self._tally, self._writer_files)

    def close(self) -> None:
        """Stop in order, without loading what is left."""
        self._end()
        self._loop.close()

    def _end(self) -> None:
        self._writer.stop()
        self._loop.run_until_complete(asyncio.sleep(0))  # what the writer told the loop last
        self._tally.close()
        self._loader.close()
        self._database.close()

    def restart(self) -> None:
        """Stop in order and start on the same files."""
        self._end()
        self._start()

    # ---- requests

    def send(self, requests: list[Request]) -> list[int]:
        """Send all at once. Their answers."""
        return self._loop.run_until_complete(self._send(requests))

    async def _send(self, requests: list[Request]) -> list[int]:
        return await asyncio.gather(*map(self._append, requests))

    async def _append(self, request: Request) -> int:
        accept = accept_event if request.path == "/v1/ingest" else accept_batch
        accepted = accept(encoded(request.body))
        self._clock += 1000
        named = request.path == "/v1/batch"
        batch = batch_for_key(SPACE, request.key) if request.key else new_batch(self._clock)
        record = Record(SPACE, batch, self._clock, accepted.count, named=named, key=request.key)
        try:
            await self._writer.append(encode(record, accepted.events), SPACE, accepted.count)
        except RequestError as error:
            return error.status
        return 202

    def send_with_failing(self, call: str, code: int, partial: int, requests: list[Request]) -> list[int]:
        """Send while the system's ``call`` fails once, for a write after it has written a part."""
        real, left = getattr(self._writer_files, call), [1]

        def failing(descriptor: int, *arguments: Any) -> Any:
            if not left:
                return real(descriptor, *arguments)
            left.clear()
            if arguments and partial:
                os.write(descriptor, b"".join(arguments[0])[:partial])
            raise OSError(code, os.strerror(code))

        with mock.patch.object(self._writer_files, call, failing):
            return self.send(requests)

    # ---- the end

    def crash(self, random: Random, *, power: bool) -> None:
        """Kill everything now, and start again."""
        self._copy()
        self._begin_again(random, power=power)

    def crash_in_write(self, random: Random, requests: list[Request], *, synced: bool, power: bool) -> None:
        """Kill everything while the requests are written: before their sync, or after it and before the answer."""
        real, copied = self._writer_files.fdatasync, list[int]()

        def crashing(descriptor: int) -> None:
            if synced:
                real(descriptor)
            if not copied:
                self._copy()
                copied.append(1)
            if not synced:
                real(descriptor)

        with mock.patch.object(self._writer_files, "fdatasync", crashing):
            self.send(requests)
        self._begin_again(random, power=power)

    def crash_in_load(self, random: Random, place: str, *, power: bool) -> None:
        """Kill everything when the loader comes to ``place``; if it does not, when it is done."""
        whose, name, after = PLACES[place]
        owner: Any = {"database": self._database, "files": self._loader_files, "loader": loaders}[whose]
        real: Callable[..., Any] = getattr(owner, name)

        def crashing(*arguments: Any, **options: Any) -> Any:
            if after:
                real(*arguments, **options)
            raise Crash

        try:
            with mock.patch.object(owner, name, crashing):
                self.load(20)
        except Crash:
            pass
        self._copy()
        self._begin_again(random, power=power)

    def _copy(self) -> None:
        target = self._directory / str(self._lives + 1)
        shutil.copytree(self._home, target, symlinks=True)
        self._synced_in_copy = dict(self._synced)

    def _begin_again(self, random: Random, *, power: bool) -> None:
        old = self._home
        self._end()
        self._lives += 1
        shutil.rmtree(old)
        # The old ones may have synced more since.
        self._synced = dict(self._synced_in_copy)
        if power:
            self._cut_power(random)
        self._start()

    def _cut_power(self, random: Random) -> None:
        for path in list_segments(self._home / "spool"):
            if is_end(path.read_bytes()):
                continue  # closed in order, so all of it is synced
            with path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                # The rest may have got to the disk, all or in part. A segment has its name once its header is synced.
                synced = self._synced.get(path.name, SEGMENT_HEADER_SIZE)
                file.truncate(random.randint(min(synced, size), size))
                file.seek(0, os.SEEK_END)
                file.write(random.randbytes(random.choice((0, 1, 8, 100))))

    # ---- the store

    def load(self, steps: int) -> None:
        """At most so many rounds of the loader."""
        for _ in range(steps):
            if not self._loader.step():
                return

    def load_with_failing_read(self) -> None:
        """A round in which the disk does not give one segment."""
        with mock.patch.object(self._loader_files, "pread", side_effect=OSError(5, "Input/output error")):
            self._loader.step()

    def stored(self) -> Counter[str]:
        """How often each user's event is stored."""
        self._database.ensure_space(SPACE)
        with self._database.cursor() as cursor:
            rows = cursor.execute("SELECT user_id, count(*) FROM p_default.events GROUP BY 1").fetchall()
        return Counter(dict(rows))

    def check_ledger(self) -> None:
        """Count all anew, wherever the node stands."""
        places = Places(self._home / "spool", NODE, self._home / "ledger")
        with self._database.cursor() as cursor:
            gaps = {space: one.gaps for space, one in recount(cursor, places).items() if one.gaps != Gaps()}
        assert gaps == {}, "the ledger does not hold"

    def settle(self) -> Counter[str]:
        """Load all there is; nothing may be set aside."""
        self.load(10_000)
        assert self._loader.damaged() == 0, "a segment was set aside"
        assert self._loader.error is None
        return self.stored()


# Where the loader may be killed: whose function is called there, and whether it has been carried out.
PLACES: Final[dict[str, tuple[str, str, bool]]] = {
    "before the load": ("database", "load", False),
    "after the commit": ("database", "load", True),
    "before the deletion": ("files", "sync_directory", False),
    "before the deletion, noted": ("database", "finish_positions", True),
    "in the deletion": ("files", "unlink", True),
    "between deletion and its note": ("loader", "remove", True),
    "before the positions are dropped": ("database", "forget_positions", False),
}
