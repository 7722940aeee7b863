"""Paths of which the types are known are cast directly, and give what the form that is right for any type gives."""

import itertools
from collections.abc import Iterator

import pytest

from novamesh.sql.guard import check
from novamesh.sql.types import PathTypes
from tests.unit.store_files import Store

EVENTS = [
    {
        "event": name,
        "user_id": f"u{n % 4}",
        "properties": {
            "n": n,
            "below": n - 3,
            "price": n / 4,
            "page": f"/{n % 3}",
            "code": str(n % 4 * 5),
            "ok": n % 2 == 0,
            **({"rare": 2**53 + n} if n > 4 else {"rare": None}),
            "where": {"country": "FR" if n % 2 else "DE"},
        },
    }
    for n, name in enumerate(["view", "click", "view", "buy", "view", "buy", "click", "view"])
]

QUERIES = [
    "SELECT sum(properties.n), avg(properties.n), max(properties.n), min(properties.below) FROM events",
    "SELECT max(properties.price), median(properties.price), quantile_cont(properties.n, 0.75) FROM events",
    "SELECT max(properties.page), min(properties.code), max(properties.code), max(properties.ok) FROM events",
    "SELECT max(properties.n) - min(properties.n) FROM events",
    "SELECT max(properties.n) OVER (ORDER BY event, properties.n) FROM events ORDER BY event, properties.n",
    "SELECT max(properties.n) FILTER (properties.ok), count(properties.rare), count(properties.gone) FROM events",
    "SELECT properties.page, count() FROM events GROUP BY 1 ORDER BY 1",
    "SELECT properties.n % 2, count() FROM events GROUP BY 1 ORDER BY 1",
    "SELECT properties.ok, properties.where.country, sum(properties.price) FROM events GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT properties.rare, count() FROM events GROUP BY properties.rare ORDER BY properties.rare DESC",
    "SELECT properties.code, count() FROM events GROUP BY ROLLUP (properties.code) ORDER BY 1",
    "SELECT properties.page, grouping(properties.page) FROM events GROUP BY CUBE (properties.page) ORDER BY 1",
    "SELECT lower(properties.page) FROM events GROUP BY properties.page HAVING properties.page > '/' ORDER BY 1",
    "SELECT DISTINCT properties.page FROM events ORDER BY 1",
    "SELECT DISTINCT properties.page FROM events ORDER BY properties.page DESC",
    "SELECT DISTINCT event, properties.ok AS ok FROM events ORDER BY ok, event",
    "SELECT DISTINCT max(properties.n), properties.ok FROM events GROUP BY properties.ok ORDER BY 1",
    "SELECT count(DISTINCT properties.code), count(DISTINCT (properties.ok, properties.page)) FROM events",
    "SELECT user_id FROM events ORDER BY properties.code DESC, properties.n LIMIT 5",
    "SELECT properties.n FROM events WHERE properties.n >= 3 AND properties.n <> 5 ORDER BY 1",
    "SELECT properties.n FROM events WHERE properties.n IN (1, 2.5, 3) OR properties.below > -1 ORDER BY 1",
    "SELECT properties.n FROM events WHERE properties.rare = 9007199254740997 OR properties.rare > 9007199254740998",
    "SELECT properties.n FROM events WHERE properties.n BETWEEN 2 AND 4 ORDER BY 1",
    "SELECT properties.n FROM events WHERE properties.n = '2' OR properties.code = 15 ORDER BY 1",
    "SELECT properties.n FROM events WHERE properties.ok AND properties.rare IS NOT NULL ORDER BY 1",
    "SELECT properties.n FROM events WHERE properties.n = properties.code OR properties.n > properties.price * 5 ORDER BY 1",
    "SELECT count(*) FROM events a JOIN events b ON a.properties.page = b.properties.page AND a.properties.n < b.properties.n",
    "SELECT count(*) FROM events WHERE properties.code IN (SELECT properties.n FROM events)",
    "SELECT properties.code FROM events UNION SELECT properties.n FROM events ORDER BY 1",
    "SELECT coalesce(properties.rare, properties.n), nullif(properties.n, 3), greatest(properties.n, properties.price)"
    " FROM events ORDER BY properties.n",
    "SELECT lag(properties.n) OVER w + 1, row_number() OVER (PARTITION BY properties.ok ORDER BY properties.n)"
    " FROM events WINDOW w AS (ORDER BY properties.n) ORDER BY properties.n",
    "WITH t AS (SELECT properties.page AS p, properties.n AS n FROM events) SELECT p, sum(n) FROM t GROUP BY p ORDER BY p",
    "SELECT properties.page.x, properties.n[1], len(properties.page), properties.n::VARCHAR FROM events ORDER BY properties.n",
    "SELECT properties.n::INT, properties.price::INT, properties.n::DECIMAL(9, 2), properties.ok::INT FROM events"
    " ORDER BY properties.n",
    "SELECT [properties.n, properties.below], {'a': properties.page}.a, properties.n IN [1, 2] FROM events ORDER BY properties.n",
    "SELECT least(properties.page, properties.code), greatest(properties.page, properties.code, properties.n) FROM events"
    " ORDER BY properties.n",
    "SELECT DISTINCT properties.page AS event, event AS e FROM events ORDER BY e, event",
    "SELECT properties['page'], count() FROM events GROUP BY properties.page ORDER BY properties -> 'page'",
    "SELECT Properties.page, sum((properties.n)) FROM events GROUP BY (properties['page']) HAVING properties.page > '' ORDER BY 1",
    "SELECT DISTINCT (SELECT max(properties.n) FROM events) AS m, properties.ok FROM events ORDER BY 2",
    "SELECT properties.n FROM events ORDER BY (SELECT max(properties.n) FROM events), properties.n",
    "SELECT count(*) FROM events WHERE properties.n < 340282366920938463463374607431768211456 OR properties.page = 'x'",
    "SELECT count(*) FILTER (properties.code < 99999999999999999999999999999999999999999999) FROM events",
    "SELECT count(*) FROM events WHERE properties.n BETWEEN 1 AND 9007199254740993 OR properties.rare BETWEEN 1 AND 9007199254740993",
    "SELECT count(*) FROM events WHERE list_contains(['/1', 'x'], properties.page) OR list_position(['a'], properties.page) = 1",
    "SELECT count(*) FROM events WHERE COLUMNS('user_id') = 'u1'",
    "SELECT properties->>'page', properties->'where'->>'country', upper(properties->>'page') FROM events ORDER BY properties.n",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("types") / "data") as store:
        store.take(EVENTS)
        yield store


