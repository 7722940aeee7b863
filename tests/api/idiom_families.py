"""Idioms that come in families, beside those of ``idiom_cases.py``: units, types, aliases."""

_UNITS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond")
_WHOLE = {
    "Int8": "TINYINT",
    "Int16": "SMALLINT",
    "Int32": "INT",
    "Int64": "BIGINT",
    "UInt8": "UTINYINT",
    "UInt16": "USMALLINT",
    "UInt32": "UINTEGER",
    "UInt64": "UBIGINT",
}


def _units() -> list[tuple[str, str]]:
    found = []
    for unit in _UNITS:
        step = f"INTERVAL 2 {unit}"
        found += [
            (f"timestamp + toInterval{unit.title()}(2)", f"timestamp + {step}"),
            (f"add{unit.title()}s(timestamp, 2)", f"timestamp + {step}"),
            (f"subtract{unit.title()}s(timestamp, 2)", f"timestamp - {step}"),
            (f"timestampAdd({unit}, 2, timestamp)", f"timestamp + {step}"),
            (f"timestampSub({unit}, 2, timestamp)", f"timestamp - {step}"),
        ]
    return found


def _types() -> list[tuple[str, str]]:
    found = []
    for name, kind in _WHOLE.items():
        found += [
            (f"to{name}(7.9)", f"7::{kind}"),
            (f"to{name}('7')", f"7::{kind}"),
            (f"to{name}(properties.page)", f"NULL::{kind}"),
            (f"to{name}OrNull('x')", f"NULL::{kind}"),
            (f"to{name}OrNull(properties.n)", f"(CASE WHEN event = 'signup' THEN 7 END)::{kind}"),
            (f"to{name}OrZero('x')", f"0::{kind}"),
            (f"to{name}OrDefault('x', 5)", f"5::{kind}"),
        ]
    for name, kind in (("Float32", "REAL"), ("Float64", "DOUBLE")):
        found += [
            (f"to{name}('1.5')", f"1.5::{kind}"),
            (f"to{name}OrNull('x')", f"NULL::{kind}"),
            (f"to{name}OrZero('x')", f"0::{kind}"),
            (f"to{name}OrDefault('x', 5)", f"5::{kind}"),
        ]
    return found


_JSON = [
    (f"{prefix}{name}", to)
    for prefix in ("JSONExtract", "simpleJSONExtract", "visitParamExtract")
    for name, to in (
        ("Bool(properties, 'paid')", "properties.paid::BOOLEAN"),
        ("Float(properties, 'ratio')", "properties.ratio::DOUBLE"),
        ("Int(properties, 'n')", "properties.n::BIGINT"),
        ("Raw(properties, 'cart')", "properties.cart::JSON::VARCHAR"),
        ("String(properties, 'page')", "properties.page::VARCHAR"),
    )
]

# As ClickHouse 26.9 answers.
_STARTS = (
    ("7 MINUTE", "2026-02-03 13:21:00"),
    ("3 DAY", "2026-02-03"),
    ("2 WEEK", "2026-02-02"),
    ("5 MONTH", "2025-11-01"),
    ("7 MONTH", "2026-01-01"),
    ("3 QUARTER", "2026-01-01"),
    ("7 YEAR", "2023-01-01"),
    ("90 MINUTE", "2026-02-03 12:00:00"),
    ("48 HOUR", "2026-02-03"),
)
_HOSTS = (
    ("http://example.com/x", "example.com"),
    ("example.com:80/x", "example.com"),
    ("//a.b/c", "a.b"),
    ("/a/b.c", ""),
    ("http://u:p@h.x:80/y", ""),
    ("mailto:a@b.c", ""),
    ("hello world", ""),
)
_PATHS = (("https://a.b", ""), ("https://a.b/c/d?x#y", "/c/d"), ("/x/y?z", "/x/y"), ("a.b/x?z", "/x"), ("x", ""))

