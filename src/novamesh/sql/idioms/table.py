"""Functions of ClickHouse and PostgreSQL, and what says the same here.

A line is ``signature = SQL``: each argument stands in the SQL by its name, ``*x`` for any number of them. Two pairs
of brackets are a call that ClickHouse calls parametric, ``quantile(0.9)(x)``. A name that the engine has too
(``position``) is translated only where it has as many arguments as here. No argument may stand twice but in an
aggregate's FILTER: calls in calls would double it each time.

What differs from there, on purpose: NULL is what is not there, where ClickHouse says 0, ``''`` or NaN; a path that does
not fit is NULL, where ClickHouse says 0 or fails; ``uniq`` and ``quantile`` are exact.
"""

import re
from collections.abc import Iterator
from typing import Final

from novamesh.sql import functions

# -- aggregates: each may end in If, with a condition as its last argument -----------------------------------------

AGGREGATES: Final = """
any(x) = any_value(x)
anyLast(x) = last(x) FILTER (WHERE x IS NOT NULL)
avgWeighted(x, w) = weighted_avg(x, w)
covarPop(x, y) = covar_pop(x, y)
covarSamp(x, y) = covar_samp(x, y)
countDistinct(x) = count(DISTINCT x)
sumDistinct(x) = sum(DISTINCT x)
every(x) = bool_and(x)
anyOrNull(x) = any_value(x)
avgOrNull(x) = avg(x)
maxOrNull(x) = max(x)
minOrNull(x) = min(x)
sumOrNull(x) = sum(x)
groupArray(x) = list(x) FILTER (WHERE x IS NOT NULL)
groupArray(n)(x) = list_slice(list(x) FILTER (WHERE x IS NOT NULL), 1, n)
groupUniqArray(x) = list(DISTINCT x) FILTER (WHERE x IS NOT NULL)
groupUniqArray(n)(x) = list_slice(list(DISTINCT x) FILTER (WHERE x IS NOT NULL), 1, n)
groupBitAnd(x) = bit_and(x)
groupBitOr(x) = bit_or(x)
groupBitXor(x) = bit_xor(x)
json_agg(x) = to_json(list(x))
jsonb_agg(x) = to_json(list(x))
json_object_agg(k, v) = json_group_object(k, v)
jsonb_object_agg(k, v) = json_group_object(k, v)
medianExact(x) = quantile_cont(x, 0.5)
medianTDigest(x) = approx_quantile(x, 0.5)
quantile(x) = quantile_cont(x, 0.5)
quantile(p)(x) = quantile_cont(x, p)
quantileExact(x) = quantile_cont(x, 0.5)
quantileExact(p)(x) = quantile_cont(x, p)
quantileExactInclusive(p)(x) = quantile_cont(x, p)
quantileTDigest(p)(x) = approx_quantile(x, p)
quantileTiming(p)(x) = approx_quantile(x, p)
quantiles(*p)(x) = quantile_cont(x, [p])
quantilesExact(*p)(x) = quantile_cont(x, [p])
quantilesExactInclusive(*p)(x) = quantile_cont(x, [p])
quantilesTDigest(*p)(x) = approx_quantile(x, [p])
quantilesTiming(*p)(x) = approx_quantile(x, [p])
stddevPop(x) = stddev_pop(x)
stddevSamp(x) = stddev_samp(x)
topK(n)(x) = approx_top_k(x, n)
uniq(x) = count(DISTINCT x)
uniqExact(x) = count(DISTINCT x)
uniqCombined(x) = approx_count_distinct(x)
uniqCombined64(x) = approx_count_distinct(x)
uniqHLL12(x) = approx_count_distinct(x)
uniqTheta(x) = approx_count_distinct(x)
varPop(x) = var_pop(x)
varSamp(x) = var_samp(x)
"""

# -- dates: a call that takes a time t may have a time zone after its other arguments -------------------------------

