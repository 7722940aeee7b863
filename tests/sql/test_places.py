"""Every place of a function or operator takes a path without a cast, whatever types its values have had."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support import RunningNode, running_node

VALUES: Final[dict[str, Any]] = {
    "n": 3,
    "d": 2.5,
    "s": "a,b,c",
    "at": "2026-01-02T03:04:05+01:00",
    "on": "2026-01-02",
    "zone": "UTC",
    "tags": ["a", "b"],
    "counts": [1, 2],
    "lists": [[1], ["x"]],
}
OTHERS: Final[dict[str, Any]] = {
    "n": "x",
    "d": [1],
    "s": 5,
    "at": 7,
    "on": True,
    "zone": 1,
    "tags": "a",
    "counts": {"a": 1},
    "lists": 1,
}

CASES: Final[list[tuple[str, Any]]] = [
    ("bit_or({n})", 3),
    ("bit_and({n})", 3),
    ("bit_xor(DISTINCT {n})", 3),
    ("bit_count({n})", 2),
    ("sum_no_overflow({n})", 3),
    ("gcd({n}, 6)", 3),
    ("lcm(4, {n})", 12),
    ("format_bytes({n})", "3 bytes"),
    ("format_bytes({n}) = '3 bytes'", True),
    ("bin({n})", "11"),
    ("to_base({n}, 2)", "11"),
    ("chr({n} + 62)", "A"),
    ("factorial({n})", 6),
    ("round(2.5678::DOUBLE, {n})", 2.568),
    ("trunc({d}, 0)", 2.0),
    ("left({s}, {n})", "a,b"),
    ("right('abcdef', {n})", "def"),
    ("left('abcdef', {n} - 1)", "ab"),
    ("split_part('a,b,c', ',', {n})", "c"),
    ("substr('abcdef', {n})", "cdef"),
    ("substring('abcdef', {n}, {n})", "cde"),
    ("substring('abcdef' FROM {n} FOR 1)", "c"),
    ("overlay('abcdef' PLACING 'X' FROM {n})", "abXdef"),
    ("repeat('ab', least({n}, 10))", "ababab"),
    ("lpad('x', least({n}, 10), '.')", "..x"),
    ("rpad('x', least({n}, 2), '.')", "x."),
    ("printf('%d of %s: %.2f%%', {n}, {s}, {d})", "3 of a,b,c: 2.50%"),
    ("format('{{:.1f}} {{}} {{:d}}', {d}, {s}, {n})", "2.5 a,b,c 3"),
    ("format('{{1}} {{0:03d}}', {n}, {s})", "a,b,c 003"),
    ("isfinite({d})", True),
    ("isnan({d}) = false", True),
    ("make_date({n}, {n}, {n})", "0003-03-03"),
    ("make_time({n}, {n}, {d})::VARCHAR", "03:03:02.5"),
    ("(to_seconds({d}) = INTERVAL '2.5 seconds')", True),
    ("epoch({at})", 1767319445.0),
    ("epoch_us({at})", 1767319445000000),
    ("epoch_ns({at})", 1767319445000000000),
    ("epoch_ms({at}::TIMESTAMP)", 1767319445000),
    ("epoch_ms({n}::BIGINT)", "1970-01-01T00:00:00.003Z"),
    ("date_trunc('hour', {at})", "2026-01-02T02:00:00Z"),
    ("date_part('year', {at})", 2026),
    ("extract(hour FROM {at})", 2),
    ("strftime({at}, '%H:%M')", "02:04"),
    ("strftime('%H:%M', {at})", "02:04"),
    ("date_diff('day', {on}, {at})", 0),
    ("age(TIMESTAMP '2026-01-03', {on})::VARCHAR", "1 day"),
    ("last_day({at})", "2026-01-31"),
    ("date_add({on}, INTERVAL 1 DAY)", "2026-01-03T00:00:00Z"),
    ("timezone({zone}, TIMESTAMP '2026-01-02 00:00:00')", "2026-01-02T00:00:00Z"),
    ("len(range({on}, TIMESTAMP '2026-01-04', INTERVAL 1 DAY))", 2),
    ("flatten(list({tags}))", ["a", "b"]),
    ("flatten({lists})", [1, "x"]),
    ("list_concat({tags}, ['a'])", ["a", "b", "a"]),
    ("list_concat([1], {tags})", [1, "a", "b"]),
    ("{tags} || ['c']", ["a", "b", "c"]),
    ("[0] || {counts}", [0, 1, 2]),
    ("list_sum([0] || {counts})", 3.0),
    ("list_zip({tags}, [1, 2])", [["a", 1], ["b", 2]]),
    ("list_sum(list(DISTINCT {n}))", 3.0),
    ("list_bit_or({counts})", 3),
    ("list_select(['x', 'y'], {counts})", ["x", "y"]),
    ("list_distance([1.0, 0.0], {counts})", 2.0),
    ("contains({counts}, 2)", True),
    ("contains([1, 2, 3], {n})", True),
    ("contains({s}, 'b,')", True),
    ("struct_extract(properties, 'n') + 1", 4.0),
    ("{n} IN (VALUES (2), (3))", True),
    ("{n} NOT IN (VALUES (2), (3))", False),
    ("({n}, {s}) IN (VALUES (3, 'a,b,c'))", True),
    ("{n} IN (SELECT {n} FROM events)", True),
    ("count(*) FILTER ({n} IN (SELECT 3))", 1),
    ("max({n}) IN (SELECT {n} FROM events)", True),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node whose paths at the top have had values of one type, and those below ``mixed`` of several."""
    with running_node(tmp_path_factory.mktemp("places") / "data", workers=1) as node:
        sent = [
            {"event": "one", "properties": {**VALUES, "mixed": VALUES}},
            {"event": "other", "properties": {"mixed": OTHERS}},
            {"event": "again", "properties": {"mixed": {"n": 3.0}}},
        ]
        node.send(sent)
        node.wait_for_count(len(sent))
        node.settle()
        yield node


