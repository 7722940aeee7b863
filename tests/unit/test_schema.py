"""What a store says of its events: names, paths, types, shares and examples; from how many events, and for how long."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from novamesh.edge import schema as edge_schema
from novamesh.errors import QueryTimeout
from novamesh.store import sample, schema
from novamesh.store.contract import DATA, END, QueryRequest, SchemaAnswer, SchemaRequest
from novamesh.store.queries import INTERRUPT_GRACE_S
from novamesh.store.sample import Group, Sample
from novamesh.store.schema import Schemas
from tests.support import wait_for
from tests.unit.store_files import Store, named
from tests.unit.test_queries import HEAVY, Server, error, messages, serve, store

__all__ = ["serve", "store"]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Described:
    """A store, and what it says of its events."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.schemas = Schemas(store.database, self.clock)

    def ask(self, space: str = "default") -> SchemaAnswer:
        with self.store.database.cursor() as cursor:
            return self.schemas.of(cursor, space)

    def take(self, *properties: dict[str, Any] | None, space: str = "default") -> None:
        self.store.take([{"event": "e", "properties": value} for value in properties], space)

    def paths(self) -> dict[tuple[str | int, ...], tuple[list[str], int, list[Any]]]:
        return {
            tuple(path.steps): (list(path.types), path.events, [msgspec.json.decode(one) for one in path.examples])
            for path in self.ask().paths
        }


@pytest.fixture
def described(tmp_path: Path) -> Iterator[Described]:
    with Store(tmp_path / "data") as store:
        yield Described(store)


def test_no_events(described: Described) -> None:
    assert described.ask() == SchemaAnswer([], [], 0, False)


def test_names_of_events_the_most_frequent_first(described: Described) -> None:
    described.store.take(named("b", "a", "c", "c"))
    answer = described.ask()
    assert [(one.name, one.count) for one in answer.events] == [("c", 2), ("a", 1), ("b", 1)]
    assert (answer.sampled, answer.truncated) == (4, False)


def test_every_type_is_told(described: Described) -> None:
    values: list[Any] = ["x", 1, 2**63, 1.5, 1.0, True, None, [], {}, {"a": 1}]
    described.take(*({"k": value} for value in values))
    types, events, examples = described.paths()["properties", "k"]
    assert types == ["array", "boolean", "integer", "null", "number", "object", "string"]
    assert events == len(values)
    assert len(examples) == 3
    assert all(example in values for example in examples)


def test_paths_of_objects_and_lists(described: Described) -> None:
    described.take(
        {"cart": {"total": 3, "odd key": "x"}, "items": [{"sku": "a"}, {"sku": 7, "n": None}]},
        {"items": [], "tags": ["t"], "deep": [[1], [2.5]]},
        {"items": [1, {"sku": [True]}]},
        None,
    )
    described.store.take([{"event": "e", "context": {"device": "phone"}}])
    paths = described.paths()
    assert {steps: (types, events) for steps, (types, events, _) in paths.items()} == {
        ("properties", "cart"): (["object"], 1),
        ("properties", "cart", "total"): (["integer"], 1),
        ("properties", "cart", "odd key"): (["string"], 1),
        ("properties", "items"): (["array"], 3),
        ("properties", "items", 1): (["integer", "object"], 2),
        ("properties", "items", 1, "sku"): (["array", "integer", "string"], 2),
        ("properties", "items", 1, "sku", 1): (["boolean"], 1),
        ("properties", "items", 1, "n"): (["null"], 1),
        ("properties", "tags"): (["array"], 1),
        ("properties", "tags", 1): (["string"], 1),
        ("properties", "deep"): (["array"], 1),
        ("properties", "deep", 1): (["array"], 1),
        ("properties", "deep", 1, 1): (["integer", "number"], 1),
        ("context", "device"): (["string"], 1),
    }
    assert paths["properties", "tags"][2] == [["t"]]
    assert paths["properties", "cart"][2] == []
    assert described.ask().sampled == 5


def test_examples_are_few_and_short(described: Described) -> None:
    described.take({"long": "x" * 81, "fits": "x" * 80, "list": ["y" * 40] * 2}, *({"n": n} for n in range(9)))
    paths = described.paths()
    assert paths["properties", "long"][2] == paths["properties", "list"][2] == []
    assert paths["properties", "fits"][2] == ["x" * 80]
    assert len(set(paths["properties", "n"][2])) == 3


def test_events_kept_as_json_count_as_the_others_do(tmp_path: Path) -> None:
    with Store(tmp_path / "data", max_shredded_paths=2) as store:
        described = Described(store)
        described.take({"a": 1}, {"b": 1})
        described.take({"a": 2, **{f"x{n}": n for n in range(5)}}, {"A": 1, "a": "x"})
        paths = described.paths()
        assert store.rows("SELECT count(*) FROM p_default.events_plain") == [(2,)]
        assert (paths["properties", "a"][:2], paths["properties", "A"][:2]) == (
            (["integer", "string"], 3),
            (["integer"], 1),
        )
        assert described.ask().sampled == 4