DATES: Final = """
toDate(t) = CAST(t AS DATE)
toStartOfSecond(t) = date_trunc('second', t)
toStartOfMinute(t) = date_trunc('minute', t)
toStartOfFiveMinutes(t) = time_bucket(INTERVAL 5 MINUTE, t)
toStartOfFiveMinute(t) = time_bucket(INTERVAL 5 MINUTE, t)
toStartOfTenMinutes(t) = time_bucket(INTERVAL 10 MINUTE, t)
toStartOfFifteenMinutes(t) = time_bucket(INTERVAL 15 MINUTE, t)
toStartOfHour(t) = date_trunc('hour', t)
toStartOfDay(t) = date_trunc('day', t)
toMonday(t) = CAST(date_trunc('week', t) AS DATE)
toStartOfMonth(t) = CAST(date_trunc('month', t) AS DATE)
toStartOfQuarter(t) = CAST(date_trunc('quarter', t) AS DATE)
toStartOfYear(t) = CAST(date_trunc('year', t) AS DATE)
toStartOfISOYear(t) = CAST(date_trunc('isoyear', t) AS DATE)
toLastDayOfMonth(t) = last_day(t)
toYear(t) = year(t)
toQuarter(t) = quarter(t)
toMonth(t) = month(t)
toISOYear(t) = isoyear(t)
toISOWeek(t) = week(t)
toDayOfYear(t) = dayofyear(t)
toDayOfMonth(t) = day(t)
toDayOfWeek(t) = isodow(t)
toHour(t) = hour(t)
toMinute(t) = minute(t)
toSecond(t) = second(t)
toYYYYMM(t) = CAST(strftime(t, '%Y%m') AS INT)
toYYYYMMDD(t) = CAST(strftime(t, '%Y%m%d') AS INT)
toYYYYMMDDhhmmss(t) = CAST(strftime(t, '%Y%m%d%H%M%S') AS BIGINT)
"""

ZONED: Final = "CAST(t AS TIMESTAMP) AT TIME ZONE 'UTC' AT TIME ZONE zone"

CLOCK: Final = """
toStartOfWeek(t) = CAST(date_trunc('week', CAST(t AS TIMESTAMP) + INTERVAL 1 DAY) - INTERVAL 1 DAY AS DATE)
toTimeZone(t, zone) = CAST(t AS TIMESTAMP) AT TIME ZONE 'UTC' AT TIME ZONE zone
toDateOrNull(t) = TRY_CAST(t AS DATE)
toDateTime(t) = CAST(t AS TIMESTAMP)
toDateTimeOrNull(t) = TRY_CAST(t AS TIMESTAMP)
toDateTime64(t, n) = CAST(t AS TIMESTAMP)
parseDateTimeBestEffort(t) = CAST(CAST(t AS TIMESTAMPTZ) AS TIMESTAMP)
parseDateTimeBestEffortOrNull(t) = CAST(TRY_CAST(t AS TIMESTAMPTZ) AS TIMESTAMP)
parseDateTime64BestEffort(t) = CAST(CAST(t AS TIMESTAMPTZ) AS TIMESTAMP)
parseDateTime64BestEffortOrNull(t) = CAST(TRY_CAST(t AS TIMESTAMPTZ) AS TIMESTAMP)
toUnixTimestamp(t) = epoch_us(CAST(t AS TIMESTAMP)) // 1000000
toUnixTimestamp64Milli(t) = epoch_us(CAST(t AS TIMESTAMP)) // 1000
toUnixTimestamp64Micro(t) = epoch_us(CAST(t AS TIMESTAMP))
toUnixTimestamp64Nano(t) = epoch_us(CAST(t AS TIMESTAMP)) * 1000
fromUnixTimestamp(n) = CAST(to_timestamp(n) AS TIMESTAMP)
fromUnixTimestamp64Milli(n) = make_timestamp_ms(n)
fromUnixTimestamp64Micro(n) = make_timestamp(n)
from_unixtime(n) = CAST(to_timestamp(n) AS TIMESTAMP)
now64() = now()
now64(n) = now()
nowInBlock() = now()
now(zone) = CAST(now() AS TIMESTAMP) AT TIME ZONE 'UTC' AT TIME ZONE zone
today(zone) = CAST(CAST(now() AS TIMESTAMP) AT TIME ZONE 'UTC' AT TIME ZONE zone AS DATE)
clock_timestamp() = now()
statement_timestamp() = now()
yesterday() = today() - 1
date_bin(i, t, origin) = time_bucket(CAST(i AS INTERVAL), t, origin)
"""

UNITS: Final = ("year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond")


def _steps() -> Iterator[str]:
    for unit in UNITS:
        yield f"toInterval{unit.title()}(n) = to_{_plural(unit)}(n)"
        yield f"add{_plural(unit).title()}(t, n) = CAST(t AS TIMESTAMP) + to_{_plural(unit)}(n)"
        yield f"subtract{_plural(unit).title()}(t, n) = CAST(t AS TIMESTAMP) - to_{_plural(unit)}(n)"


def _plural(unit: str) -> str:
    return unit + "s"


# -- conversions ------------------------------------------------------------------------------------------------------