_UUID = "01a20e2c-4a76-7498-acda-001c73300000"
_OTHERS = [
    ("JSONExtractUInt(properties, 'n')", "properties.n::UBIGINT"),
    ("simpleJSONHas(properties, 'page')", "variant_exists(properties, 'page')"),
    ("visitParamHas(properties, 'page')", "variant_exists(properties, 'page')"),
    ("toDateOrNull(properties.page)", "NULL::DATE"),
    ("toDecimal32('1.25', 1)", "1.2::DECIMAL(9, 1)"),
    ("toDecimal128('1.25', 2)", "1.25::DECIMAL(38, 2)"),
    (f"toUUID('{_UUID}')", f"'{_UUID}'::UUID"),
    ("toUUIDOrNull('x')", "NULL::UUID"),
    (f"toUUIDOrDefault('x', '{_UUID}'::UUID)", f"'{_UUID}'::UUID"),
    ("toISOYear(timestamp)", "isoyear(timestamp)"),
    ("toStartOfISOYear(TIMESTAMP '2026-02-01')", "DATE '2025-12-29'"),
    ("toStartOfSecond(timestamp)", "date_trunc('second', timestamp)"),
    ("toStartOfFiveMinute(timestamp)", "time_bucket(INTERVAL 5 MINUTE, timestamp)"),
    ("toYYYYMMDDhhmmss(timestamp)", "strftime(timestamp, '%Y%m%d%H%M%S')::BIGINT"),
    ("toUnixTimestamp64Micro(timestamp)", "epoch_us(timestamp)"),
    ("fromUnixTimestamp64Micro(1769817600000001)", "TIMESTAMP '2026-01-31 00:00:00.000001'"),
    ("from_unixtime(1769817600)", "TIMESTAMP '2026-01-31'"),
    ("parseDateTime64BestEffort(properties.due)", "properties.due::TIMESTAMP"),
    ("parseDateTime64BestEffortOrNull(properties.page)", "NULL::TIMESTAMP"),
    ("nowInBlock() = statement_timestamp()", "true"),
    ("date_diff(day, timestamp, TIMESTAMP '2026-03-01')", "date_diff('day', timestamp, TIMESTAMP '2026-03-01')"),
    ("timestampDiff(HOUR, timestamp, TIMESTAMP '2026-03-01')", "date_diff('hour', timestamp, TIMESTAMP '2026-03-01')"),
    ("dateSub(DAY, 1, timestamp)", "timestamp - INTERVAL 1 DAY"),
    ("dateSub(timestamp, INTERVAL 1 DAY)", "timestamp - INTERVAL 1 DAY"),
    ("json_build_object('a', event)", "json_object('a', event)"),
    ("json_build_array(1, event)", "json_array(1, event)"),
    ("jsonb_build_array(properties.page)", "json_array(properties.page)"),
    ("jsonb_pretty(properties->'cart')", "json_pretty(properties.cart::JSON)"),
    ("less(1, 2) AND lessOrEquals(2, 2) AND greater(2, 1) AND greaterOrEquals(2, 2) AND notEquals(1, 2)", "true"),
    ("bitAnd(6, 3) + bitOr(4, 1) + bitXor(6, 3) + bitShiftLeft(1, 3) + bitShiftRight(8, 1)", "24"),
    ("toTypeName(event)", "'VARCHAR'"),
    ("generateUUIDv4() <> generateUUIDv7()", "true"),
    ("toUnixTimestamp64Nano(timestamp)", "epoch_ns(timestamp)"),
    ("now('UTC') - now() < INTERVAL 1 MINUTE AND today('UTC') = today()", "true"),
    ("negate(properties.n)", "-properties.n"),
    ("div(7, 2)", "3"),
    ("intDivOrZero(7, 0)", "0"),
    ("lengthUTF8(event)", "length(event)"),
    ("reverseUTF8(event)", "reverse(event)"),
    ("substringUTF8(event, 2) || substringUTF8(event, 1, 1)", "event[2:] || event[1]"),
    ("leftPad('7', 3, '0') || rightPad('7', 3) || rightPad('7', 2, '0')", "'0077  70'"),
    ("trimLeft(' x ') || trimRight(' y ')", "'x  y'"),
    ("splitByString('ge', event)", "string_split(event, 'ge')"),
    ("splitByRegexp('[_g]', event)", "regexp_split_to_array(event, '[_g]')"),
    ("arrayAvg([1, 2]) + arrayAvg(x -> x.qty, properties.items)", "CASE WHEN len(properties.items) > 0 THEN 3.0 END"),
    ("arrayMin([2, 1]) + arrayMin(x -> x * 2, [2, 1]) + arrayMax(x -> x, [1, 2])", "5"),
    ("arrayIntersect([1, 2], [2])", "[2]"),
    ("arrayFlatten([[1], [2]])", "[1, 2]"),
    ("arrayReverse([1, 2])", "[2, 1]"),
    ("arrayUniq([1, 1, 2])", "2"),
    ("arrayEnumerate(['a', 'b'])", "[1, 2]"),
    ("arrayZip([1], ['a'])", "list_zip([1], ['a'])"),
    ("arrayStringConcat(['a', 'b'])", "'ab'"),
    *(
        (f"toStartOfInterval(TIMESTAMP '2026-02-03 13:22:11', INTERVAL {n})", f"TIMESTAMP '{start}'")
        for n, start in _STARTS
    ),
    *((f"domain('{url}')", f"'{host}'") for url, host in _HOSTS),
    *((f"path('{url}')", f"'{path}'") for url, path in _PATHS),
    ("protocol('mailto:x')", "''"),
    ("match('a\nb', 'a.b')", "true"),
    ("replaceRegexpAll('a\nba', 'a.b', 'x')", "'xa'"),
    ("toInt64(1e15) = toInt64('1e15') AND toUInt8(event = 'signup') <= 1", "true"),
    ("toInt64(9007199254740993.9::DECIMAL(38, 2))", "9007199254740993"),
    ("toInt64(-7 / 2)", "-3"),
    ("toUInt32(timestamp)", "floor(epoch(timestamp))::UINTEGER"),
    ("toDateTime('2026-01-31 10:00:00') - 3600", "TIMESTAMP '2026-01-31 09:00:00'"),
    ("tuple(1, event)", "row(1, event)"),
]

