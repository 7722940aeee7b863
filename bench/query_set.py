"""The queries of group g: as a user writes them, as one who knows the tables writes them, and for ClickHouse.

Hand-tuned means: straight from the one table that holds the rows, each path cast once in an inner query, so that DuckDB
reads the path's own column and nothing else.
"""

from typing import NamedTuple

from bench.datasets import FOLLOW, LIKE, POST, REPOST
from novamesh.store.contract import schema_for

_SOCIAL = f'"{schema_for("social")}".events_shredded'
_WEB = f'"{schema_for("web")}".events_shredded'
_EVENT = "properties.commit.collection::VARCHAR"
_DID = "properties.did::VARCHAR"
_AT = "make_timestamp(properties.time_us::BIGINT)"
_CREATED = "properties.kind = 'commit' AND properties.commit.operation = 'create'"
_BARE_CREATED = "properties.kind::VARCHAR = 'commit' AND properties.commit.operation::VARCHAR = 'create'"
_CH_CREATED = "data.kind = 'commit' AND data.commit.operation = 'create'"
_CH_AT = "fromUnixTimestamp64Micro(data.time_us)"
_THREE = f"('{POST}', '{REPOST}', '{LIKE}')"


class Query(NamedTuple):
    """One question, asked in two or three ways."""

    space: str
    name: str
    api: str
    bare: str
    clickhouse: str = ""


# JSONBench's five, which call the first column ``event``: that is a column of our table, so here it has another name.
SOCIAL = (
    Query(
        "social",
        "q1 by collection",
        "SELECT properties.commit.collection AS collection, count() AS count FROM events"
        " GROUP BY collection ORDER BY count DESC",
        f"SELECT e, count(*) n FROM (SELECT {_EVENT} e FROM {_SOCIAL}) GROUP BY 1 ORDER BY 2 DESC",
        "SELECT data.commit.collection AS event, count() AS count FROM social GROUP BY event ORDER BY count DESC",
    ),
    Query(
        "social",
        "q2 by collection, distinct users",
        "SELECT properties.commit.collection AS collection, count() AS count, count(DISTINCT properties.did) AS users"
        f" FROM events WHERE {_CREATED} GROUP BY collection ORDER BY count DESC",
        f"SELECT e, count(*) n, count(DISTINCT d) FROM (SELECT {_EVENT} e, {_DID} d FROM {_SOCIAL}"
        f" WHERE {_BARE_CREATED}) GROUP BY 1 ORDER BY 2 DESC",
        "SELECT data.commit.collection AS event, count() AS count, uniqExact(data.did) AS users FROM social"
        f" WHERE {_CH_CREATED} GROUP BY event ORDER BY count DESC",
    ),
    Query(
        "social",
        "q3 by collection and hour",
        "SELECT properties.commit.collection AS collection, hour(make_timestamp(properties.time_us)) AS hour_of_day,"
        f" count() AS count FROM events WHERE {_CREATED} AND properties.commit.collection IN {_THREE}"
        " GROUP BY collection, hour_of_day ORDER BY hour_of_day, collection",
        f"SELECT e, hour(t) h, count(*) FROM (SELECT {_EVENT} e, {_AT} t FROM {_SOCIAL}"
        f" WHERE {_BARE_CREATED} AND {_EVENT} IN {_THREE}) GROUP BY 1, 2 ORDER BY 2, 1",
        f"SELECT data.commit.collection AS event, toHour({_CH_AT}) AS hour_of_day, count() AS count FROM social"
        f" WHERE {_CH_CREATED} AND data.commit.collection IN {_THREE}"
        " GROUP BY event, hour_of_day ORDER BY hour_of_day, event",
    ),
    Query(
        "social",
        "q4 three first posters",
        "SELECT properties.did AS user_id, min(make_timestamp(properties.time_us)) AS first_post FROM events"
        f" WHERE {_CREATED} AND properties.commit.collection = '{POST}'"
        " GROUP BY properties.did ORDER BY first_post LIMIT 3",
        f"SELECT d, min(t) m FROM (SELECT {_DID} d, {_AT} t FROM {_SOCIAL}"
        f" WHERE {_BARE_CREATED} AND {_EVENT} = '{POST}') GROUP BY 1 ORDER BY 2 LIMIT 3",
        f"SELECT data.did AS user_id, min({_CH_AT}) AS first_post FROM social"
        f" WHERE {_CH_CREATED} AND data.commit.collection = '{POST}' GROUP BY user_id ORDER BY first_post LIMIT 3",
    ),
    Query(
        "social",
        "q5 three longest spans",
        "SELECT properties.did AS user_id, date_diff('millisecond', min(make_timestamp(properties.time_us)),"
        f" max(make_timestamp(properties.time_us))) AS span FROM events WHERE {_CREATED}"
        f" AND properties.commit.collection = '{POST}' GROUP BY properties.did ORDER BY span DESC LIMIT 3",
        f"SELECT d, date_diff('millisecond', min(t), max(t)) s FROM (SELECT {_DID} d, {_AT} t FROM {_SOCIAL}"
        f" WHERE {_BARE_CREATED} AND {_EVENT} = '{POST}') GROUP BY 1 ORDER BY 2 DESC LIMIT 3",
        f"SELECT data.did AS user_id, date_diff('milliseconds', min({_CH_AT}), max({_CH_AT})) AS span FROM social"
        f" WHERE {_CH_CREATED} AND data.commit.collection = '{POST}' GROUP BY user_id ORDER BY span DESC LIMIT 3",
    ),
    Query(
        "social",
        "most followed",
        "SELECT properties.commit.record.subject AS author, count() AS followers FROM events"
        f" WHERE properties.commit.collection = '{FOLLOW}' AND properties.commit.operation = 'create'"
        " GROUP BY author ORDER BY followers DESC, author LIMIT 10",
        "SELECT s, count(*) n FROM (SELECT properties.commit.record.subject::VARCHAR s"
        f" FROM {_SOCIAL} WHERE {_EVENT} = '{FOLLOW}' AND properties.commit.operation::VARCHAR = 'create')"
        " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10",
    ),
)