WHOLE: Final = {
    "Int8": "TINYINT",
    "Int16": "SMALLINT",
    "Int32": "INT",
    "Int64": "BIGINT",
    "UInt8": "UTINYINT",
    "UInt16": "USMALLINT",
    "UInt32": "UINTEGER",
    "UInt64": "UBIGINT",
}
_TYPES: Final = {"Float32": "REAL", "Float64": "DOUBLE", "UUID": "UUID"}

# A number is cut, not rounded, as there, and keeps its digits, which a DOUBLE or its cast to DECIMAL would not.
CUT: Final = "trunc(TRY_CAST(CAST(x AS VARCHAR) AS DECIMAL(38, {})){})"


def _conversions() -> Iterator[str]:
    casts = {name: f"TRY_CAST({CUT.format(9, '')} AS {kind})" for name, kind in WHOLE.items()}
    casts |= {name: f"TRY_CAST(x AS {kind})" for name, kind in _TYPES.items()}
    for name, cast in casts.items():
        yield f"to{name}(x) = {cast if name in WHOLE else cast.removeprefix('TRY_')}"
        yield f"to{name}OrNull(x) = {cast}"
        yield f"to{name}OrDefault(x, d) = coalesce({cast}, d)"
        if name != "UUID":
            yield f"to{name}OrZero(x) = coalesce({cast}, 0)"
    for bits, digits in ((32, 9), (64, 18), (128, 38)):
        yield f"toDecimal{bits}(x, s) = CAST({CUT.format(18, ', s')} AS DECIMAL({digits}, s))"


CONVERSIONS: Final = """
toString(x) = CAST(x AS VARCHAR)
toBool(x) = CAST(x AS BOOLEAN)
toNullable(x) = (x)
to_jsonb(x) = to_json(x)
jsonb_array_length(x) = json_array_length(x)
jsonb_array_elements(x) = unnest(x)
json_array_elements(x) = unnest(x)
jsonb_array_elements_text(x) = unnest(CAST(x AS VARCHAR[]))
json_array_elements_text(x) = unnest(CAST(x AS VARCHAR[]))
jsonb_object_keys(x) = unnest(json_keys(x))
json_object_keys(x) = unnest(json_keys(x))
jsonb_build_object(*x) = json_object(x)
json_build_object(*x) = json_object(x)
jsonb_build_array(*x) = json_array(x)
json_build_array(*x) = json_array(x)
jsonb_pretty(x) = json_pretty(x)
jsonb_typeof(x) = CASE json_type(x) WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'VARCHAR' THEN 'string'
 WHEN 'BOOLEAN' THEN 'boolean' WHEN 'NULL' THEN 'null' WHEN 'BIGINT' THEN 'number' WHEN 'UBIGINT' THEN 'number'
 WHEN 'HUGEINT' THEN 'number' WHEN 'DOUBLE' THEN 'number' END
"""

# -- conditions, numbers, text, lists ---------------------------------------------------------------------------------

