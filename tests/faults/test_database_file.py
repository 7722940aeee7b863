"""The database file is damaged, missing or locked: the node accepts, says why it is degraded, and begins nothing anew."""

import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import httpx
import pytest

from novamesh.config import Config
from novamesh.spool.segment import list_segments
from novamesh.store.damage import FILE_NAME, DatabaseDamaged, is_damage
from novamesh.store.opening import DAMAGE, MADE, DatabaseClosed, note_damage, open_database
from tests.faults.files import Death, FaultyFiles
from tests.support import RunningNode, wait_for
from tests.unit.store_files import Store, named

HEADER_BYTES = 4096
BLOCK_BYTES = 262_144
BLOCKS_AT = 3 * HEADER_BYTES


def flip(file: Path, place: int) -> bytes:
    """Change one bit. Returns the file's new content."""
    data = bytearray(file.read_bytes())
    data[place] ^= 0x10
    file.write_bytes(data)
    return bytes(data)


AT_START = "FROM novamesh.positions, novamesh.counters, novamesh.paths, novamesh.migrations"


def check_degraded(node: RunningNode, reason: str) -> None:
    """Health says why, events are accepted, queries are told to come later, nothing is stored anew."""

    def reasons() -> list[str]:
        answer = node.get("/v1/ready").json()
        return [detail["message"] for detail in answer.get("details", []) if detail["pointer"] == "/store"]

    wait_for(lambda: any(reason in said for said in reasons()), what=f"the reason\n{node.log}")
    assert node.get("/v1/health").json()["status"] == "degraded"
    wait_for(lambda: reason in node.get("/").text, what="the page")
    assert str(node.data_dir) not in "".join(reasons()), "no path is told to the world"
    answer = node.query("SELECT count(*) FROM events")
    assert (answer.status_code, answer.json()["error"]) == (503, "store_unavailable")
    assert reason in answer.json()["message"]


def send(node: RunningNode, *names: str) -> None:
    for name in names:
        assert node.post("/v1/ingest", {"event": name, "id": name}).status_code == 202


def names(node: RunningNode) -> list[str]:
    return [name for (name,) in node.rows("SELECT event FROM events ORDER BY event")]


@contextmanager
def stopped_node(make_node: Callable[..., RunningNode], *events: str) -> Iterator[tuple[RunningNode, Path]]:
    """A node that has stored these events and has stopped; it is started again behind the block."""
    node = make_node(workers=1)
    send(node, *events)
    node.wait_for_count(len(events))
    with stopped(node):
        yield node, node.data_dir / "store" / FILE_NAME


@contextmanager
def stopped(node: RunningNode) -> Iterator[None]:
    """Stop a node, and start it again behind the block."""
    assert node.stop() == 0
    yield
    node.restart()


def test_a_damaged_database_is_set_aside_and_waits_for_a_backup(make_node: Callable[..., RunningNode]) -> None:
    with stopped_node(make_node, "a", "b") as (node, file):
        backup = file.with_name("backup")
        shutil.copy(file, backup)
        damaged = flip(file, HEADER_BYTES + 8) if flip(file, 8) else b""
    check_degraded(node, "damaged")
    send(node, "c", "d", "a")
    (aside,) = file.parent.glob("damaged-*")
    assert (aside / FILE_NAME).read_bytes() == damaged
    assert not file.exists(), "no empty database takes its place"
    wait_for(lambda: "novamesh restore" in node.log, what="the log")

    node.kill()
    node.restart()
    check_degraded(node, "damaged")
    assert not file.exists(), "not after a restart either"
    assert list_segments(node.data_dir / "spool")
    wait_for(lambda: node.log.count("there is no database") == 2, what="a line for each start, not for every try")

    backup.rename(file)  # as a restore does
    wait_for(lambda: node.query("SELECT 1").status_code == 200, what="the store")
    node.wait_for_count(4)
    assert names(node) == ["a", "b", "c", "d"], "the id is still known"
    wait_for(node.is_ready, what="readiness")


