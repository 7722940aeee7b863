"""What is accepted, in which form it leaves, and what every refusal says."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novamesh.errors import Detail, InvalidEvent, InvalidJson
from novamesh.event import Accepted, accept, accept_batch, accept_event

repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=200)


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def batch(*events: Any, **fields: Any) -> bytes:
    return body(events=list(events), **fields)


def events_of(accepted: Accepted) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(accepted.events)
    assert accepted.count == len(events)
    return events


def refused(text: bytes, *, one: bool = True, partial: bool = False) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        accept_event(text) if one else accept_batch(text, partial=partial)
    error = caught.value
    assert error.status == 400
    assert error.details
    assert all(detail.message.endswith((".", "?")) for detail in error.details)
    return error


def faults(error: InvalidEvent) -> dict[str, str]:
    return {detail.pointer: detail.message for detail in error.details}


# ---- one event --------------------------------------------------------------------------------------------


def test_an_event_keeps_all_it_holds_in_canonical_order() -> None:
    text = body(
        context={"sdk": "js"},
        id="e1",
        timestamp="2026-01-01T01:00:00+01:00",
        user_id="u",
        properties={"page": "/", "n": 1, "x": 1.5, "l": [None, True]},
        event="a",
    )
    assert accept_event(text) == Accepted(
        b'[{"event":"a","properties":{"page":"/","n":1,"x":1.5,"l":[null,true]},"user_id":"u",'
        b'"timestamp":"2026-01-01T00:00:00Z","id":"e1","context":{"sdk":"js"}}]',
        1,
    )


def test_absent_and_null_fields_are_left_out_and_empty_ones_kept() -> None:
    nulls = dict.fromkeys(("properties", "user_id", "timestamp", "id", "context"))
    assert accept_event(body(event="a")).events == b'[{"event":"a"}]'
    assert accept_event(body(event="a", **nulls)).events == b'[{"event":"a"}]'
    kept = accept_event(body(event="a", properties={}, user_id="", context={})).events
    assert kept == b'[{"event":"a","properties":{},"user_id":"","context":{}}]'


@pytest.mark.parametrize("name", ["a", "é" * 200, "😀" * 200, " padded ", "\u0000", "x" * 200])
def test_names_of_1_to_200_characters(name: str) -> None:
    for text in (body(event=name, id=name), json.dumps({"event": name, "id": name}, ensure_ascii=True).encode()):
        assert events_of(accept_event(text)) == [{"event": name, "id": name}]


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "must not be blank"),
        (" \t\n\u00a0\u2003", "must not be blank"),
        ("x" * 201, "at most 200 characters, not 201"),
        ("😀" * 201, "at most 200 characters, not 201"),
        (5, "must be a string, not a number"),
        (1.5, "must be a string, not a number"),
        (True, "must be a string, not a boolean"),
        ([], "must be a string, not an array"),
        ({}, "must be a string, not an object"),
    ],
)
def test_names_refused(field: str, value: Any, message: str) -> None:
    error = refused(body(**{"event": "a", field: value}))
    assert [detail.pointer for detail in error.details] == [f"/{field}"]
    assert f"`{field}`" in error.message
    assert message in error.message


@pytest.mark.parametrize("text", [b"{}", b'{"event":null}', b'{"properties":{}}'])
def test_event_is_required(text: bytes) -> None:
    assert "`event` is required" in faults(refused(text))["/event"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("properties", [], "`properties` must be an object, not an array."),
        ("properties", "{}", "`properties` must be an object, not a string."),
        ("context", False, "`context` must be an object, not a boolean."),
        ("user_id", 5, "`user_id` must be a string, not a number."),
        ("timestamp", 1767225600, "`timestamp` must be a string such as 2026-01-31T13:45:00Z, not a number."),
        ("timestamp", {}, "`timestamp` must be a string such as 2026-01-31T13:45:00Z, not an object."),
    ],
)
def test_types_refused(field: str, value: Any, message: str) -> None:
    assert faults(refused(body(**{"event": "a", field: value}))) == {f"/{field}": message}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T10:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31 10:00:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31T10:00:00+02", "2026-01-31T08:00:00Z"),
        ("2026-01-31T10:00:00-0530", "2026-01-31T15:30:00Z"),
        ("2026-01-31T10:00:00.123456789Z", "2026-01-31T10:00:00.123457Z"),
    ],
)
def test_times_leave_in_utc(sent: str, kept: str) -> None:
    event = {"event": "a", "timestamp": sent}
    assert events_of(accept_event(body(**event))) == [{"event": "a", "timestamp": kept}]
    mixed = events_of(accept_batch(batch(event, {"event": "b"}, {"event": "c", "timestamp": "2026-01-01T00:00:00Z"})))
    assert [item.get("timestamp") for item in mixed] == [kept, None, "2026-01-01T00:00:00Z"]


@pytest.mark.parametrize(
    "time", ["2026-01-31T13:45:00\0x", "", "yesterday", "2026-02-30", "1969-12-31T23:59:59Z", "2101-01-01", "9" * 500]
)
def test_times_refused_with_the_form_to_send(time: str) -> None:
    message = faults(refused(body(event="a", timestamp=time)))["/timestamp"]
    assert "such as 2026-01-31T13:45:00Z" in message
    assert len(message) < 220


@pytest.mark.parametrize(
    ("sent", "near"),
    [
        ("userId", "user_id"), ("user-id", "user_id"), ("USER_ID", "user_id"), ("uid", "user_id"), ("distinct_id", "user_id"),
        ("propertys", "properties"), ("Properties", "properties"), ("props", "properties"), ("data", "properties"),
        ("timeStamp", "timestamp"), ("time", "timestamp"), ("createdAt", "timestamp"), ("Event", "event"), ("eventName", "event"),
        ("name", "event"), ("type", "event"), ("messageId", "id"), ("event_id", "id"), ("_id", "id"), ("contexts", "context"),
    ],
)  # fmt: skip
def test_an_unknown_field_is_named_with_the_nearest_known_one(sent: str, near: str) -> None:
    found = faults(refused(body(event="a", **{sent: 1})))
    assert found == {f"/{sent}": f"`{sent}` is not a known field: did you mean `{near}`?"}


def test_an_unknown_field_without_a_near_one_belongs_into_properties() -> None:
    assert faults(refused(body(event="a", plan="pro"))) == {
        "/plan": "`plan` is not a known field: put it inside `properties`."
    }
    assert "POST /v1/batch" in faults(refused(batch({"event": "a"})))["/events"]


def test_every_fault_of_an_event_is_listed() -> None:
    error = refused(body(event=" ", properties=1, user_id=2, timestamp="x", id="", context=3, userId=4))
    assert list(faults(error)) == ["/event", "/properties", "/user_id", "/timestamp", "/id", "/context", "/userId"]
    assert error.message == error.details[0].message
    assert all(detail.index is None for detail in error.details)


@pytest.mark.parametrize("text", [b"[]", b'[{"event":"a"}]', b"1", b'"a"', b"null", b"true", b"1e400", b"1" * 5000])
def test_a_body_that_is_no_object(text: bytes) -> None:
    assert faults(refused(text)).keys() == {""}
    assert faults(refused(text, one=False)).keys() == {""}


# ---- numbers, depth, keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -(2**63), 2**63 - 1, 2**63, 2**64 - 1, 2**53 + 1, 1e308, -1.5e-300])
def test_numbers_come_back_exactly(number: float) -> None:
    for field in ("properties", "context"):
        [event] = events_of(accept_event(body(event="a", **{field: {"n": [number]}})))
        assert event[field] == {"n": [number]}


@pytest.mark.parametrize("number", [str(2**64), str(-(2**63) - 1), "1e400", "-1e309", "1" * 400, "1" * 5000])
@pytest.mark.parametrize("field", ["properties", "context"])
def test_numbers_that_cannot_be_kept_are_refused(number: str, field: str) -> None:
    text = f'{{"event":"a","{field}":{{"a":[1,{{"b/c~":{number}}}],"s":"{2**70}"}}}}'.encode()
    found = faults(refused(text))
    assert found.keys() == {f"/{field}/a/1/b~1c~0"}
    assert "send it as a string" in found[f"/{field}/a/1/b~1c~0"]
    in_batch = refused(b'{"events":[{"event":"a"},' + text + b"]}", one=False)
    assert faults(in_batch).keys() == {f"/events/1/{field}/a/1/b~1c~0"}


@pytest.mark.parametrize("text", [str(2**70), f"-{2**70}", f"1e-{2**70}", f"{2**70}.5", f'\\"{2**70}'])
def test_digits_in_strings_and_fractions_are_no_large_integers(text: str) -> None:
    quoted = f'{{"event":"a","timestamp":"2026-01-01","properties":{{"a":"{text}","{text}":{2**63}}}}}'
    assert accept_event(quoted.encode()).count == 1
    plain = f'{{"event":"a","properties":{{"a":{2**63},"b":{2**70}.5,"c":1e-{2**65},"d":{2**70}e3}}}}'
    assert events_of(accept_event(plain.encode()))[0]["properties"]["b"] == 2.0**70


def test_a_number_in_a_large_object_is_named_by_its_field() -> None:
    text = f'{{"event":"a","properties":{{"s":"{"x" * 300_000}","n":{2**64}}}}}'.encode()
    assert faults(refused(text)).keys() == {"/properties"}


def test_a_number_under_a_key_that_comes_again_is_named_by_its_field() -> None:
    text = f'{{"event":"a","properties":{{"n":{2**64},"n":1}}}}'.encode()
    assert faults(refused(text)).keys() == {"/properties"}


def test_a_long_key_does_not_make_a_long_pointer() -> None:
    text = f'{{"event":"a","properties":{{"a":{{"{"k" * 500}":{2**64}}}}}}}'.encode()
    assert faults(refused(text)).keys() == {"/properties/a"}
    found = faults(refused(body(event="a", **{"k" * 5000: 1})))
    assert found.keys() == {""}
    assert len(found[""]) < 120


@pytest.mark.parametrize("field", ["properties", "context"])
@pytest.mark.parametrize("levels", [1, 7, 8, 9, 10, 31, 32])
@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_nesting_up_to_32_levels(field: str, levels: int, opening: str, closing: str) -> None:
    value = '{"v":' + opening * (levels - 1) + '"]}"' + closing * (levels - 1) + "}"
    text = f'{{"event":"a","{field}":{value}}}'.encode()
    assert accept_event(text).events == b"[" + text + b"]"


@pytest.mark.parametrize("field", ["properties", "context"])
@pytest.mark.parametrize("levels", [33, 34, 64, 65, 66, 128, 200, 900, 1000, 1001, 3000, 60_000])
@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_nesting_beyond_32_levels(field: str, levels: int, opening: str, closing: str) -> None:
    value = '{"v":' + opening * (levels - 1) + '"]}"' + closing * (levels - 1) + "}"
    text = f'{{"event":"a","{field}":{value}}}'.encode()
    assert f"`{field}` may be nested at most 32 levels" in faults(refused(text))[f"/{field}"]
    mixed = b'{"events":[{"event":"b"},' + text + b',{"event":"c"},' + text + b',{"event":""}]}'
    error = refused(mixed, one=False)
    assert faults(error).keys() == {f"/events/1/{field}", f"/events/3/{field}", "/events/4/event"}
    accepted = accept_batch(mixed, partial=True)
    assert accepted.events == b'[{"event":"b"},{"event":"c"}]'
    assert accepted.rejected == error.details


@pytest.mark.parametrize("inner", ["tru", "1,", '"', "[}", '"\\ud800"', "]", "[,]", "{,}"])
@pytest.mark.parametrize("levels", [100, 3000])
def test_what_is_not_json_is_found_at_any_depth(inner: str, levels: int) -> None:
    text = ('{"event":"a","properties":{"a":' + "[" * levels + inner + "]" * levels + "}}").encode()
    for call in (accept_event, accept_batch):
        with pytest.raises(InvalidJson):
            call(text)


def test_a_huge_deep_body_is_refused_at_once() -> None:
    text = b'{"events":[' + b"[" * 300_000 + b"]" * 300_000 + b"]}"
    assert "nested too deeply" in refused(text, one=False).message


def test_of_equal_keys_the_last_wins() -> None:
    text = b'{"event":"a","event":"b","properties":{"x":1},"properties":{"k":1,"k":2}}'
    assert accept_event(text).events == b'[{"event":"b","properties":{"k":2}}]'
    exact = b'{"event":1,"event":"b","timestamp":5,"timestamp":"2026-01-01"}'
    assert accept_event(exact).events == b'[{"event":"b","timestamp":"2026-01-01T00:00:00Z"}]'
    twice = b'{"events":5,"context":[],"events":[{"event":"a"}],"context":{"k":1}}'
    assert accept_batch(twice).events == b'[{"event":"a","context":{"k":1}}]'


# ---- batches ----------------------------------------------------------------------------------------------


def test_a_batch_gives_its_events_in_order() -> None:
    many = [{"event": f"e{number}", "properties": {"n": number}} for number in range(500)]
    assert events_of(accept_batch(batch(*many))) == many


def test_own_context_wins_over_the_shared_one_key_by_key() -> None:
    own = {"event": "b", "context": {"k": {"y": 2}, "own": 1}}
    text = batch({"event": "a"}, own, {"event": "c", "context": {}}, context={"k": {"x": 1}, "z": 0})
    assert [event["context"] for event in events_of(accept_batch(text))] == [
        {"k": {"x": 1}, "z": 0},
        {"k": {"y": 2}, "z": 0, "own": 1},
        {"k": {"x": 1}, "z": 0},
    ]


@pytest.mark.parametrize("shared", [None, {}])
def test_an_empty_shared_context_adds_nothing(shared: Any) -> None:
    text = batch({"event": "a"}, {"event": "b", "context": {"k": 1}}, context=shared)
    assert accept_batch(text).events == b'[{"event":"a"},{"event":"b","context":{"k":1}}]'


@pytest.mark.parametrize("when", ["2026-01-01T00:00:00Z", "2026-01-01"])
def test_a_shared_context_is_bounded(when: str) -> None:
    room = 64 * 1024 - len('{"k":""}')
    event = {"event": "a", "timestamp": when}
    assert accept_batch(batch(event, context={"k": "x" * room})).count == 1
    error = refused(batch(event, context={"k": "x" * (room + 1)}), one=False)
    assert "at most 65,536 bytes" in faults(error)["/context"]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        (b"{}", "/events", "`events` is required"),
        (b'{"events":null}', "/events", "`events` is required"),
        (b'{"events":[]}', "/events", "`events` is empty"),
        (b'{"events":{}}', "/events", "`events` must be an array of 1 to 500 events, not an object"),
        (batch(*[{"event": "a"}] * 501), "/events", "`events` holds 501 events: split it"),
        (batch({"event": "a"}, context=[]), "/context", "`context` must be an object, not an array"),
        (batch({"event": "a"}, context="x"), "/context", "`context` must be an object, not a string"),
        (b'{"events":[{"event":"a"}],"context":{"n":[1e999]}}', "/context/n/0", "send it as a string"),
        (batch({"event": "a"}, event="b"), "/event", "did you mean `events`?"),
        (batch({"event": "a"}, Context={}), "/Context", "did you mean `context`?"),
        (body(batch=[]), "/batch", "did you mean `events`?"),
        (batch({"event": "a"}, sent_at="x"), "/sent_at", "a batch has only `events` and `context`"),
        (b"[]", "", 'must be an object with the array "events", not an array'),
    ],
)
def test_a_fault_of_the_batch_itself(text: bytes, pointer: str, message: str, partial: bool) -> None:
    error = refused(text, one=False, partial=partial)
    assert message in faults(error)[pointer]
    assert all(detail.index is None for detail in error.details)


BAD_EVENTS = [
    ({}, "/event"),
    ({"event": ""}, "/event"),
    ({"event": " "}, "/event"),
    ({"event": "x" * 201}, "/event"),
    ({"event": 1}, "/event"),
    ({"event": "a", "properties": []}, "/properties"),
    ({"event": "a", "properties": {"n": 2**64}}, "/properties/n"),
    ({"event": "a", "user_id": 1}, "/user_id"),
    ({"event": "a", "timestamp": "1900-01-01T00:00:00Z"}, "/timestamp"),
    ({"event": "a", "timestamp": "1900-01-01T00:00:00+01:00"}, "/timestamp"),
    ({"event": "a", "timestamp": "x"}, "/timestamp"),
    ({"event": "a", "id": " "}, "/id"),
    ({"event": "a", "context": 0}, "/context"),
    ({"event": "a", "userId": 0}, "/userId"),
    ([], ""),
    (None, ""),
    ("a", ""),
    (5, ""),
]


@pytest.mark.parametrize(("bad", "pointer"), BAD_EVENTS)
def test_one_bad_event_refuses_the_batch_and_is_told_by_its_place(bad: Any, pointer: str) -> None:
    error = refused(batch(*[{"event": "ok"}] * 3, bad, {"event": "ok"}), one=False)
    [detail] = error.details
    assert (detail.pointer, detail.index) == (f"/events/3{pointer}", 3)
    assert error.message == "1 of 5 events is not valid: correct what `details` lists and send the batch again."


def test_every_bad_event_is_listed() -> None:
    bad = [event for event, _ in BAD_EVENTS]
    error = refused(batch({"event": "ok"}, *bad, {"event": "ok"}), one=False)
    expected = [(f"/events/{index}{pointer}", index) for index, (_, pointer) in enumerate(BAD_EVENTS, 1)]
    assert [(detail.pointer, detail.index) for detail in error.details] == expected
    assert error.message.startswith(f"{len(bad)} of {len(bad) + 2} events are not valid")
    answer = json.loads(error.body())
    assert answer["error"] == "invalid_event"
    assert answer["details"][0] == {"index": 1, "pointer": "/events/1/event", "message": error.details[0].message}


def test_faults_of_batch_and_events_are_listed_together() -> None:
    error = refused(batch({"event": ""}, context=1, foo=2), one=False)
    assert list(faults(error)) == ["/context", "/foo", "/events/0/event"]
    assert error.details[2].index == 0


def test_500_bad_events_are_500_details() -> None:
    error = refused(batch(*[{"event": ""}] * 500), one=False)
    assert [detail.index for detail in error.details] == list(range(500))


def test_the_list_of_unknown_fields_is_short() -> None:
    assert len(refused(body(event="a", **{f"x{n}": n for n in range(1000)})).details) == 5


def test_partial_keeps_the_good_ones() -> None:
    good = [{"event": "a", "timestamp": "2026-01-01"}, {"event": "b", "context": {"k": 2}}]
    accepted = accept_batch(batch(good[0], {"event": ""}, good[1], {"userId": 1}, context={"k": 1}), partial=True)
    assert events_of(accepted) == [
        {"event": "a", "timestamp": "2026-01-01T00:00:00Z", "context": {"k": 1}},
        {"event": "b", "context": {"k": 2}},
    ]
    assert accepted.rejected == (
        Detail("/events/1/event", "`event` must not be blank.", 1),
        Detail("/events/3/event", "`event` is required: send the event's name, a string of 1 to 200 characters.", 3),
        Detail("/events/3/userId", "`userId` is not a known field: did you mean `user_id`?", 3),
    )


def test_partial_with_no_good_event_is_refused() -> None:
    error = refused(batch({"event": ""}, 5), one=False, partial=True)
    assert [detail.index for detail in error.details] == [0, 1]


def test_partial_with_good_events_only_rejects_nothing() -> None:
    text = batch({"event": "a"}, {"event": "b"})
    assert accept_batch(text, partial=True) == accept_batch(text)
    assert accept_batch(text).rejected == ()


# ---- what is not JSON -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "The body is empty: send a JSON object."),
        (b" \r\n\t", "The body is empty: send a JSON object."),
        (b'\xef\xbb\xbf{"event":"a"}', "Remove the byte order mark at the start of the body and send the JSON as UTF-8."),
        ('{"event":"a"}'.encode("utf-16"), "Remove the byte order mark at the start of the body and send the JSON as UTF-8."),
        (b'{"event":"\xff"}', "Encode the body as UTF-8: byte 10 is not valid UTF-8."),
        (b'{"event":"\xed\xa0\x80"}', "Encode the body as UTF-8: byte 10 is not valid UTF-8."),
        (b'{"event":"a"', "The body ends before its JSON does, after 12 bytes: send all of it."),
        (b'{"event":"\\ud83d\\ude00', "The body ends before its JSON does, after 22 bytes: send all of it."),
        (b'{"event":"a",}', "Correct the JSON of the body: trailing comma in object at byte 13."),
        (b'{"event":"a"}}', "Correct the JSON of the body: trailing characters at byte 14."),
        (b"{'event':'a'}", "Correct the JSON of the body: expected '\"' at byte 1."),
        (b'{"event":NaN}', "Send null or a string instead of NaN or Infinity at byte 9: JSON has neither."),
        (b'{"event":-Infinity}', "Send null or a string instead of NaN or Infinity at byte 10: JSON has neither."),
        (b'{"event":"\\ud800"}', "Send whole characters: byte 10 starts half of a surrogate pair."),
        (b'{"event":"\\udc00"}', "Send whole characters: byte 10 starts half of a surrogate pair."),
        (b'{"event":"\\\\\\ud83d\\ude00\\ud83dx"}', "Send whole characters: byte 24 starts half of a surrogate pair."),
    ],
)  # fmt: skip
def test_what_is_not_json_is_told_with_its_place(text: bytes, message: str) -> None:
    with pytest.raises(InvalidJson) as caught:
        accept_event(text)
    assert caught.value.message == message
    assert caught.value.status == 400
    with pytest.raises(InvalidJson) as caught:
        accept_batch(text, partial=True)
    assert caught.value.message == message


# ---- two ways, one answer -------------------------------------------------------------------------------

odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", " ", "a", "x" * 201, 5, -1.5, True, [], {}, {"a": [1]}, {"n": 2**63}, {"n": 2**64}]
)
times = st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.5+02:00",
        "2026-01-01",
        "2026-01-01 00:00",
        "1969-01-01T00:00:00Z",
        "x",
    ]
)
odd_events = st.fixed_dictionaries(
    {"event": st.just("a") | odd},
    optional={"properties": odd, "user_id": odd, "timestamp": times | odd, "id": odd, "context": odd, "extra": odd},
)


def outcome(text: bytes, partial: bool) -> Accepted | tuple[Detail, ...]:
    try:
        return accept_batch(text, partial=partial)
    except InvalidEvent as error:
        return error.details


def exact_outcome(text: bytes, partial: bool) -> Accepted | tuple[Detail, ...]:
    try:
        return accept._accept_batch_exactly(text, partial)
    except InvalidEvent as error:
        return error.details


@repeatable
@given(st.lists(odd_events, max_size=6), st.just({"k": 1}) | odd, st.booleans())
def test_the_fast_and_the_exact_way_agree(events: list[dict[str, Any]], context: Any, partial: bool) -> None:
    text = batch(*events, context=context)
    assert outcome(text, partial) == exact_outcome(text, partial)


@repeatable
@given(odd_events)
def test_an_event_alone_and_in_a_batch_agree(event: dict[str, Any]) -> None:
    text = json.dumps(event).encode()
    alone: Accepted | tuple[Detail, ...]
    try:
        alone = accept_event(text)
    except InvalidEvent as error:
        alone = tuple(Detail(f"/events/0{fault.pointer}", fault.message, 0) for fault in error.details)
    assert alone == outcome(batch(event), False)
