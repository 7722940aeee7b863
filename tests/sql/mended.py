"""Queries that were once not answered as the rules of ``novamesh.sql.paths`` say, each as small as it goes."""

from typing import NamedTuple

from tests.sql.reference import Event
from tests.sql.statements import Row


class Mended(NamedTuple):
    """A query and its right answer."""

    name: str
    sql: str
    events: list[Event]
    want: list[Row]
    careful: bool = False


MENDED = [
    Mended("text, careful", "SELECT properties.k::VARCHAR FROM events", [{"k": 1e30}], [("1e+30",)], careful=True),
    Mended("a decimal literal among text", "SELECT properties.k IN (1.0, 'a') FROM events", [{"k": 1}], [(True,)]),
    Mended("= ANY of a list", "SELECT properties.k = ANY ([1, 2]) FROM events", [{"k": 1.0}], [(True,)]),
    Mended("tuples", "SELECT (properties.k, 1) = (1, 1) FROM events", [{"k": 1.0}], [(True,)]),
    Mended(
        "what a list of paths holds",
        "SELECT list_contains(list(properties.k), 1) FROM events",
        [{"k": 1}, {"k": 2}],
        [(True,)],
    ),
    Mended(
        "the most of a list of paths", "SELECT list_max(list(properties.k)) FROM events", [{"k": 0.5}, {"k": 5}], [(5,)]
    ),
    Mended(
        "the sum of a list of paths",
        "SELECT list_sum(list(properties.k)) FROM events",
        [{"k": 0.4}, {"k": 0.4}],
        [(0.8,)],
    ),
    Mended(
        "the order of a UNION",
        "SELECT properties.k FROM events UNION SELECT properties.n FROM events ORDER BY 1",
        [{"k": 5, "n": 100}],
        [("5",), ("100",)],
    ),
    Mended(
        "numbers from a UNION",
        "SELECT count(*) FROM (SELECT properties.k AS k FROM events UNION SELECT properties.n FROM events) q WHERE k > 5",
        [{"k": 5, "n": 100}],
        [(1,)],
    ),
    Mended(
        "the order of a ROLLUP",
        "SELECT properties.k FROM events GROUP BY ROLLUP (properties.k) ORDER BY properties.k",
        [{"k": 5}, {"k": 100}],
        [("5",), ("100",), (None,)],
    ),
    Mended(
        "calculating with a ROLLUP",
        "SELECT max(properties.k), properties.k + 1 FROM events GROUP BY ROLLUP (properties.k) ORDER BY 2",
        [{"k": 5}],
        [(5, 6.0), (5, None)],
    ),
    Mended(
        "nullif of paths, compared",
        "SELECT nullif(properties.k, properties.n) > 1 FROM events",
        [{"k": 2, "n": 1}],
        [(True,)],
    ),
    Mended("mode, compared", "SELECT mode(properties.k) = 1 FROM events", [{"k": "a"}], [(None,)]),
    Mended(
        "JOIN … USING",
        "SELECT count(*) FROM (SELECT properties.k AS k FROM events) a JOIN (SELECT properties.k AS k FROM events) b USING (k)",
        [{"k": 1}, {"k": 1.0}, {"k": "1"}],
        [(9,)],
    ),
    Mended(
        "NATURAL JOIN",
        "SELECT count(*) FROM (SELECT properties.k AS k FROM events) a NATURAL JOIN (SELECT properties.k AS k FROM events) b",
        [{"k": 1}, {"k": "1"}],
        [(4,)],
    ),
    Mended("max(DISTINCT)", "SELECT max(DISTINCT properties.k) FROM events", [{"k": 5}, {"k": 100}], [(100,)]),
    Mended(
        "the highest two", "SELECT max(properties.k, 2) FROM events", [{"k": 5}, {"k": 100}, {"k": 7}], [([100, 7],)]
    ),
    Mended(
        "distinct tuples", "SELECT count(DISTINCT (properties.k, event)) FROM events", [{"k": 1}, {"k": 1.0}], [(1,)]
    ),
    Mended(
        "tuples IN a query",
        "SELECT count(*) FROM events WHERE (properties.k, properties.n) IN (SELECT properties.k, properties.n FROM events)",
        [{"k": 1, "n": 2}],
        [(1,)],
    ),
    Mended(
        "partitions by tuples",
        "SELECT count(*) OVER (PARTITION BY (properties.k, event)) FROM events",
        [{"k": 1}, {"k": 1.0}],
        [(2,), (2,)],
    ),
    Mended("lists", "SELECT [properties.k] = [1] FROM events", [{"k": 1.0}], [(True,)]),
    Mended(
        "a fraction IN a list with a big integer",
        "SELECT properties.k IN (1, 9007199254740993), properties.k NOT IN (1, 9007199254740993) FROM events",
        [{"k": 0.6}],
        [(False, True)],
    ),
    Mended(
        "a fraction BETWEEN, up to a big integer",
        "SELECT properties.k BETWEEN 0 AND 9007199254740993 FROM events",
        [{"k": -0.4}],
        [(False,)],
    ),
    Mended(
        "a fraction in CASE with a big integer",
        "SELECT CASE properties.k WHEN 1 THEN 'one' WHEN 9007199254740993 THEN 'big' ELSE 'none' END FROM events",
        [{"k": 0.6}],
        [("none",)],
    ),
    Mended(
        "a huge number and a big integer",
        "SELECT properties.k > 9007199254740993, properties.k <> 9007199254740993 FROM events",
        [{"k": 1e300}],
        [(True, True)],
    ),
    Mended(
        "equal and less at once",
        "SELECT properties.n < properties.k, properties.k <= properties.n, properties.k = properties.n FROM events",
        [{"k": 1.0, "n": 1}],
        [(False, True, True)],
    ),
    Mended(
        "equal and not BETWEEN",
        "SELECT properties.k BETWEEN properties.n AND properties.s FROM events",
        [{"k": 1, "n": 1.0, "s": 2}],
        [(True,)],
    ),
    Mended(
        "one value, two places in an order",
        "SELECT user_id FROM events ORDER BY properties.k, user_id",
        [{"k": 1.0}, {"k": 1}],
        [("0",), ("1",)],
    ),
    Mended(
        "one value, two ranks",
        "SELECT rank() OVER (ORDER BY properties.k) FROM events",
        [{"k": 1.0}, {"k": 1}],
        [(1,), (1,)],
    ),
    Mended(
        "max of big integers", "SELECT max(properties.k) FROM events", [{"k": 10**16 - 1}, {"k": 10**16}], [(10**16,)]
    ),
    Mended(
        "order of big negative integers",
        "SELECT properties.k FROM events ORDER BY properties.k",
        [{"k": -(2**53)}, {"k": -(2**53) - 1}],
        [(-(2**53) - 1,), (-(2**53),)],
    ),
    Mended(
        "a float that text writes with an exponent",
        "SELECT properties.k = properties.n FROM events",
        [{"k": 1e16, "n": 10**16}],
        [(True,)],
    ),
    Mended("minus zero", "SELECT properties.k = properties.n FROM events", [{"k": -0.0, "n": 0}], [(True,)]),
    Mended("the text nan", "SELECT sum(properties.k) FROM events", [{"k": 5}, {"k": "nan"}], [(5.0,)]),
    Mended("the text Infinity", "SELECT sum(properties.k) FROM events", [{"k": 5}, {"k": "Infinity"}], [(5.0,)]),
    Mended(
        "hexadecimal text", "SELECT properties.k + 0, properties.k::INT FROM events", [{"k": "0x10"}], [(None, None)]
    ),
    Mended(
        "one truth however sent",
        "SELECT properties.k = true, properties.n = true FROM events",
        [{"k": 1, "n": "1"}],
        [(True, True)],
    ),
    Mended(
        "truth, careful",
        "SELECT properties.k = true, properties.n = true FROM events",
        [{"k": 1.0, "n": 0.5}],
        [(True, True)],
        careful=True,
    ),
    Mended(
        "the name of a column of a DISTINCT",
        "SELECT k FROM (SELECT DISTINCT k FROM (SELECT properties.k AS k FROM events) q) r",
        [{"k": 1}, {"k": 1}],
        [(1,)],
    ),
    Mended("arrow in GROUP BY", "SELECT properties -> 'k', count(*) FROM events GROUP BY 1", [{"k": 1}], [(1, 1)]),
    Mended(
        "arrow in GROUP BY, in brackets",
        "SELECT (properties -> 'k') AS g, count(*) FROM events GROUP BY g",
        [{"k": 1}],
        [(1, 1)],
    ),
]