def test_damage_that_a_query_finds_stops_the_loading(make_node: Callable[..., RunningNode]) -> None:
    """The database opens; what is damaged is met later. What comes then must be there for the backup."""
    rng = random.Random(1)
    many = [{"event": "many", "user_id": rng.randbytes(90).hex()} for _ in range(5000)]
    with stopped_node(make_node) as (node, file):
        pass
    node.send(many)
    node.wait_for_count(len(many))
    with stopped(node):
        backup = file.with_name("backup")
        shutil.copy(file, backup)
        damage(file, kept=AT_START, lost="SELECT max(user_id) FROM p_default.events_shredded")
    answer = wait_for(lambda: settled(node.query("SELECT max(user_id) FROM events")), what="an answer")
    assert (answer.status_code, answer.json()["error"]) == (503, "store_unavailable"), answer.text
    check_degraded(node, "damaged")
    send(node, "c")
    assert len(list(file.parent.glob("damaged-*"))) == 1
    backup.rename(file)
    node.wait_for_count(len(many) + 1)


def test_damage_that_a_load_finds(make_node: Callable[..., RunningNode]) -> None:
    """The database opens, and what only a load reads is damaged: the load is not lost."""
    with stopped_node(make_node) as (node, file):
        pass
    node.send([{"event": "many", "id": f"i{n}"} for n in range(5000)])
    node.wait_for_count(5000)
    with stopped(node):
        backup = file.with_name("backup")
        shutil.copy(file, backup)
        damage(file, kept=AT_START, lost="SELECT max(key) FROM p_default.seen")
    send(node, "b")
    check_degraded(node, "damaged")
    assert node.log.count("the store has died") == 1, "it does not start for ever"
    backup.rename(file)
    node.wait_for_count(5001)


def settled(answer: httpx.Response) -> httpx.Response | None:
    """The answer, unless the store is only starting."""
    return None if "starting or restarting" in answer.text else answer


def damage(file: Path, *, kept: str, lost: str) -> None:
    """Flip a bit in a block without which ``lost`` cannot be read and ``kept`` can."""
    whole = file.read_bytes()
    for place in range(BLOCKS_AT + 100, len(whole), BLOCK_BYTES):
        flip(file, place)
        if readable(file, kept) and not readable(file, lost):
            return
        file.write_bytes(whole)
    raise AssertionError("no block is of this kind")


def readable(file: Path, sql: str) -> bool:
    try:
        with duckdb.connect(file, read_only=True) as connection:
            connection.execute(sql).fetchall()
    except duckdb.Error:
        return False
    return True


def test_a_missing_database_is_not_made_anew(make_node: Callable[..., RunningNode]) -> None:
    with stopped_node(make_node, "a") as (node, file):
        backup = file.rename(file.with_name("backup"))
    check_degraded(node, "missing")
    send(node, "b")
    assert not file.exists()
    backup.rename(file)
    node.wait_for_count(2)


def test_an_operator_may_begin_with_an_empty_database(make_node: Callable[..., RunningNode]) -> None:
    with stopped_node(make_node, "a") as (node, file):
        file.unlink()
    check_degraded(node, "missing")
    send(node, "b")
    (file.parent / MADE).unlink()
    node.wait_for_count(1)
    assert names(node) == ["b"]