def web(last_hour: str) -> tuple[Query, ...]:
    """Queries on web events; ``last_hour`` is when their last hour begins."""
    recent = f"timestamp >= TIMESTAMP '{last_hour}'"
    return tuple(
        Query("web", name, api, bare.format(t=_WEB))
        for name, api, bare in (
            ("count", "SELECT count(*) FROM events", "SELECT count(*) FROM {t}"),
            (
                "by event",
                "SELECT event, count() AS n FROM events GROUP BY event ORDER BY n DESC",
                "SELECT event, count(*) n FROM {t} GROUP BY 1 ORDER BY 2 DESC",
            ),
            (
                "top pages",
                "SELECT properties.page AS page, count() AS views FROM events WHERE event = 'page_view'"
                " GROUP BY page ORDER BY views DESC LIMIT 10",
                "SELECT p, count(*) n FROM (SELECT properties.page::VARCHAR p FROM {t} WHERE event = 'page_view')"
                " GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
            ),
            (
                "property = text",
                "SELECT count() FROM events WHERE properties.browser = 'Firefox'",
                "SELECT count(*) FROM {t} WHERE properties.browser::VARCHAR = 'Firefox'",
            ),
            (
                "property IN texts",
                "SELECT count() FROM events WHERE properties.country IN ('FR', 'DE', 'ES')",
                "SELECT count(*) FROM {t} WHERE properties.country::VARCHAR IN ('FR', 'DE', 'ES')",
            ),
            (
                "property >= number",
                "SELECT count() FROM events WHERE properties.screen_width >= 1280",
                "SELECT count(*) FROM {t} WHERE properties.screen_width::INTEGER >= 1280",
            ),
            (
                "sum of a rare property",
                "SELECT sum(properties.price) AS revenue, count() AS purchases FROM events WHERE event = 'purchase'",
                "SELECT sum(p), count(*) FROM (SELECT properties.price::DOUBLE p FROM {t} WHERE event = 'purchase')",
            ),
            (
                "avg and quantile",
                "SELECT avg(properties.screen_width) AS mean, quantile_cont(properties.screen_width, 0.9) AS p90"
                " FROM events",
                "SELECT avg(w), quantile_cont(w, 0.9) FROM (SELECT properties.screen_width::INTEGER w FROM {t})",
            ),
            (
                "by two properties",
                "SELECT properties.country AS country, properties.browser AS browser, count() AS n FROM events"
                " GROUP BY country, browser ORDER BY n DESC",
                "SELECT c, b, count(*) n FROM (SELECT properties.country::VARCHAR c, properties.browser::VARCHAR b"
                " FROM {t}) GROUP BY 1, 2 ORDER BY 3 DESC",
            ),
            (
                "revenue by country",
                "SELECT properties.country AS country, sum(properties.price) AS revenue FROM events"
                " WHERE event = 'purchase' GROUP BY country ORDER BY revenue DESC",
                "SELECT c, sum(p) s FROM (SELECT properties.country::VARCHAR c, properties.price::DOUBLE p"
                " FROM {t} WHERE event = 'purchase') GROUP BY 1 ORDER BY 2 DESC",
            ),
            (
                "daily uniques",
                "SELECT date_trunc('day', timestamp) AS day, count(DISTINCT user_id) AS users FROM events"
                " GROUP BY day ORDER BY day",
                "SELECT date_trunc('day', timestamp) d, count(DISTINCT user_id) FROM {t} GROUP BY 1 ORDER BY 1",
            ),
            (
                "users by country",
                "SELECT properties.country AS country, count(DISTINCT user_id) AS users FROM events"
                " GROUP BY country ORDER BY users DESC",
                "SELECT c, count(DISTINCT user_id) n FROM (SELECT properties.country::VARCHAR c, user_id FROM {t})"
                " GROUP BY 1 ORDER BY 2 DESC",
            ),
            (
                "last hour by page",
                f"SELECT properties.page AS page, count() AS views FROM events WHERE {recent}"
                " GROUP BY page ORDER BY views DESC",
                f"SELECT p, count(*) n FROM (SELECT properties.page::VARCHAR p FROM {{t}} WHERE {recent})"
                " GROUP BY 1 ORDER BY 2 DESC",
            ),
            (
                "largest purchases",
                "SELECT user_id, properties.price AS price FROM events WHERE event = 'purchase'"
                " ORDER BY properties.price DESC, timestamp LIMIT 10",
                "SELECT user_id, p FROM (SELECT user_id, timestamp, properties.price::DOUBLE p FROM {t}"
                " WHERE event = 'purchase') ORDER BY p DESC, timestamp LIMIT 10",
            ),
            (
                "distinct",
                "SELECT DISTINCT properties.country FROM events",
                "SELECT DISTINCT properties.country::VARCHAR FROM {t}",
            ),
            (
                "1,000 rows",
                "SELECT event, user_id, timestamp, properties FROM events LIMIT 1000",
                "SELECT event, user_id, timestamp, to_json(properties)::VARCHAR FROM {t} LIMIT 1000",
            ),
            (
                "self-join",
                "SELECT count() AS n, count(DISTINCT s.user_id) AS users FROM events s JOIN events p"
                " ON s.user_id = p.user_id AND s.properties.page = p.properties.page"
                " WHERE s.event = 'signup' AND p.event = 'purchase' AND p.timestamp > s.timestamp",
                "SELECT count(*), count(DISTINCT s.u)"
                " FROM (SELECT user_id u, timestamp t, properties.page::VARCHAR g FROM {t} WHERE event = 'signup') s"
                " JOIN (SELECT user_id u, timestamp t, properties.page::VARCHAR g FROM {t} WHERE event = 'purchase') p"
                " ON s.u = p.u AND s.g = p.g WHERE p.t > s.t",
            ),
        )
    )