def test_the_newest_are_sampled(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SAMPLE", 40)
    described.take(*({"old": n} for n in range(50)))
    described.take(*({"new": n} for n in range(40)))
    assert list(described.paths()) == [("properties", "new")]
    assert described.ask().sampled == 40


def test_the_newest_are_sampled_from_both_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SAMPLE", 40)
    with Store(tmp_path / "data", max_shredded_paths=1) as store:
        described = Described(store)
        described.take(*({"kept": n} for n in range(100)))
        described.take(*({f"p{n % 3}": n} for n in range(10)))
        paths = described.paths()
        assert sum(events for steps, (_, events, _) in paths.items() if steps[1] != "kept") == 10
        assert paths["properties", "kept"][1] == 30
        described.take(*({"kept": n} for n in range(40)))
        described.clock.now += schema.FRESH_S
        assert list(described.paths()) == [("properties", "kept")]


def test_removed_events_leave_no_hole(described: Described) -> None:
    described.take(*({"kept": n} for n in range(5)))
    described.store.take([{"event": "e", "user_id": "u", "properties": {"gone": 1}}] * 400)
    described.store.database.erase("default", "u")
    assert described.paths()["properties", "kept"][1] == 5
    assert described.ask().sampled == 5


@pytest.mark.parametrize(
    ("name", "value", "sampled"),
    [("MOST_BYTES", 4_000, 21), ("MOST_SHAPES", 3, 5), ("SAMPLE", 16, 16), ("MOST_S", -1.0, 0)],
)
def test_a_sample_ends_when_it_has_cost_enough(
    described: Described, monkeypatch: pytest.MonkeyPatch, name: str, value: float, sampled: int
) -> None:
    described.take(*({f"k{n % 4}": "x" * 300} for n in range(400)))
    monkeypatch.setattr(schema, name, value)
    assert described.ask().sampled == sampled


def test_slices_of_large_events_are_small(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    add = Sample.add

    def noted(self: Sample, groups: list[Group]) -> None:
        add(self, groups)
        sizes.append(sum(group.bytes for group in groups))

    monkeypatch.setattr(Sample, "add", noted)
    monkeypatch.setattr(schema, "SLICE_BYTES", 6_000)
    described.take(*({"k": "x" * 1_000} for _ in range(100)))
    assert described.ask().sampled == 100
    assert 1_000 < sizes[0] < 2_000
    assert 3_000 < max(sizes) <= 6_000


def test_no_more_paths_than_the_limits(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    described.take({"often": 1, "a": 1}, {"often": 1, "b": 1}, {"k" * (sample.KEY_CHARACTERS + 1): 1})
    assert described.ask().truncated
    assert len(described.paths()) == 3
    described.take({"often": 1})
    monkeypatch.setattr(sample, "MOST_PATHS", 1)
    described.clock.now += schema.FRESH_S
    assert list(described.paths()) == [("properties", "often")]
    monkeypatch.setattr(schema, "MOST_EVENTS", 1)
    described.store.take(named("x"))
    described.clock.now += schema.FRESH_S
    assert (described.ask().events[0].count, described.ask().truncated) == (4, True)


def many_keys(salt: str, size: int) -> dict[str, int]:
    """An object of about so many bytes, nothing but keys."""
    return {f"{salt}{n:06d}": n for n in range(size // 12)}


def test_large_events_are_counted_and_not_looked_into(described: Described) -> None:
    described.take({"small": 1})
    described.take(many_keys("k", schema.DOCUMENT_BYTES + 10_000))
    answer = described.ask()
    assert [path.steps for path in answer.paths] == [["properties", "small"]]
    assert (answer.sampled, answer.truncated) == (2, True)


def test_it_begins_with_one_event_and_a_large_document_costs_nothing(
    described: Described, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupt does not end, the watchdog ends with the process: no statement may have to do much."""
    taken: list[tuple[int, int]] = []
    real = schema._slice

    def noting(cursor: Any, name: str, shredded: schema.Window, plain: schema.Window, values: str) -> list[Group]:
        groups = real(cursor, name, shredded, plain, values)
        rows = shredded.end - shredded.first + plain.end - plain.first
        taken.append((rows, max((len(text or "") for group in groups for text in group.documents), default=0)))
        return groups

    monkeypatch.setattr(schema, "_slice", noting)
    described.take(many_keys("k", 100_000), *({"n": n} for n in range(2_000)))
    assert described.ask().truncated
    assert [rows for rows, _ in taken][:3] == [1, 4, 16]
    assert all(size <= max(schema.SMALL_BYTES, schema.SLICE_BYTES // rows) for rows, size in taken)


def test_large_events_keep_it_busy_no_longer_than_the_watchdog_waits(described: Described) -> None:
    """16 events of 4 MB took one statement 20 s, which no interrupt ended: the watchdog ended the store."""
    store = described.store
    store.database.ensure_space("default")
    keys = "string_agg('\"k' || i || '\":1', ',')"
    store.rows(
        f"""INSERT INTO p_default.events_plain (id, event, properties)
        SELECT uuid(), 'e', document FROM (SELECT '{{' || {keys} || '}}' AS document FROM range(300_000) t(i)), range(16)"""
    )
    with store.database.cursor() as cursor, ThreadPoolExecutor(1) as threads:
        began = time.process_time()  # of work, however busy the machine is
        answer = threads.submit(described.schemas.of, cursor, "default")
        while not answer.done() and time.process_time() - began < INTERRUPT_GRACE_S:
            time.sleep(0.01)
        assert answer.done()
        assert answer.result().truncated


def test_what_comes_when_the_time_is_over_is_counted(described: Described) -> None:
    over = False
    seen = Sample(over=lambda: over)
    group = Group("properties", '{"a":"UBIGINT"}', 1, 7, ['{"a":1}'])
    seen.add([group])
    over = True
    seen.add([group._replace(shape='{"b":"UBIGINT"}')])
    paths, more = seen.paths()
    assert ([path.steps for path in paths], more, seen.events, seen.shapes) == ([["properties", "a"]], True, 2, 2)


def test_paths_without_end_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "REMEMBERED", 10)
    seen = Sample()
    seen.add([Group("properties", msgspec.json.encode({f"id{n}": "UBIGINT" for n in range(50)}).decode(), 1, 500, [])])
    paths, more = seen.paths()
    assert (len(paths), more, seen.full) == (10, True, True)


def test_answers_are_remembered_while_they_hold(described: Described) -> None:
    described.take({"a": 1})
    first = described.ask()
    described.clock.now += 3_600
    assert described.ask() is first  # nothing has changed
    described.take({"b": 1})
    assert described.ask() is not first
    second = described.ask()
    described.take({"c": 1})
    described.clock.now += schema.FRESH_S - 1
    assert described.ask() is second
    described.clock.now += 1
    assert ("properties", "c") in described.paths()


def test_nothing_is_remembered_of_an_event_that_was_removed(described: Described) -> None:
    described.store.take([{"event": "e", "user_id": "u_1", "properties": {"secret": "x"}}, *named("other")])
    assert ("properties", "secret") in described.paths()
    described.store.database.erase("default", "u_1")
    assert described.paths() == {}
    assert [one.name for one in described.ask().events] == ["other"]


def test_spaces_are_told_apart(described: Described) -> None:
    described.take({"live": 1})
    described.take({"test": 1}, space="default.test")
    assert [path.steps for path in described.ask("default").paths] == [["properties", "live"]]
    assert [path.steps for path in described.ask("default.test").paths] == [["properties", "test"]]


def test_only_so_many_answers_are_remembered(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "REMEMBERED", 2)
    first = described.ask("a")
    described.ask("b")
    assert described.ask("a") is first
    described.ask("c")
    assert described.ask("a") is not first


def test_what_is_forgotten_is_chosen_by_one_thread_at_a_time(
    described: Described, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Guarded(dict[str, Any]):
        def __iter__(self) -> Iterator[str]:
            assert described.schemas._lock.locked()
            return super().__iter__()

    monkeypatch.setattr(schema, "REMEMBERED", 1)
    described.schemas._answers = Guarded()
    for space in ("a", "b", "c"):
        described.ask(space)
    assert len(described.schemas._answers) == 1


@pytest.mark.parametrize(("events", "share"), [(1, 0.0001), (7, 0.0001), (99, 0.001), (99_999, 0.9999), (100_000, 1.0)])
def test_a_share_is_0_or_1_only_of_none_or_all(events: int, share: float) -> None:
    assert edge_schema._share(events, 100_000) == share


def test_it_takes_its_turn_among_the_queries(serve: Callable[..., Server]) -> None:
    server = serve(max_concurrent=1)
    with server.connect() as busy, server.connect() as client:
        busy.sendall(msgspec.json.encode(QueryRequest("default", HEAVY, {}, "json", 1)) + b"\n")
        wait_for(server.under_way, what="the query")
        client.sendall(msgspec.json.encode(SchemaRequest("default")) + b"\n")
        wait_for(lambda: server.server._turns.waiting() == 1, what="the request, in the queue")
        busy.close()
        (kind, body), (end, _) = messages(client)
    assert (kind, end) == (DATA, END)
    assert msgspec.json.decode(body, type=SchemaAnswer).sampled == 0


def test_it_has_the_time_of_a_query(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_EVENTS", f"{HEAVY} AND $shredded + $plain + $most IS NOT NULL")  # it is given these
    server = serve(time_limit_s=0.2)
    with server.connect() as client:
        client.sendall(msgspec.json.encode(SchemaRequest("default")) + b"\n")
        assert isinstance(error(messages(client)), QueryTimeout)
