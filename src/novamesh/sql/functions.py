"""The functions a query may call, and how large their arguments may be.

One table, by topic, sorted. A name that is not in it is refused: DuckDB 2.0 has 1,100 functions, and those left out
read files, settings or system state, sleep, raise errors, change state, run text as SQL, or build internal types. They
need not be known here to be refused. The names are those of ``duckdb_functions()``
(https://duckdb.org/docs/stable/sql/functions/overview).

Some listed functions turn a few bytes of SQL into gigabytes or minutes that neither ``memory_limit`` nor
``interrupt()`` stops in time (measured: ``lpad('x', 2e9)`` and ``levenshtein`` on 1e5 characters never come back).
Their size arguments must be literals, and small ones: :func:`argument_fault`.
"""

import difflib
import re
from collections.abc import Callable, Iterator
from typing import Final

from sqlglot import exp

TOPICS: Final[dict[str, str]] = {
    "aggregates": """
        any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_min
        arg_min_null argmax argmin array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if
        count_star countif covar_pop covar_samp entropy favg first fsum geomean geometric_mean group_concat
        grouping grouping_id histogram histogram_exact json_group_array json_group_object kahan_sum kurtosis
        kurtosis_pop last list listagg mad max max_by mean median min min_by mode percentile_cont
        percentile_disc product quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_count
        regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy reservoir_quantile sem skewness stddev
        stddev_pop stddev_samp string_agg sum sum_no_overflow sumkahan var_pop var_samp variance wavg
        weighted_avg
    """,
    "windows": """
        cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense
        row_number
    """,
    "conditions": """
        coalesce greatest if ifnull least nullif try typeof
    """,
    "dates": """
        age century current_date current_localtime current_localtimestamp date date_add date_diff date_part
        date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear
        days_in_month decade epoch epoch_ms epoch_ns epoch_us era extract get_current_time get_current_timestamp
        hour isfinite isodow isoyear julian last_day make_date make_time make_timestamp make_timestamp_ms
        make_timestamp_ns make_timestamptz microsecond millennium millisecond minute month monthname nanosecond
        now quarter second strftime strptime time_bucket timezone timezone_hour timezone_minute to_centuries
        to_days to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months
        to_quarters to_seconds to_timestamp to_weeks to_years today transaction_timestamp try_strptime week
        weekday weekofyear year yearweek
    """,
    "strings": """
        array_to_string ascii bar base64 bin bit_length char_length character_length chr concat concat_ws
        contains damerau_levenshtein decode editdist3 encode ends_with format format_bytes
        formatreadabledecimalsize formatreadablesize from_base64 from_binary from_hex hamming hash hex
        ilike_escape instr jaccard jaro_similarity jaro_winkler_similarity lcase left left_grapheme length
        length_grapheme levenshtein like_escape lower lpad ltrim md5 md5_number md5_number_lower
        md5_number_upper mismatches nfc_normalize not_ilike_escape not_like_escape octet_length ord overlay
        parse_dirname parse_dirpath parse_filename parse_path position prefix printf regexp_escape
        regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array
        repeat replace reverse right right_grapheme rpad rtrim sha1 sha256 split split_part starts_with
        str_split str_split_regex string_split string_split_regex string_to_array strip_accents strlen strpos
        substr substring substring_grapheme suffix to_base to_base64 to_binary to_hex translate trim ucase unbin
        unhex unicode upper url_decode url_encode
    """,
    "maths": """
        abs acos acosh add asin asinh atan atan2 atanh bit_count bit_position cbrt ceil ceiling cos cosh cot
        degrees divide equi_width_bins even exp factorial fdiv floor fmod gamma gcd greatest_common_divisor
        isinf isnan lcm least_common_multiple lgamma ln log log10 log2 mod multiply nextafter pi pow power
        radians random round round_even roundbankers sign signbit sin sinh sqrt subtract tan tanh trunc xor
    """,
    "ids": """
        current_user gen_random_uuid uuid uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7
    """,
    "lists": """
        aggregate apply array_aggr array_aggregate array_append array_apply array_cat array_concat
        array_contains array_cosine_distance array_cosine_similarity array_distance array_distinct
        array_dot_product array_extract array_filter array_grade_up array_has array_has_all array_has_any
        array_indexof array_inner_product array_intersect array_length array_pop_back array_pop_front
        array_position array_prepend array_push_back array_push_front array_reduce array_resize array_reverse
        array_reverse_sort array_select array_slice array_sort array_transform array_unique array_value
        array_where array_zip filter flatten generate_series generate_subscripts grade_up len list_aggr
        list_aggregate list_any_value list_append list_apply list_approx_count_distinct list_avg list_bit_and
        list_bit_or list_bit_xor list_bool_and list_bool_or list_cat list_concat list_contains
        list_cosine_distance list_cosine_similarity list_count list_distance list_distinct list_dot_product
        list_element list_entropy list_extract list_filter list_first list_grade_up list_has list_has_all
        list_has_any list_histogram list_indexof list_inner_product list_intersect list_kurtosis
        list_kurtosis_pop list_last list_mad list_max list_median list_min list_mode list_pack list_position
        list_prepend list_product list_reduce list_resize list_reverse list_reverse_sort list_select list_sem
        list_skewness list_slice list_sort list_stddev_pop list_stddev_samp list_string_agg list_sum
        list_transform list_unique list_value list_var_pop list_var_samp list_where list_zip range reduce unnest
    """,
    "structs and maps": """
        cardinality element_at map map_concat map_contains map_contains_entry map_contains_value map_entries
        map_extract map_extract_value map_from_entries map_keys map_values row struct_concat struct_contains
        struct_extract struct_extract_at struct_has struct_indexof struct_insert struct_keys struct_pack
        struct_position struct_update struct_values
    """,
    "json": """
        array_to_json from_json from_json_strict json json_array json_array_length json_contains json_exists
        json_extract json_extract_path json_extract_path_text json_extract_string json_keys json_merge_patch
        json_object json_pretty json_quote json_structure json_transform json_transform_strict json_type
        json_valid json_value row_to_json to_json
    """,
    "variant": """
        variant_array_length variant_contains variant_exists variant_extract variant_extract_string variant_keys
        variant_typeof
    """,
    "bits": """
        bitstring get_bit set_bit
    """,
}

