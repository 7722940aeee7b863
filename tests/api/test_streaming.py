"""Results leave while they are computed, and whatever their size they take little memory on their way."""

from collections.abc import Iterator

import httpx
import pytest

from tests.hostile import cpu_ticks, store_pid
from tests.memory import peak, reset_peak, resident
from tests.support import RunningNode, running_node, wait_for

MIB = 1024 * 1024
FORMATS = ["json", "ndjson", "csv", "arrow", "parquet"]
ROWS, COLUMNS = 50_000, 20
# What an answer may take of any process, whatever its size: measured are 25 MiB, and 80 for rows of 4 kB.
NARROW = (", ".join(f"i + {n} AS n{n}, 'value ' || (i * {n}) AS t{n}" for n in range(COLUMNS // 2)), 50 * MIB)
WIDE = (", ".join(f"repeat('x', 200) || i AS t{n}" for n in range(COLUMNS)), 130 * MIB)
# The last row cannot be computed, and those before it are more than DuckDB works ahead.
LATE = (
    "SELECT CASE WHEN i < 40000 THEN repeat('x', 2000) || i ELSE ('x' || i)::INT::VARCHAR END AS v"
    " FROM range(40001) t(i)"
)
ENDLESS = "SELECT i, repeat('x', 1000) AS x FROM range(1000000000000) t(i)"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that has loaded all it needs for every format."""
    with running_node(tmp_path_factory.mktemp("streaming") / "data", workers=1, query_time_limit_ms=60_000) as node:
        node.count()  # once the store is there
        for kind in FORMATS:
            assert size(node, "SELECT i, 'x' || i FROM range(50000) t(i)", kind) > 0
        yield node


@pytest.fixture(scope="module", autouse=True)
def idle(node: RunningNode) -> dict[int, int]:
    """RSS of store and edge before any large answer."""
    return {pid: resident(pid) for pid in (store_pid(node), *node.children()["edge"])}


def size(node: RunningNode, sql: str, kind: str) -> int:
    """The bytes of an answer, none of which are kept."""
    with node.client() as client, client.stream("GET", "/v1/query", params=query(sql, kind)) as answer:
        assert answer.status_code == 200
        return sum(map(len, answer.iter_raw()))


def query(sql: str, kind: str) -> dict[str, str | int]:
    return {"q": sql, "format": kind, "limit": ROWS}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("columns", "most"), [NARROW, WIDE], ids=["narrow", "wide"])
def test_memory_stays_flat(node: RunningNode, idle: dict[int, int], kind: str, columns: str, most: int) -> None:
    before = {pid: resident(pid) for pid in idle}
    for pid in idle:
        reset_peak(pid)
    # Parquet shrinks it, but had it to hold.
    assert size(node, f"SELECT {columns} FROM range({ROWS}) t(i)", kind) > MIB
    assert {pid: peak(pid) // MIB for pid in idle if peak(pid) > before[pid] + most} == {}


@pytest.mark.parametrize("kind", FORMATS)
def test_the_first_rows_leave_before_the_last_is_computed(node: RunningNode, kind: str) -> None:
    """Had it been computed first, the answer would be a 400."""
    data = b""
    with node.client() as client, client.stream("GET", "/v1/query", params=query(LATE, kind)) as answer:
        assert answer.status_code == 200
        try:
            for part in answer.iter_raw():
                data = (data + part)[-1000:]
        except httpx.RemoteProtocolError:
            assert kind not in {"json", "ndjson"}
        else:
            assert kind in {"json", "ndjson"}
            assert b'"error": "invalid_query"' in data or b'"error":"invalid_query"' in data


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_the_first_rows_of_an_export_that_never_ends(node: RunningNode, kind: str) -> None:
    parameters = {"q": ENDLESS, "format": kind}
    with node.client() as client, client.stream("GET", "/v1/export", params=parameters) as answer:
        assert answer.status_code == 200
        assert sum(len(part) for _, part in zip(range(100), answer.iter_raw(), strict=False)) > 0


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_a_client_that_does_not_read_stops_its_export(node: RunningNode, idle: dict[int, int], kind: str) -> None:
    store = store_pid(node)
    computed: list[int] = []

    def stopped() -> bool:
        assert all(resident(pid) < before + 150 * MIB for pid, before in idle.items())
        computed.append(cpu_ticks(store))
        return len(computed) > 25 and computed[-1] - computed[-25] <= 1

    with node.client() as client, client.stream("GET", "/v1/export", params={"q": ENDLESS, "format": kind}) as answer:
        parts = answer.iter_raw()
        next(parts)
        wait_for(stopped, what="the end of the computing")
        # And it goes on when the client does: far more than all that waited on the way.
        read = 0
        while read < 100 * MIB:
            read += len(next(parts))