@pytest.mark.parametrize("sql", QUERIES)
@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
def test_the_same_answer(store: Store, sql: str, careful: bool) -> None:
    known, shredded_only = store.database.path_types("default")
    assert shredded_only
    general = check(sql, schema="p_default", limit=100, careful=careful)
    forms = [
        check(sql, schema="p_default", limit=100, careful=careful, types=PathTypes(types, shredded_only=only))
        for types, only in itertools.product((known, {}), (False, True))
    ]
    assert forms[1].sql != general.sql
    wanted = store.rows(general.sql)
    assert wanted
    for form in forms:
        assert store.rows(form.sql) == wanted


def test_only_what_is_known_is_relied_on(store: Store) -> None:
    types = PathTypes(store.database.path_types("default")[0])
    checked = check(
        "SELECT properties.n, context.x, properties.l[1] FROM events", schema="p_default", limit=1, types=types
    )
    assert checked.relied == {"properties.n": "UBIGINT", "context.x": "", "properties.l": ""}
    assert check("SELECT event FROM events", schema="p_default", limit=1, types=types).relied == {}


def test_columns_with_other_names_have_no_types(store: Store) -> None:
    """``events AS e(…)`` may give the name ``properties`` to another column."""
    sql = "SELECT max(context.n) FROM events AS e(a, b, c, d, context, properties)"
    types = PathTypes({"context.n": "VARCHAR"})
    assert store.rows(check(sql, schema="p_default", limit=1, types=types).sql) == [(7,)]


def test_the_least_and_the_greatest_go_by_number_then_text(store: Store) -> None:
    sql = "SELECT least(properties.page, properties.code), greatest(properties.page, properties.n) FROM events WHERE properties.n = 3"
    for types in (PathTypes({}), PathTypes(store.database.path_types("default")[0])):
        assert store.rows(check(sql, schema="p_default", limit=9, types=types).sql) == [("15", "/0")]


def test_an_alias_hides_no_column_of_a_distinct(store: Store) -> None:
    sql = "SELECT DISTINCT properties.page AS event, event AS e FROM events ORDER BY e, event"
    assert len(store.rows(check(sql, schema="p_default", limit=99).sql)) == 7
