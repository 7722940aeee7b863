"""What each function takes and gives, where it is not text.

A function that is in none of the tables takes text.
"""

import re
from collections.abc import Sequence
from typing import Final

from sqlglot import exp

from novamesh.sql.paths import Kind

Place = Kind | str
"""What an argument is to be. A text names an integer of 128, 32 or 64 bits."""

BIG, SMALL, WHOLE = "big", "small", "whole"
EITHER: Final = "either"
"""A place that takes integers and times, and means another thing by each."""

MILLISECONDS: Final = (
    "epoch_ms takes times and numbers; write epoch_ms(path::TIMESTAMP) for the milliseconds of a time, or"
    " epoch_ms(path::BIGINT) for the time at so many milliseconds"
)

_PLACES: Final[dict[str, tuple[Place, ...]]] = {
    name: places
    for names, places in {
        "bit_and bit_or bit_xor gcd greatest_common_divisor lcm least_common_multiple": (BIG,),
        "bin bit_count format_bytes formatreadabledecimalsize formatreadablesize sum_no_overflow to_base to_binary": (
            WHOLE,
        ),
        "chr factorial": (SMALL,),
        "epoch_ms": (EITHER,),
        "round round_even roundbankers trunc": (Kind.NUMBER, SMALL),
        "left left_grapheme repeat right right_grapheme substr substring substring_grapheme": (Kind.TEXT, WHOLE),
        "lpad rpad": (Kind.TEXT, SMALL, Kind.TEXT),
        "overlay split_part": (Kind.TEXT, Kind.TEXT, WHOLE),
        "equi_width_bins": (Kind.NUMBER, Kind.NUMBER, WHOLE, Kind.BOOL),
        "generate_subscripts": (Kind.LIST, WHOLE),
        "get_bit set_bit": (Kind.TEXT, SMALL),
        "make_date ntile": (WHOLE,),
        "make_time": (WHOLE, WHOLE, Kind.NUMBER),
        "make_timestamp": (WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, Kind.NUMBER),
        "make_timestamptz": (WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, Kind.NUMBER, Kind.TEXT),
        "to_milliseconds to_seconds": (Kind.NUMBER,),
        "date_part date_trunc datepart datetrunc": (Kind.TEXT, Kind.TIME),
        "date_diff date_sub datediff datesub": (Kind.TEXT, Kind.TIME),
        "date_add": (Kind.TIME, Kind.INTERVAL),
        "timezone": (Kind.TEXT, Kind.TIME),
        "time_bucket": (Kind.INTERVAL, Kind.TIME),
    }.items()
    for name in names.split()
}
"""What the arguments are, where they are not all alike; those behind the last are as the last is."""

_WITH_TIMES: Final = frozenset("add generate_series range subtract".split())
"""What takes times where it is given one."""

INTEGER_TYPES: Final = {BIG: exp.DType.INT128, SMALL: exp.DType.INT, WHOLE: exp.DType.BIGINT}