ALLOWED: Final[frozenset[str]] = frozenset(name for names in TOPICS.values() for name in names.split())
"""Every function that may be called, in lower case."""

AGGREGATES: Final = frozenset(TOPICS["aggregates"].split()) - {"grouping", "grouping_id"}

TABLE_FUNCTIONS: Final = frozenset({"generate_series", "range", "unnest"})
"""Functions that may stand where a table stands."""

NODES: Final[frozenset[type[exp.Expr]]] = frozenset(
    {
        # queries
        *(exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Values, exp.Subquery, exp.With, exp.CTE),
        *(exp.From, exp.Join, exp.Lateral, exp.Table, exp.TableAlias, exp.TableSample, exp.Where, exp.Group),
        *(exp.Cube, exp.Rollup, exp.GroupingSets, exp.Having, exp.Qualify, exp.Order, exp.Ordered, exp.Limit),
        *(exp.LimitOptions, exp.Fetch, exp.Offset, exp.Distinct, exp.Window, exp.WindowSpec, exp.WithinGroup),
        *(exp.Filter, exp.IgnoreNulls),
        # names and values
        *(exp.Identifier, exp.Column, exp.TableColumn, exp.PositionalColumn, exp.Star, exp.Columns),
        *(exp.Alias, exp.Dot, exp.Literal, exp.ByteString, exp.RawString, exp.Boolean, exp.Null, exp.Var),
        *(exp.Placeholder, exp.Parameter, exp.Interval, exp.Array, exp.Struct, exp.ToMap, exp.Map, exp.Tuple),
        *(exp.Paren, exp.Bracket, exp.Slice, exp.PropertyEQ, exp.Lambda, exp.Comprehension, exp.ColumnDef),
        *(exp.DataTypeParam, exp.Kwarg),
        # operators
        *(exp.Abs, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Pow, exp.Neg, exp.DPipe),
        *(exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is),
        *(exp.NullSafeEQ, exp.NullSafeNEQ, exp.In, exp.Between, exp.Like, exp.ILike, exp.Glob, exp.Escape),
        *(exp.StartsWith, exp.Collate, exp.AtTimeZone, exp.Any, exp.All, exp.BitwiseAnd, exp.BitwiseOr),
        *(exp.BitwiseXor, exp.BitwiseNot, exp.BitwiseLeftShift, exp.BitwiseRightShift, exp.ArrayContainsAll),
        *(exp.ArrayContainedBy, exp.ArrayOverlaps, exp.JSONExtract, exp.JSONExtractScalar, exp.Exists),
        # syntax that looks like a call
        *(exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue, exp.Case, exp.If, exp.Cast),
        *(exp.TryCast, exp.Extract, exp.Substring, exp.Trim, exp.StrPosition, exp.Overlay, exp.CurrentDate),
        *(exp.CurrentTime, exp.CurrentTimestamp, exp.CurrentUser, exp.Localtime, exp.Localtimestamp),
    }
)
"""Every kind of node a tree may have, beside calls, types, intervals and patterns, which are looked at one by one."""