VALUES: Final = r"""
isNull(x) = x IS NULL
isNotNull(x) = x IS NOT NULL
assumeNotNull(x) = (x)
equals(a, b) = a = b
notEquals(a, b) = a <> b
less(a, b) = a < b
lessOrEquals(a, b) = a <= b
greater(a, b) = a > b
greaterOrEquals(a, b) = a >= b
plus(a, b) = a + b
minus(a, b) = a - b
modulo(a, b) = a % b
negate(x) = -x
bitAnd(a, b) = a & b
bitOr(a, b) = a | b
bitXor(a, b) = xor(a, b)
bitShiftLeft(a, n) = a << n
bitShiftRight(a, n) = a >> n
intDiv(a, b) = a // b
div(a, b) = a // b
intDivOrZero(a, b) = coalesce(try(a // b), 0)
empty(x) = length(x) = 0
notEmpty(x) = length(x) > 0
lowerUTF8(s) = lower(s)
upperUTF8(s) = upper(s)
reverseUTF8(s) = reverse(s)
lengthUTF8(s) = length(s)
substringUTF8(s, n) = substr(s, n)
substringUTF8(s, n, m) = substr(s, n, m)
leftPad(s, n) = lpad(s, n, ' ')
leftPad(s, n, c) = lpad(s, n, c)
rightPad(s, n) = rpad(s, n, ' ')
rightPad(s, n, c) = rpad(s, n, c)
trimLeft(s) = ltrim(s)
trimRight(s) = rtrim(s)
trimBoth(s) = trim(s)
btrim(s) = trim(s)
btrim(s, c) = trim(s, c)
startsWith(s, p) = starts_with(s, p)
endsWith(s, p) = ends_with(s, p)
concatWithSeparator(c, *s) = concat_ws(c, s)
position(s, p) = strpos(s, p)
positionCaseInsensitive(s, p) = strpos(lower(s), lower(p))
replaceAll(s, p, r) = replace(s, p, r)
replaceRegexpOne(s, p, r) = regexp_replace(s, p, r, 's')
replaceRegexpAll(s, p, r) = regexp_replace(s, p, r, 'gs')
match(s, p) = regexp_matches(s, p, 's')
splitByChar(c, s) = string_split(s, c)
splitByString(c, s) = string_split(s, c)
regexp_split_to_table(s, p) = unnest(regexp_split_to_array(s, p))
splitByRegexp(c, s) = regexp_split_to_array(s, c)
domain(s) = regexp_replace(s, '^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//([A-Za-z0-9_.~%-]+)(?::[0-9]*)?(?:[/?#].*)?
|([A-Za-z0-9_-]+(?:[.][A-Za-z0-9_-]+)+)(?::[0-9]*)?(?:[/?#].*)?|.*)$', '\1\2', 's')
domainWithoutWWW(s) = regexp_replace(s, '^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:www[.])?([A-Za-z0-9_.~%-]+)(?::[0-9]*)?
(?:[/?#].*)?|(?:www[.])?([A-Za-z0-9_-]+(?:[.][A-Za-z0-9_-]+)+)(?::[0-9]*)?(?:[/?#].*)?|.*)$', '\1\2', 's')
path(s) = regexp_replace(s, '^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*(/[^?#]*)?|[^/]*(/[^?#]*)?).*$', '\1\2', 's')
protocol(s) = regexp_extract(s, '^([A-Za-z][A-Za-z0-9+.-]*)://', 1)
has(l, x) = list_contains(l, x)
hasAny(l, m) = list_has_any(l, m)
hasAll(l, m) = list_has_all(l, m)
indexOf(l, x) = coalesce(list_position(l, x), 0)
arrayJoin(l) = unnest(l)
arrayMap(f, l) = list_transform(l, f)
arrayFilter(f, l) = list_filter(l, f)
arrayExists(f, l) = len(list_filter(l, f)) > 0
arrayAll(f, l) = coalesce(list_bool_and(list_transform(l, f)), true)
arrayCount(f, l) = len(list_filter(l, f))
arrayFirst(f, l) = list_first(list_filter(l, f))
arraySum(l) = list_sum(l)
arraySum(f, l) = list_sum(list_transform(l, f))
arrayAvg(l) = list_avg(l)
arrayAvg(f, l) = list_avg(list_transform(l, f))
arrayMin(l) = list_min(l)
arrayMin(f, l) = list_min(list_transform(l, f))
arrayMax(l) = list_max(l)
arrayMax(f, l) = list_max(list_transform(l, f))
arrayReduce(f, l) = list_aggregate(l, f)
arrayDistinct(l) = list_distinct(l)
arrayUniq(l) = list_unique(l)
arraySort(l) = list_sort(l)
arrayReverseSort(l) = list_reverse_sort(l)
arrayReverse(l) = list_reverse(l)
arrayConcat(l, m) = list_concat(l, m)
arrayIntersect(l, m) = list_intersect(l, m)
arrayElement(l, n) = list_extract(l, n)
arrayFlatten(l) = flatten(l)
arrayPushBack(l, x) = list_append(l, x)
arrayPushFront(l, x) = list_prepend(x, l)
arrayStringConcat(l) = array_to_string(l, '')
arrayStringConcat(l, c) = array_to_string(l, c)
arrayZip(l, m) = list_zip(l, m)
arrayEnumerate(l) = generate_series(1, len(l))
tuple(*x) = row(x)
toTypeName(x) = typeof(x)
generateUUIDv4() = gen_random_uuid()
generateUUIDv7() = uuidv7()
lagInFrame(x) = lag(x)
lagInFrame(x, n) = lag(x, n)
leadInFrame(x) = lead(x)
leadInFrame(x, n) = lead(x, n)
"""

# -- what cannot be translated, and the form that does ----------------------------------------------------------------

