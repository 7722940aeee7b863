"""JSON shapes by the classes of nst/JSONTestSuite (RFC 8259), with samples of our own.

``y``: must be accepted, here as a property's value, and come back equal. ``n``: must be refused, both as a
value and as a whole body. ``i``: a parser may choose; the choice is written beside each sample.
Then any JSON, and any bytes at all.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from novamesh.errors import InvalidEvent, InvalidJson
from novamesh.event import accept_batch, accept_event, model

repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=200)

ACCEPTED = [
    # structure
    "null", "true", "false", "0", '""', "[]", "{}", "[ ]", "{ }",
    " 1 ", "\t1", "1\n", "\r\n1\r\n", "[[]]", "[{}]", "[[],[]]",
    '[""]', "[null]", "[null,1,\"1\",{}]", "[1\n,2]", " [1 , 2] ",
    "[1,null,null,2]", "[ 1]", "[false]", "[true]", "[\t]",
    # objects
    '{"a":1}', '{"":0}', '{"a":{}}', '{"a":[]}', '{"a":1,"b":2}',
    '{ "a" : 1 , "b" : 2 }', '{\n"a":\n1\n}', '{"a":1,"a":2}',
    '{"a":1,"a":1}', '{"a\\u0000b":1}', '{"\\u00e9":1}', '{"é":1}',
    '{"a":[{"b":[{}]}]}', '{"__proto__":1}', '{"a.b":1,"a/b":2}',
    '{"x":[{"id":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}],"id":"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"}',
    # numbers
    "1", "-1", "-0", "-0.0", "0.0", "0e1", "0e+1", "0E-1", "1e0", "1E5",
    "1e5", "1e+5", "1E+5", "1e-5", "1E-5", "12.5e3", "12.5E-3",
    "123", "-123", "123.456789", "1e10", "0.1", "-0.1", "1e-7",
    "0.0000000000000000000000000000000000000000000000000000001",
    "-0.0000000000000000000000000000000000000000000000000000001", "9007199254740993", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808",
    "18446744073709551615", "1.7976931348623157e308", "5e-324", "1e22",
    "1e23",
    "100000000000000000000.0", "123456789012345678901234567890e5", "3.141592653589793238462643383279",
    # strings
    '"a"', '" "', '"\\""', '"\\\\"', '"\\/"', '"\\b\\f\\n\\r\\t"',
    '"/"', '"\\u0041"', '"\\u00E9"', '"\\u00e9"', '"\\u20ac"',
    '"\\u0000"', '"\\u001f"', '"\\u007f"', '"\x7f"',
    '"\\ud83d\\ude00"', '"\\uD83D\\uDE00"',
    '"\\ud83d\\ude00\\ud83d\\ude01"',
    '"\\udbff\\udfff"', '"\\ud800\\udc00"', '"\\uffff"', '"\\ufffe"',
    '"\\ufdd0"', '"\\ud83f\\udffe"', '"\\u2028\\u2029"',
    '"\u2028\u2029"', '"\u00a0"', '"\ufeff"', '"\\ufeff"', '"\\u200b"',
    '"é"', '"€"', '"😀"', '"日本語"', '"\uffff"', '"\U0010ffff"',
    '"\U0001fffe"', '"\ue000"', '"a\\\\n"', '"\\\\u0041"', '"\\\\\\""',
    '"\\\\ud800"', '"\\u0022"', '"\\u005c"', '"\\u0060\\u012a"',
    '"new\\nline"', '"// not a comment"', '"/* nor this */"',
    '"[1,2"', '"{\\"a\\":1}"', '"\'"', '"%00"', '"\\u0061\\u30af"',
]  # fmt: skip

REFUSED = [
    # structure
    "", " ", "[", "]", "{", "}", "[]]", "{}}", "[[]", "{{}", "[}", "{]",
    "[{]}", "[1", "[1,", "[,", '{"a"', '{"a":', '{"a":1', '{"a":1,',
    '["', '["a', "[1,]", "[,1]", "[1,,2]", "[,]", "[1,,]", "[1 2]",
    "[1:2]", "[1;2]", "[1}", "[x", "[x]", '["a" "b"]', '["a"', '["a",',
    "[1]x", "[1],", "[][]", "1 2", "1,2", "[*]", "[<1>]", "<null>",
    "[\f]", "[\v]", "[\u00a0]", "\u20601", "\u00a01", "[\u2028]",
    "[\\n]", "\\n1", "#", "1#", "1//c", "1/*c*/", "/*c*/1", "//c\n1",
    "[1/**/]", "[1]//", "{}#{", "[\x00]", "1\x00", "\x00", "*",
    "(1)", "$", "@", "_", "a", "=", "[a:1]", "[{]", "{[", '{"a":}', "[\x1b]",
    "å", '{"a":"b"}/', '{"a":"b"}//', "[1\x01]", "`1`", "\u2028",
    # literals
    "nul", "nulL", "NULL", "Null", "tru", "truE", "True", "TRUE", "fals",
    "False", "FALSE", "truth", "nullx", "undefined", "None", "nil",
    "yes", "[nul]", "[tru]", "[fals]", "NaN", "-NaN", "nan", "Infinity",
    "-Infinity", "+Infinity", "Inf", "-Inf", "infinity", "[NaN]",
    # numbers
    "01", "-01", "00", "-00", "012", "-012", "0.", "-0.", "1.", "-1.", ".1",
    "-.1", ".", "-", "+", "--1", "+1", "++1", "-+1", "+-1", "- 1",
    "1-", "1+", "1-1", "1+2", "-a", "-1a", "1a", "1x", "e1", ".e1", "1e",
    "1E", "1e+", "1e-", "1.e1", "1.e", "1.0e", "1.0e+", "1.0e-",
    "0e", "0E", "0e+", "0E+", "0.e1", "0.1.2", "1.2.3", "1e1.5", "1ee2",
    "1eE2", "1e++1", "1e+-1", "1e1e1", "0x1", "0X1F", "0x", "0b1",
    "0o7", "1_000", "1 000", "1,000", "1'000", "1d", "1f", "1L", "1n",
    "0.1f", "1.5d", "1e1x", "１", "٣", "1e１", "½", "∞", "2.e+3", "2.e3",
    "9.e+", "1\u00a0", "-\u20601", "1e5\u00a0", "0.3e", "0.3e+", "-1.",
    "-2.", "[1.]", "[01]", "[-]", "[1e]", "[.5]", "[+1]", "[0x1]",
    # strings
    '"', '"a', '"\\', '"\\"', '"\\\\\\"', '"\\u', '"\\u0', '"\\u00',
    '"\\u004', '"\\u"', '"\\u0"', '"\\u00"', '"\\u004"', '"\\u00g0"',
    '"\\u 041"', '"\\U0041"', '"\\x41"', '"\\x"', '"\\a"', '"\\v"', '"\\0"',
    '"\\1"', '"\\\'"', '"\\ "', '"\\é"', '"\\😀"', '"\\N"', '"\\e"',
    '"\\(a)"', '"\\\n"', '"\\\t"', '"\\\x00"', '"a\nb"', '"a\rb"',
    '"a\tb"', '"\x00"', '"\x01"', '"\x1f"', '"\x08"', '"\x0b"', "'a'",
    "'", "a\"", '"a"b', '"a""b"', '"a" b', "\u201ca\u201d", '"""a"""',
    '["a\\"]', '["\\u00A"]', '["\\ud800\\"]', '"\\u{41}"', "\\u0041", '"a"\\',
    # lone surrogates
    '"\\ud800"', '"\\udbff"', '"\\udc00"', '"\\udfff"', '"\\uDc00"',
    '"\\ud800a"', '"\\ud800\\n"', '"\\ud800\\u"', '"\\ud800\\u1"',
    '"\\ud800\\u0041"', '"\\ud800\\ud800"', '"\\ud800\\ud800\\udc00"',
    '"\\udc00\\ud800"', '"\\ud83d\\ude00\\ud83d"', '"a\\ud83d"', '"\\\\\\ud800"',
    '["\\ud800",1]', '{"\\ud800":1}', '{"\\udc00":1}', '"\\uD800\\uD800\\n"', '"\\ud800\\\\udc00"',
    # objects
    "{a:1}", "{'a':1}", "{1:1}", "{1.5:1}", "{null:1}", "{true:1}", "{[]:1}",
    "{{}:1}", '{"a"}', '{"a",1}', '{"a" 1}', '{"a"=1}', '{"a"=>1}',
    '{"a"::1}', '{"a":1:2}', '{:1}', '{"a":1,}', '{,"a":1}',
    '{"a":1,,"b":2}', '{"a":1;"b":2}', '{"a":1 "b":2}', '{"a":1 "b"}',
    '{"a":1}}',
    '{"a":1]', "{,}", '{"a":1,"b"}', '{"a":1,"b":}', '{"a":1,b:2}',
    '{"a":1}x', '{"a":1},', '{"a":1}{"b":2}', '{"a" "b"}', '{"a":1,"b',
    '{"a":/*c*/1}', "{*}", '{"a":a}', '{"a":\'a\'}', "{'a'}", '{"a":"b",,,}',
    '{"a":[}', '{"a":{]', '{"a\nb":1}', "{\U0001f600:1}", '{"a":1 //c\n}',
]  # fmt: skip

REFUSED_BYTES = [
    b'"\xff"', b'"\xfe"', b'"\x80"', b'"\xbf"', b'"\xc3"', b'"\xe2\x82"',
    b'"\xf0\x9f\x98"', b'"\xc0\x80"', b'"\xc0\xaf"', b'"\xc1\xbf"',
    b'"\xe0\x80\x80"', b'"\xe0\x80\xaf"', b'"\xf0\x80\x80\x80"',
    b'"\xfc\x80\x80\x80\x80\x80"', b'"\xf4\x90\x80\x80"',
    b'"\xf8\x88\x80\x80\x80"',
    b'"\xed\xa0\x80"', b'"\xed\xbf\xbf"', b'"\xed\xa0\xbd\xed\xb8\x80"',
    b'"\xe9"', b'"a\xffb"', b"\xff", b"1\xe5", b"-\xe5", b"0\xe5",
    b"1e\xe5", b"[\xe9]", b'{"\xe9":1}', b'{"a":"\xe9"}', b'"\\\xe5"', b'"\\u\xe5"', b"[1e1\xe5]",
    b"\xef\xbb\xbf", b"\xef\xbb\xbf1", b"\xef\xbb", b"\xff\xfe1\x00",
    b"\xfe\xff\x001", b"[\xef\xbb\xbf]", b"1\x00", b"\x001", b"1\x00\x00\x00",
]  # fmt: skip

CHOSEN = {
    # numbers: never rounded to infinity, never an integer rounded
    "1e400": False,
    "-1e400": False,
    "1e99999999999999999999": False,
    "-1e99999999999999999999": False,
    "1.8e308": False,
    "0.4e00669999999999999999999999999999999999999999999999999999999999999999999999999969999999006": False,
    "9" * 400 + ".5": False,
    "18446744073709551616": False,
    "-9223372036854775809": False,
    "100000000000000000000": False,
    "-123123123123123123123123123123": False,
    "1" * 5000: False,
    # a double keeps what it can of a fraction, as in every JSON parser
    "1e-400": True,
    "-1e-400": True,
    "123e-10000000": True,
    "1.00000000000000000000000000000000001": True,
    "100000000000000000000.0": True,
    # 32 levels with the properties themselves
    "[" * 31 + "]" * 31: True,
    "[" * 32 + "]" * 32: False,
    '{"a":' * 31 + "1" + "}" * 31: True,
    '{"a":' * 32 + "1" + "}" * 32: False,
    "[" * 500 + "]" * 500: False,
    "[" * 100_000 + "]" * 100_000: False,
    '[{"a":' * 50_000 + "1" + "}]" * 50_000: False,
}

NOT_CLOSED = ["[" * 100_000, '[{"":' * 50_000, "[" * 1000, '{"a":' * 10_000 + '"', "[" * 70 + "1" + "]" * 69 + "x"]


def test_there_are_enough_shapes() -> None:
    assert len(set(ACCEPTED)) >= 80
    assert len(set(REFUSED)) + len(set(REFUSED_BYTES)) >= 150


def as_value(shape: bytes) -> bytes:
    return b'{"event":"a","properties":{"v":' + shape + b"}}"


def same(left: object, right: object) -> bool:
    """Equal, of equal types all the way down, and with the sign of zero."""
    return repr(left) == repr(right)


@pytest.mark.parametrize("shape", ACCEPTED)
def test_accepted_as_a_value_and_returned_equal(shape: str) -> None:
    [event] = json.loads(accept_event(as_value(shape.encode())).events)
    expected = 0 if shape == "-0" else json.loads(shape)
    assert same(event["properties"]["v"], expected)


@pytest.mark.parametrize("shape", ACCEPTED)
def test_accepted_as_bytes_of_a_whole_batch(shape: str) -> None:
    value = as_value(shape.encode())
    once = accept_event(value).events
    # The last event's bare date sends the whole batch the exact way.
    accepted = accept_batch(b'{"events":[' + value + b',{"event":"b","timestamp":"2026-01-01"}]}')
    assert accepted.events.startswith(once[:-1])


@pytest.mark.parametrize("shape", [*map(str.encode, REFUSED), *REFUSED_BYTES, *map(str.encode, NOT_CLOSED)])
def test_refused_everywhere(shape: bytes) -> None:
    with pytest.raises((InvalidJson, InvalidEvent)):
        accept_event(shape)
    with pytest.raises((InvalidJson, InvalidEvent)):
        accept_batch(shape, partial=True)
    with pytest.raises((InvalidJson, InvalidEvent)):
        accept_event(as_value(shape))
    with pytest.raises((InvalidJson, InvalidEvent)):
        # With a good event beside it: what is not JSON is refused as a whole.
        accept_batch(b'{"events":[{"event":"b"},' + as_value(shape) + b"]}", partial=True)


@pytest.mark.parametrize("shape", [*map(str.encode, REFUSED), *REFUSED_BYTES])
def test_refused_as_json_where_an_event_is_at_fault_too(shape: bytes) -> None:
    with pytest.raises(InvalidJson):
        accept_batch(b'{"events":[{"event":1},' + as_value(shape) + b"]}")


@pytest.mark.parametrize(("shape", "accepted"), CHOSEN.items(), ids=lambda value: str(value)[:30])
def test_our_choice(shape: str, accepted: bool) -> None:
    body = as_value(shape.encode())
    if accepted:
        [event] = json.loads(accept_event(body).events)
        assert same(event["properties"]["v"], json.loads(shape))
    else:
        with pytest.raises(InvalidEvent) as caught:
            accept_event(body)
        assert caught.value.details[0].pointer.startswith("/properties")
        assert "send " in caught.value.message


# ---- any input at all -------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """JSON objects of up to 32 levels: a bushy value inside a deep, narrow one."""
    value = draw(values)
    room = 31 - depth_of(value)
    for is_array in draw(st.lists(st.booleans(), max_size=max(0, room))):
        value = [value] if is_array else {draw(keys): value}
    return {draw(keys): value, **draw(st.dictionaries(keys, scalars, max_size=3))}


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@repeatable
@given(objects(), objects(), st.booleans())
def test_any_json_object_comes_back_equal(properties: dict[str, Any], context: dict[str, Any], ascii: bool) -> None:
    event = {"event": "a", "properties": properties, "context": context}
    text = json.dumps(event, ensure_ascii=ascii).encode()
    accepted = accept_event(text)
    assert repr(json.loads(accepted.events)) == repr([event])
    exact = accept_batch(b'{"events":[' + text + b',{"event":"b","timestamp":"2026-01-01"}]}')
    assert exact.events.startswith(accepted.events[:-1])


@repeatable
@given(values)
@example("[{")
def test_depth_is_told_exactly(value: Any) -> None:
    raw, depth = json.dumps(value).encode(), depth_of(value)
    assert not model.deeper_than(raw, depth)
    assert depth == 0 or model.deeper_than(raw, depth - 1)


PIECES = [
    "{", "}", "[", "]", ",", ":", '"', "\\", '"event":"a"', '"events":[', '"properties":{', '"context":{', '"timestamp":', '"id":', "null",
    "true", "1", "-", ".", "e", "0", "1e400", "1" * 30, "1" * 5000, "\\ud800", "\\udc00", "\\u0041", '"a"', " ", "NaN", "\x00", "é", "\ufeff",
    "[" * 40, "]" * 40, "[" * 1500, "]" * 1500, '{"a":' * 1100, "}" * 1100,
]  # fmt: skip


def only_bad_requests(text: bytes) -> Iterator[str]:
    """Messages of the refusals of ``text``. Any other exception is a failure of the test."""
    for one in (True, False):
        try:
            accepted = accept_event(text) if one else accept_batch(text, partial=True)
        except (InvalidJson, InvalidEvent) as error:
            yield error.message
            yield from (detail.message + detail.pointer for detail in error.details)
        else:
            msgspec.json.decode(accepted.events)


@repeatable
@given(
    st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=30).map(lambda parts: "".join(parts).encode())
)
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"events":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
@example(b"1" * 100_000)
@example(b'{"event":"' + b"\\" * 100_001)
@example(b'{"event":"' + b"\\ud800" * 50_000 + b'"}')
@example(b'{"event":"a","properties":' + b"]" * 5000)
@example(b"]" * 1000 + b"[" * 3000)
def test_any_bytes_are_accepted_or_a_bad_request(text: bytes) -> None:
    for message in only_bad_requests(text):
        assert len(message) < 300


@repeatable
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_value_is_accepted_or_a_bad_request(inner: str) -> None:
    text = f'{{"event":"a","properties":{{"v":{inner}}},"timestamp":"2026-01-01"}}'
    for message in only_bad_requests(text.encode()):
        assert len(message) < 300
    for message in only_bad_requests(f'{{"events":[{text},{{"event":"b"}}]}}'.encode()):
        assert len(message) < 300


@repeatable
@given(st.dictionaries(st.text(max_size=300), st.text(max_size=300), max_size=4))
def test_refusals_repeat_little_of_what_was_sent(fields: dict[str, str]) -> None:
    try:
        text = json.dumps({"timestamp": "x" * 5000, **fields}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        text = json.dumps({"timestamp": "x" * 5000, **fields}).encode()
    for message in only_bad_requests(text):
        assert len(message) < 300