TYPES: Final = frozenset(
    {
        *(exp.DType.BOOLEAN, exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.INT128),
        *(exp.DType.UTINYINT, exp.DType.USMALLINT, exp.DType.UINT, exp.DType.UBIGINT, exp.DType.UINT128),
        *(exp.DType.FLOAT, exp.DType.DOUBLE, exp.DType.DECIMAL, exp.DType.TEXT, exp.DType.JSON, exp.DType.UUID),
        *(exp.DType.DATE, exp.DType.TIME, exp.DType.INTERVAL, exp.DType.VARBINARY, exp.DType.BIT),
        *(exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ, exp.DType.TIMESTAMPTZ),
        *(exp.DType.TIMESTAMP_S, exp.DType.TIMESTAMP_MS, exp.DType.TIMESTAMP_NS),
    }
)
"""What a value may be cast to. Not VARIANT: ``repeat('[', 50000)::JSON::VARIANT`` crashes the process."""

NESTED_TYPES: Final = frozenset({exp.DType.ARRAY, exp.DType.LIST, exp.DType.MAP, exp.DType.STRUCT})

UNITS: Final = frozenset(
    "YEAR YEARS MONTH MONTHS WEEK WEEKS DAY DAYS HOUR HOURS MINUTE MINUTES SECOND SECONDS MILLISECOND MILLISECONDS"
    " MICROSECOND MICROSECONDS QUARTER QUARTERS DECADE DECADES CENTURY CENTURIES MILLENNIUM MILLENNIA".split()
)
"""Units of an interval. DuckDB reads ``INTERVAL '30' min`` as 30 seconds, called min."""

MAX_GROWTH: Final = 10_000
MAX_SIZE: Final = 10_000
MAX_RANGE: Final = 1_000_000
MAX_DISTANCE_LITERAL: Final = 256
MAX_PATTERN: Final = 1_000
MAX_PATTERN_REPEATS: Final = 1_000

_SIZE_ARGUMENT: Final = {
    "repeat": 1,
    "lpad": 1,
    "rpad": 1,
    "bitstring": 1,
    "list_resize": 1,
    "array_resize": 1,
    "bar": 3,
}
_REPLACEMENT: Final = frozenset({"regexp_replace", "replace"})
_DISTANCES: Final = frozenset(
    {"damerau_levenshtein", "editdist3", "jaccard", "jaro_similarity", "jaro_winkler_similarity", "levenshtein"}
)
_PATTERNS: Final = frozenset(
    {
        "regexp_extract",
        "regexp_extract_all",
        "regexp_full_match",
        "regexp_matches",
        "regexp_replace",
        "regexp_split_to_array",
        "str_split_regex",
        "string_split_regex",
    }
)
_ZIPS: Final = frozenset({"array_zip", "list_zip"})
_SERIES: Final = frozenset({"generate_series", "range"})
_BY_NAME: Final = frozenset({"aggregate", "array_aggr", "array_aggregate", "list_aggr", "list_aggregate"})
_TYPED_JSON: Final = frozenset({"from_json", "from_json_strict", "json_transform", "json_transform_strict"})


def nearest(name: str, known: frozenset[str] = ALLOWED) -> str:
    """``; the nearest allowed name is x``, or nothing: a name that only looks alike is worse."""
    plain = name.lower().replace("_", "")
    words = sorted(known, key=lambda word: ("_" in word, word))  # date_trunc rather than datetrunc
    spelled = {word.lower().replace("_", ""): word for word in words}
    alike = [word for word in spelled if word[:1] == plain[:1] and abs(len(word) - len(plain)) < 3]
    close = difflib.get_close_matches(plain, alike, n=1, cutoff=0.8)
    return f"; the nearest allowed name is {spelled[close[0]]}" if close else ""


def argument_fault(name: str, call: exp.Anonymous) -> str | None:
    """Why this call of a listed function may not run, in words, or None."""
    for rule in _RULES:
        fault = rule(name, call.expressions)
        if fault:
            return fault
    return None


def growth(call: exp.Anonymous) -> int:
    """How many times longer than its input this call can make a string."""
    name, args = call.name.lower(), call.expressions
    if name == "repeat" and len(args) > 1:
        return max(1, _bound(args[1]) or 1)
    if name in _REPLACEMENT and len(args) > 2:
        return max(1, len(args[2].name)) if is_string(args[2]) else 100
    return 1