_FUNNEL: Final = "write the steps as WITH queries, as in the cookbook of docs/sql.md"
INSTEAD: Final[dict[str, str]] = {
    "windowFunnel": _FUNNEL,
    "sequenceMatch": _FUNNEL,
    "sequenceCount": _FUNNEL,
    "retention": _FUNNEL,
    **dict.fromkeys(("cityHash64", "sipHash64", "xxHash64", "murmurHash3_64"), "write hash(x)"),
    **dict.fromkeys(("jsonb_each", "jsonb_each_text", "json_each_text"), "write unnest(json_keys(properties))"),
    "toWeek": "write week(t), which is the ISO week",
    "toYearWeek": "write yearweek(t), which is of ISO weeks",
    "toRelativeDayNum": "write date_diff('day', DATE '1970-01-01', t)",
    "regexp_match": "write regexp_extract(s, '(…)', 1)",
    "initcap": "write upper(left(s, 1)) || lower(substr(s, 2))",
    "jsonb_set": "write json_merge_patch(x, '{…}')",
    "jsonb_path_query": "write json_extract(x, '$.…')",
    "jsonb_path_exists": "write json_exists(x, '$.…')",
    "json_query": "write json_extract(x, '$.…')",
    "to_number": "write x::DECIMAL(18, 2)",
    "runningDifference": "write x - lag(x) OVER (ORDER BY timestamp)",
    "runningAccumulate": "write sum(x) OVER (ORDER BY timestamp)",
    "neighbor": "write lag(x, n) OVER (ORDER BY timestamp) or lead(x, n) OVER (ORDER BY timestamp)",
    "rand": "write random(), a number from 0 to 1",
    "extractURLParameter": "write regexp_extract(url, '[?&]name=([^&#]*)', 1)",
    "toInt128": "write x::HUGEINT",
    "date_format": "write strftime(t, '%Y-%m-%d')",
    "groupArraySorted": "write list(x ORDER BY x)",
    "dictGet": "join a WITH query that holds the values",
    "make_interval": "write INTERVAL 7 DAY or to_days(n)",
}


def rows() -> Iterator[str]:
    """Every line of the tables."""
    for text in (AGGREGATES, DATES, CLOCK, CONVERSIONS, VALUES):
        yield from _lines(text)
    yield from _steps()
    yield from _conversions()


def _lines(text: str) -> list[str]:
    return re.sub(r"\n(?!\w+\()", "", text).strip().splitlines()


def _name(row: str) -> str:
    return row.partition("(")[0].lower()


COMBINED: Final = frozenset(map(_name, _lines(AGGREGATES))) | functions.AGGREGATES
"""Aggregates of which there is an ``…If``."""

_TWICE: Final = frozenset(_name(row) for row in rows() if ")(" in row.partition(" = ")[0])
PARAMETRIC: Final = _TWICE | {name.lower() for name in INSTEAD} | {f"{name}if" for name in _TWICE}
"""Functions that take two pairs of brackets."""

TIMED: Final = frozenset(map(_name, _lines(DATES)))
"""Functions that take a time zone as one more argument."""

_BUILT: Final = {
    "aggregates": "uniq uniqExact countDistinct",
    "dates": """
        dateAdd dateDiff dateSub date_add date_diff date_sub datediff datesub age timestampAdd timestampDiff
        timestampSub formatDateTime to_char to_date to_timestamp toStartOfInterval toStartOfWeek
    """,
    "conversions and JSON": """
        JSONExtract JSONExtractBool JSONExtractFloat JSONExtractInt JSONExtractKeys JSONExtractRaw JSONExtractString
        JSONExtractUInt JSONHas JSONLength JSONType jsonb_extract_path jsonb_extract_path_text simpleJSONExtractBool
        simpleJSONExtractFloat simpleJSONExtractInt simpleJSONExtractRaw simpleJSONExtractString simpleJSONHas
        visitParamExtractBool visitParamExtractFloat visitParamExtractInt visitParamExtractRaw visitParamExtractString
        visitParamHas
    """,
    "values, text and lists": "extract extractAll multiIf arraySlice numbers",
}
BUILT: Final = frozenset(name for names in _BUILT.values() for name in names.split())
"""Functions that take more than a line to translate: idioms.py builds them."""


def topics() -> dict[str, list[str]]:
    """The names that are not the engine's own, by topic, as their users write them."""
    rows_of = {
        "aggregates": _lines(AGGREGATES),
        "dates": [*_lines(DATES), *_lines(CLOCK), *_steps()],
        "conversions and JSON": [*_lines(CONVERSIONS), *_conversions()],
        "values, text and lists": _lines(VALUES),
    }
    found: dict[str, list[str]] = {}
    for topic, lines in rows_of.items():
        names = {line.partition("(")[0] for line in lines} | set(_BUILT.get(topic, "").split())
        found[topic] = sorted((name for name in names if name.lower() not in functions.ALLOWED), key=str.lower)
    return found


SPELLED: Final = frozenset(row.partition("(")[0] for row in rows()) | BUILT | INSTEAD.keys()
"""Every name as its users write it, without the ``…If``."""

NAMES: Final = frozenset(name.lower() for name in SPELLED) | {f"{name}if" for name in COMBINED}
"""Every name in lower case."""
