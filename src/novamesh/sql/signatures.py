"""What each function takes and gives, where it is not text.

A function that is in none of the tables takes text.
"""

from typing import Final

from novamesh.sql.paths import Kind

NUMERIC: Final = frozenset(
    """
    abs acos acosh add approx_quantile asin asinh atan atan2 atanh avg bar bin bit_and bit_count bit_or bit_xor
    cbrt ceil ceiling corr cos cosh cot covar_pop covar_samp degrees divide equi_width_bins even exp factorial
    favg fdiv floor fmod format_bytes formatreadabledecimalsize formatreadablesize fsum gamma gcd geomean
    geometric_mean greatest_common_divisor isinf isnan kahan_sum kurtosis kurtosis_pop lcm least_common_multiple
    lgamma ln log log10 log2 mad mean median mod multiply nextafter pow power product quantile quantile_cont
    quantile_disc radians regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy
    regr_syy reservoir_quantile round round_even roundbankers sem sign signbit sin sinh skewness sqrt stddev
    stddev_pop stddev_samp subtract sum sum_no_overflow sumkahan tan tanh to_base to_timestamp trunc var_pop
    var_samp variance wavg weighted_avg
    """.split()
)
AVERAGES: Final = frozenset("avg mean median quantile_cont".split())  # DOUBLE of integers too, without a cast
INTEGER: Final = frozenset(
    """
    chr epoch_ms make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns range generate_series
    to_centuries to_days to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months
    to_quarters to_seconds to_weeks to_years xor
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
GIVES_NUMBER: Final = (NUMERIC - GIVES_TIME) | frozenset(
    """
    approx_count_distinct array_length ascii bit_length cardinality char_length character_length count count_if
    count_star countif cume_dist damerau_levenshtein date_diff date_part date_sub datediff datepart datesub day
    dayofmonth dayofweek dayofyear dense_rank editdist3 epoch epoch_ns epoch_us hamming hour instr isodow
    isoyear jaccard json_array_length len length levenshtein list_avg list_count list_position list_sum minute
    mismatches month ntile octet_length ord pi percent_rank position quarter random rank rank_dense row_number
    second strlen strpos unicode week weekday weekofyear year yearweek
    """.split()
)
GIVES_TEXT: Final = frozenset(
    """
    array_to_string base64 concat concat_ws dayname format group_concat hex json_extract_path_text
    json_extract_string lcase left listagg lower lpad ltrim md5 monthname printf regexp_extract regexp_replace
    repeat replace reverse right rpad rtrim sha1 sha256 split_part strftime string_agg strip_accents substr
    substring to_base64 translate trim typeof ucase upper url_decode url_encode variant_typeof
    """.split()
)
GIVES_BOOL: Final = frozenset(
    """
    array_contains array_has bool_and bool_or contains ends_with isfinite isinf isnan json_exists json_valid
    list_contains list_has list_has_all list_has_any prefix regexp_full_match regexp_matches starts_with suffix
    variant_exists
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