NUMERIC: Final = frozenset(
    """
    abs acos acosh add approx_quantile asin asinh atan atan2 atanh avg bar cbrt ceil ceiling corr cos cosh cot
    covar_pop covar_samp degrees divide even exp favg fdiv floor fmod fsum gamma geomean geometric_mean isfinite
    isinf isnan kahan_sum kurtosis kurtosis_pop lgamma ln log log10 log2 mad mean median mod multiply nextafter
    pow power product quantile quantile_cont quantile_disc radians regr_avgx regr_avgy regr_count regr_intercept
    regr_r2 regr_slope regr_sxx regr_sxy regr_syy reservoir_quantile sem sign signbit sin sinh skewness sqrt
    stddev stddev_pop stddev_samp subtract sum sumkahan tan tanh to_timestamp var_pop var_samp variance wavg
    weighted_avg
    """.split()
)
AVERAGES: Final = frozenset("avg mean median quantile_cont".split())  # DOUBLE of integers too, without a cast
INTEGER: Final = frozenset(
    """
    make_timestamp_ms make_timestamp_ns range generate_series to_centuries to_days to_decades to_hours
    to_microseconds to_millennia to_minutes to_months to_quarters to_weeks to_years xor
    """.split()
)
TEMPORAL: Final = frozenset(
    """
    age century date date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day
    dayname dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ns epoch_us era hour isodow isoyear
    julian last_day microsecond millennium millisecond minute month monthname nanosecond quarter second strftime
    time_bucket timezone timezone_hour timezone_minute week weekday weekofyear year yearweek
    """.split()
)
GIVES_TIME: Final = frozenset(
    """
    date date_add date_trunc datetrunc epoch_ms last_day make_date make_timestamp make_timestamp_ms
    make_timestamp_ns strptime time_bucket to_timestamp today try_strptime
    """.split()
)
GIVES_BOOL: Final = frozenset(
    """
    array_contains array_has bool_and bool_or contains ends_with isfinite isinf isnan signbit json_exists
    json_valid list_contains list_has list_has_all list_has_any prefix regexp_full_match regexp_matches
    starts_with suffix variant_exists
    """.split()
)
GIVES_NUMBER: Final = (NUMERIC - GIVES_TIME - GIVES_BOOL) | frozenset(
    """
    bit_and bit_count bit_or bit_xor factorial gcd greatest_common_divisor lcm least_common_multiple round
    round_even roundbankers sum_no_overflow trunc xor approx_count_distinct array_length ascii bit_length
    cardinality char_length character_length count count_if count_star countif cume_dist damerau_levenshtein
    date_diff date_part date_sub datediff datepart datesub day dayofmonth dayofweek dayofyear dense_rank
    editdist3 epoch epoch_ns epoch_us hamming hour instr isodow isoyear jaccard json_array_length len length
    levenshtein list_avg list_count list_position list_sum minute mismatches month ntile octet_length ord pi
    percent_rank position quarter random rank rank_dense row_number second strlen strpos unicode week weekday
    weekofyear year yearweek
    """.split()
)
GIVES_TEXT: Final = frozenset(
    """
    bin chr format_bytes formatreadabledecimalsize formatreadablesize left_grapheme right_grapheme
    substring_grapheme to_base to_binary array_to_string base64 concat concat_ws dayname format group_concat hex
    json_extract_path_text json_extract_string lcase left listagg lower lpad ltrim md5 monthname printf
    regexp_extract regexp_replace repeat replace reverse right rpad rtrim sha1 sha256 split_part strftime
    string_agg strip_accents substr substring to_base64 translate trim typeof ucase upper url_decode url_encode
    variant_typeof
    """.split()
)
CONDITION: Final = frozenset("bool_and bool_or count_if countif".split())
KEPT: Final = frozenset(
    """
    any_value arbitrary array_agg array_value count fill first first_value grouping grouping_id last lag
    last_value lead list list_pack list_value nth_value row struct_insert struct_pack try typeof
    variant_array_length variant_contains variant_exists variant_extract variant_extract_string variant_keys
    variant_typeof
    """.split()
)
GIVES_ARGUMENT: Final = frozenset(
    "any_value arbitrary fill first first_value lag last last_value lead nth_value try".split()
)
GIVES_ELEMENTS: Final = frozenset("array_agg array_value list list_pack list_value".split())
KEYED: Final = frozenset("approx_count_distinct approx_top_k entropy hash histogram histogram_exact mode".split())
STEPS: Final = frozenset("array_extract struct_extract struct_extract_at".split())
MAPS: Final = frozenset("histogram histogram_exact map".split())
LOOKUPS: Final = frozenset("element_at map_contains map_extract map_extract_value".split())
ORDERED: Final = {"max": "arg_max", "min": "arg_min"}
BY: Final = frozenset("arg_max arg_max_null arg_min arg_min_null argmax argmin max_by min_by".split())
ALIKE: Final = frozenset("coalesce greatest ifnull least".split())
GROUPINGS: Final = frozenset("grouping grouping_id".split())
LENGTHS: Final = frozenset("array_length cardinality len length".split())
NOW: Final = frozenset("get_current_timestamp now transaction_timestamp".split())
RESULTS: Final = (
    (GIVES_NUMBER, Kind.NUMBER),
    (GIVES_TEXT, Kind.TEXT),
    (GIVES_TIME, Kind.TIME),
    (GIVES_BOOL, Kind.BOOL),
)

_FORMATS: Final = {
    "printf": re.compile(r"%(?:%|[-+ #0,']*\d*(?:\.\d+)?(?:[hl]*)([a-zA-Z]))"),
    "format": re.compile(r"\{\{|\}\}|\{(\d*)(?::[^{}]*?([a-zA-Z,%])?)?\}"),
}
_OF_INTEGERS, _OF_NUMBERS = frozenset("bBcdiouxX"), frozenset("aAeEfFgG%,")


def place_of(name: str, place: int, kinds: Sequence[Kind], template: exp.Expr | None) -> Place | None:
    """What an argument is; None where all of the function are alike. ``template`` is the first of them."""
    if name in _FORMATS and template is not None and template.is_string:
        found = formatted(name, template.name)
        return found[place - 1] if 0 < place <= len(found) else Kind.TEXT
    if name == "strftime":
        return Kind.TIME if place == (1 if kinds[0] == Kind.TEXT else 0) else Kind.TEXT
    if name == "timezone" and len(kinds) == 1:
        return Kind.TIME
    if name == "make_date" and len(kinds) == 1:
        return SMALL
    if name in _WITH_TIMES and (Kind.TIME in kinds or Kind.INTERVAL in kinds):
        return Kind.INTERVAL if name in ("generate_series", "range") and place == 2 else Kind.TIME
    places = _PLACES.get(name)
    return places[min(place, len(places) - 1)] if places is not None else None


def formatted(name: str, template: str) -> list[Place]:
    """What the values are that a template of printf or format takes: by the letter at the end of each field."""
    found: dict[int, Place] = {}
    for field in _FORMATS[name].finditer(template):
        letter = field[field.lastindex or 0] if name == "printf" else field[2]
        if field[0] in ("%%", "{{", "}}"):
            continue
        at = int(field[1]) if name == "format" and field[1] else len(found)
        number = Kind.NUMBER if letter and letter in _OF_NUMBERS else Kind.TEXT
        found[at] = WHOLE if letter and letter in _OF_INTEGERS else number
    return [found.get(at, Kind.TEXT) for at in range(max(found, default=-1) + 1)]