def pattern_fault(pattern: exp.Expr) -> str | None:
    """Why a regular expression may not run: ``((x{1000}){1000}){1000}`` is a bomb."""
    if isinstance(pattern, (exp.Placeholder, exp.Parameter)):
        return None  # a bound value: RE2 refuses to compile what is too large
    if not is_string(pattern):
        return "give the regular expression as a plain string"
    if len(pattern.name) > MAX_PATTERN:
        return f"use a regular expression of at most {MAX_PATTERN} characters"
    product = 1
    for low, high in re.findall(r"\{(\d+)(?:,(\d*))?\}", pattern.name):
        product *= max(1, int(high or low))
    if product > MAX_PATTERN_REPEATS:
        return f"use counted repeats of at most {MAX_PATTERN_REPEATS} in all in a regular expression"
    return None


def is_string(node: exp.Expr) -> bool:
    """A string literal, however it is quoted."""
    return node.is_string or isinstance(node, (exp.ByteString, exp.RawString))


def _int(node: exp.Expr) -> int | None:
    text = node.name.replace("_", "") if isinstance(node, exp.Literal) and not node.is_string else ""
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _bound(node: exp.Expr) -> int | None:
    """The most an integer can be: itself if it is literal, or what ``least(n, 100)`` says."""
    while isinstance(node, (exp.Paren, exp.Cast)):
        node = node.this
    if isinstance(node, exp.Anonymous) and node.name.lower() == "least":
        bounds = [bound for value in node.expressions if (bound := _bound(value)) is not None]
        return min(bounds, default=None)
    return _int(node)


def _size(name: str, args: list[exp.Expr]) -> str | None:
    place = _SIZE_ARGUMENT.get(name)
    if place is None or len(args) <= place:
        return None
    size = _bound(args[place])
    if size is None or size > MAX_SIZE:
        return f"give {name} a literal size of at most {MAX_SIZE}, or one with such a bound, as in least(n, 100)"
    return None


def _distance(name: str, args: list[exp.Expr]) -> str | None:
    if name not in _DISTANCES or any(is_string(arg) and len(arg.name) <= MAX_DISTANCE_LITERAL for arg in args):
        return None
    return f"give {name} one literal string of at most {MAX_DISTANCE_LITERAL} characters"


def _pattern(name: str, args: list[exp.Expr]) -> str | None:
    return pattern_fault(args[1]) if name in _PATTERNS and len(args) > 1 else None


def _template(name: str, args: list[exp.Expr]) -> str | None:
    if name not in ("format", "printf") or not args:
        return None
    if not is_string(args[0]):
        return f"give {name} its format as a plain string"
    dynamic = r"\{[^}]*\{" if name == "format" else r"%[-+ #0]*(\d*\.)?\*"
    if re.search(r"\d{4}", args[0].name) or re.search(dynamic, args[0].name):
        return f"use widths of at most 999 in {name}"
    return None


def _zip(name: str, args: list[exp.Expr]) -> str | None:
    if name not in _ZIPS:
        return None
    for call in _calls(args):
        bounds = [_int(arg) for arg in call.expressions]
        if call.name.lower() in _SERIES and any(bound is None or bound > MAX_RANGE for bound in bounds):
            return f"zip ranges with literal bounds of at most {MAX_RANGE}"
    return None


def _calls(args: list[exp.Expr]) -> Iterator[exp.Anonymous]:
    for arg in args:
        yield from arg.find_all(exp.Anonymous)


def _aggregate_name(name: str, args: list[exp.Expr]) -> str | None:
    """``list_aggregate(l, 'sum')`` calls a function by a string: the string is a function name too."""
    if name not in _BY_NAME or len(args) < 2:
        return None
    if not is_string(args[1]) or args[1].name.lower() not in ALLOWED:
        return f"name an allowed aggregate as a plain string in {name}"
    return None


def _json_shape(name: str, args: list[exp.Expr]) -> str | None:
    """A shape is a list of types: JSON of any depth read into a VARIANT crashes the engine."""
    if name not in _TYPED_JSON or len(args) < 2:
        return None
    if not is_string(args[1]) or re.search("variant|\\\\", args[1].name, re.IGNORECASE):
        return f"give {name} its structure as a plain string without VARIANT"
    return None


_RULES: Final[tuple[Callable[[str, list[exp.Expr]], str | None], ...]] = (
    _size,
    _distance,
    _pattern,
    _template,
    _zip,
    _aggregate_name,
    _json_shape,
)