def test_a_database_that_another_program_has_open_is_waited_for(make_node: Callable[..., RunningNode]) -> None:
    with stopped_node(make_node, "a") as (node, file):
        code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
        other = subprocess.Popen([sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert other.stdout is not None
        other.stdout.readline()
    try:
        check_degraded(node, "in use by another program")
        send(node, "b")
        assert not list(file.parent.glob("damaged-*"))
    finally:
        other.kill()
        other.communicate()
    node.wait_for_count(2)
    assert node.log.count("there is no database") == 1


def test_a_stop_while_there_is_no_database_keeps_what_was_accepted(make_node: Callable[..., RunningNode]) -> None:
    with stopped_node(make_node, "a") as (node, file):
        backup = file.rename(file.with_name("backup"))
    check_degraded(node, "missing")
    send(node, "b")
    assert node.stop() == 0
    backup.rename(file)
    node.restart()
    node.wait_for_count(2)


# ---- Opening, without a node ----------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Config, Path]:
    """A database that holds an event, and its file."""
    config = Config(data_dir=str(tmp_path / "data"), query_threads=1)
    open_database(config).close()
    return config, tmp_path / "data" / "store" / FILE_NAME


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", bytes(20_000), b"\xff" * 20_000],
    ids=["empty", "short", "zeros", "rubbish"],
)
def test_a_file_that_is_no_database(stored: tuple[Config, Path], content: bytes) -> None:
    config, file = stored
    file.write_bytes(content)
    for _ in range(2):
        with pytest.raises(DatabaseClosed, match="damaged"):
            open_database(config)
    (aside,) = file.parent.glob("damaged-*")
    assert (aside / FILE_NAME).read_bytes() == content
    assert (aside / DAMAGE).exists()


@pytest.mark.parametrize("place", [0, 8, 40, HEADER_BYTES, 2 * HEADER_BYTES])
def test_a_flipped_bit_in_a_header(stored: tuple[Config, Path], place: int) -> None:
    config, file = stored
    flip(file, place)
    with pytest.raises(DatabaseClosed, match="damaged"):
        open_database(config)


def test_a_database_cut_in_half(stored: tuple[Config, Path]) -> None:
    config, file = stored
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DatabaseClosed, match="damaged"):
        open_database(config)


def test_a_damaged_log_goes_with_its_database(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    store.take(named("a"))
    log = store.file.with_name(FILE_NAME + ".wal")
    kept = (store.file.read_bytes(), log.read_bytes())
    store.die()
    store.file.write_bytes(kept[0])
    log.write_bytes(kept[1])
    changed = flip(log, len(kept[1]) - 50)
    open_marker = store.file.with_name(MADE)
    open_marker.touch()
    with pytest.raises(DatabaseClosed, match="damaged"):
        open_database(store.config)
    (aside,) = store.file.parent.glob("damaged-*")
    assert (aside / log.name).read_bytes() == changed
    assert (aside / FILE_NAME).read_bytes() == kept[0]
    assert not log.exists()


@pytest.mark.parametrize("call", ["open", "fsync", "sync_directory", "rename"])
@pytest.mark.parametrize("skip", range(3))
@pytest.mark.parametrize("after", [False, True])
def test_a_move_that_is_interrupted_is_finished(stored: tuple[Config, Path], call: str, skip: int, after: bool) -> None:
    """Killed before or after each step: never an empty database, and the damaged one is whole."""
    config, file = stored
    content = flip(file, 8)
    log = file.with_name(FILE_NAME + ".wal")
    log.write_bytes(b"a log")
    files = FaultyFiles()
    files.clock_us = 1_767_225_600_000_000
    files.die(call, skip, after=after)
    try:
        open_database(config, files)
    except (Death, DatabaseClosed):
        files.heal()
    for _ in range(2):
        with pytest.raises(DatabaseClosed, match="damaged"):
            open_database(config, files)
    (aside,) = file.parent.glob("damaged-*")
    assert (aside / FILE_NAME).read_bytes() == content
    assert (aside / log.name).read_bytes() == b"a log"
    assert not file.exists()
    assert not log.exists()


def test_a_first_start_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path / "data"), query_threads=1)
    file = tmp_path / "data" / "store" / FILE_NAME
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(5000))  # the engine was killed while it wrote its headers
    open_database(config).close()
    assert (file.parent / MADE).exists()


def test_a_newer_engine_s_file_is_left_where_it_is(stored: tuple[Config, Path]) -> None:
    """It is no damage: a newer version reads it."""
    error = duckdb.IOException(f'IO Error: Trying to read a database file "{FILE_NAME}" with version number 99')
    assert not is_damage(error)
    assert not is_damage(duckdb.InvalidInputException("Corrupt database file: says a query"))


def test_damage_met_by_a_load_ends_the_loader(tmp_path: Path) -> None:
    with Store(tmp_path / "data") as store:
        store.send(named("a"))
        store.database.damage = "Corrupt database file: computed checksum 1 does not match"
        with pytest.raises(DatabaseDamaged):
            store.loader.run(threading.Event())
        assert store.segments() == 1, "kept for the backup"
        note_damage(store.file.parent, "a cause")
    with pytest.raises(DatabaseClosed, match="damaged"):
        open_database(store.config)