EXPRESSIONS = _units() + _types() + _JSON + _OTHERS

AGGREGATES = [
    *(
        (f"groupBit{name.title()}(toUInt64(properties.n))", f"bit_{name}(properties.n::UBIGINT)")
        for name in ("and", "or", "xor")
    ),
    *((f"{name}(user_id)", "approx_count_distinct(user_id)") for name in ("uniqCombined64", "uniqTheta")),
    ("covarSamp(properties.ms, properties.ratio)", "covar_samp(properties.ms, properties.ratio)"),
    ("medianExact(properties.ms)", "median(properties.ms)"),
    ("medianTDigest(properties.ms)", "approx_quantile(properties.ms, 0.5)"),
    ("quantileExactInclusive(0.9)(properties.ms)", "quantile_cont(properties.ms, 0.9)"),
    ("quantileTiming(0.9)(properties.ms)", "approx_quantile(properties.ms, 0.9)"),
    ("quantilesExact(0.1, 0.9)(properties.ms)", "quantile_cont(properties.ms, [0.1, 0.9])"),
    ("quantilesExactInclusive(0.1)(properties.ms)", "quantile_cont(properties.ms, [0.1])"),
    ("quantilesTiming(0.1, 0.9)(properties.ms)", "approx_quantile(properties.ms, [0.1, 0.9])"),
    ("sumOrNull(properties.ms) + avgOrNull(properties.ms)", "sum(properties.ms) + avg(properties.ms)"),
    ("[minOrNull(event), maxOrNull(event), anyOrNull(event)]", "[min(event), max(event), any_value(event)]"),
    ("first_value(event)", "first(event)"),
    ("last_value(event)", "last(event)"),
    ("json_object_agg(id, event)", "json_group_object(id, event)"),
]

STATEMENTS = [
    (
        "SELECT leadInFrame(event) OVER (ORDER BY timestamp) AS v, leadInFrame(event, 2) OVER (ORDER BY timestamp) AS w"
        " FROM events ORDER BY timestamp",
        "SELECT lead(event) OVER (ORDER BY timestamp) AS v, lead(event, 2) OVER (ORDER BY timestamp) AS w"
        " FROM events ORDER BY timestamp",
    ),
    (
        "SELECT lagInFrame(event, 2) OVER (ORDER BY timestamp) AS v FROM events ORDER BY timestamp",
        "SELECT lag(event, 2) OVER (ORDER BY timestamp) AS v FROM events ORDER BY timestamp",
    ),
    ("SELECT regexp_split_to_table('a b', ' ') AS v", "SELECT unnest(['a', 'b'])"),
    ('SELECT json_object_keys(\'{"a": 1, "b": 2}\'::json) AS v', "SELECT unnest(['a', 'b'])"),
    (
        "SELECT json_array_elements(properties->'tags') AS v FROM events ORDER BY v",
        "SELECT unnest(['new', 'sale', 'sale'])",
    ),
    (
        "SELECT json_array_elements_text(properties->'tags') AS v FROM events ORDER BY v",
        "SELECT unnest(['new', 'sale', 'sale'])",
    ),
    ("SELECT v FROM json_array_elements_text('[\"a\"]'::json) AS v", "SELECT 'a'"),
]
