"""What names its value more than once, of a value that is long: it is written once (``novamesh.sql.paths.once``)."""

from collections.abc import Iterator

import duckdb
import pytest

from novamesh.sql import check
from tests.unit.test_rewrite import connected, plain
from tests.unit.test_rewrite_compound import EVENTS

SENT = [*EVENTS, {"k": "yes", "n": [1, 2, 3]}, {"k": 7, "n": "2026-01-02T03:04:05+02:00"}, {"k": False, "n": 2**60 + 1}]
LONG = "greatest(properties.n, greatest(properties.n, greatest(properties.n, properties.n)))"


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = connected(SENT)
    yield connection
    connection.close()


def found(sql: str, engine: duckdb.DuckDBPyConnection, careful: bool) -> list[object]:
    """The rows of a query, each placeholder of which is 9."""
    checked = check(sql, schema="p1", limit=100, careful=careful)
    given = dict.fromkeys(checked.parameters, 9)
    answer: list[object] = plain(engine.execute(checked.sql, given or None).fetchall())
    return answer


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(
    "form",
    [
        *(
            "{} = 5",
            "{} > 6",
            "{} < properties.k",
            "{} IN ('x', properties.k)",
            "{} = '2026-01-02T01:04:05'::TIMESTAMP",
        ),
        *("{} BETWEEN 1 AND 9", "{} BETWEEN 6 AND 1152921504606846976", "{} BETWEEN properties.k AND $p", "{} > $p"),
        *("{} + 1", "NOT {}", "lower({})", "{} || 'x'", "length({})", "({})[1:2]", "{}::TIMESTAMP", "{}::BIGINT"),
        *("{} > 1152921504606846976", "{} = 1152921504606846977", "greatest(properties.k, {})", "nullif({}, 'x')"),
        *("{{'a': {}}} = {{'a': properties.k}}", "[{}] = [properties.k, 1]", "contains([1, 5], {})", "{} IS NULL"),
        *("CASE {} WHEN 5 THEN 'a' WHEN properties.k THEN 'b' END", "max({}) OVER ()", "coalesce({}, 'none') = 'none'"),
    ],
)
def test_it_means_the_same(form: str, careful: bool, engine: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT {} AS f FROM events ORDER BY user_id"
    long, short = (found(sql.format(form.format(value)), engine, careful) for value in (LONG, "properties.n"))
    assert long == short


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) AS c FROM events GROUP BY {} ORDER BY c",
        "SELECT count(*) FROM (SELECT DISTINCT {} AS d FROM events) q",
        "SELECT properties.k FROM events ORDER BY {}, user_id",
        "SELECT sum({}), max({}), count(DISTINCT {}) FROM events",
        "SELECT user_id FROM events WHERE {} = 5",
    ],
)
def test_so_does_a_query(sql: str, careful: bool, engine: duckdb.DuckDBPyConnection) -> None:
    long, short = (found(sql.replace("{}", value), engine, careful) for value in (LONG, "properties.n"))
    assert long == short


def test_a_short_value_is_written_where_it_is_named() -> None:
    sql = "SELECT greatest(properties.n, properties.k) = properties.s FROM events"
    assert "list_transform" not in check(sql, schema="p1", limit=100).sql
    assert "list_transform(list_value(" in check(f"SELECT {LONG} = 5 FROM events", schema="p1", limit=100).sql