def spelled(expression: str, base: str) -> str:
    return expression.format(**{name: f"{base}.{name}" for name in VALUES})


@pytest.mark.parametrize(("expression", "want"), CASES, ids=[expression for expression, _ in CASES])
def test_a_path_is_what_its_place_takes(node: RunningNode, expression: str, want: Any) -> None:
    for base in ("properties", "properties.mixed"):
        found = node.rows(f"SELECT {spelled(expression, base)} FROM events WHERE event = 'one'")
        assert found == [[want]], base


GROUPED: Final[list[tuple[str, list[list[Any]]]]] = [
    ("SELECT {n}, count(*) FROM events WHERE event = 'one' GROUP BY ROLLUP ({n}, {key}) ORDER BY 1", [[3, 1]] * 2),
    ("SELECT {key}, count(*) FROM events WHERE event = 'one' GROUP BY CUBE ({n}) ORDER BY 1", [[3, 1]]),
    (
        "SELECT {key}, grouping({n}) FROM events WHERE event = 'one' GROUP BY GROUPING SETS (({key})) ORDER BY 1",
        [[3, 0]],
    ),
]


@pytest.mark.parametrize(("sql", "want"), GROUPED, ids=[sql for sql, _ in GROUPED])
def test_two_spellings_of_a_path_are_one_key(node: RunningNode, sql: str, want: list[list[Any]]) -> None:
    for base in ("properties", "properties.mixed"):
        rows = node.rows(spelled(sql.replace("{key}", base + "['n']"), base))
        keys = [row for row in rows if row[0] is not None]
        assert [[int(row[0]), row[1]] for row in keys] == want


def test_maps_of_equal_values_are_one_group(node: RunningNode) -> None:
    for made in ("MAP {'n': properties.mixed.n}", "map(['n'], [properties.mixed.n])"):
        sql = f"SELECT {made} AS m, count(*) FROM events WHERE event IN ('one', 'again') GROUP BY m"
        assert node.rows(sql) == [[{"n": "3"}, 2]]


def test_values_may_be_of_several_types(node: RunningNode) -> None:
    for cells in ("(properties.n), (properties.s)", "(properties.s), (properties.mixed.n)", "(properties.n), ('x')"):
        sql = f"SELECT properties.mixed.n IN (VALUES {cells}) FROM events WHERE event = 'one'"
        assert node.rows(sql) == [[True]]


def test_placeholders_need_no_blanks_between(node: RunningNode) -> None:
    for listed, params in (("$a,$b", {"a": 3, "b": "x"}), ("$1,$2", [2, 3.0]), ("?,?", ["3", None])):
        sql = f"SELECT count(*), '$a,$b' FROM events WHERE event = 'one' AND properties.n IN ({listed})"
        answer = node.post("/v1/query", {"q": sql, "params": params})
        assert answer.json()["rows"] == [[1, "$a,$b"]], answer.text


REFUSED: Final = [
    ("SELECT epoch_ms(properties.at) FROM events", "write epoch_ms(path::TIMESTAMP) for the milliseconds of a time"),
    ("SELECT repeat('ab', properties.n) FROM events", "as in least(n, 100)"),
    ("SELECT repeat(repeat('ab', least(properties.n, 9000)), 5) FROM events", "Strings may grow at most"),
    (
        "SELECT properties.n, properties['odd key'].x FROM events GROUP BY 1",
        "column properties['odd key'].x must appear",
    ),
    ("SELECT e.context.a, count(*) FROM events e", "column context.a must appear in the GROUP BY clause"),
]


@pytest.mark.parametrize(("sql", "words"), REFUSED, ids=[sql for sql, _ in REFUSED])
def test_a_refusal_says_what_to_write(node: RunningNode, sql: str, words: str) -> None:
    answer = node.query(sql)
    assert answer.status_code in (400, 403)
    message = answer.json()["message"]
    assert words in message
    assert "__nm" not in message


def test_a_query_within_the_limits_may_become_longer_than_they_are(node: RunningNode) -> None:
    pairs = ", ".join(f"greatest(properties.k{n}, properties.mixed.n)" for n in range(30))
    assert node.rows(f"SELECT {pairs} FROM events WHERE event = 'one'") == [[3] * 30]
