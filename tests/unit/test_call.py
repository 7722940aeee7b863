"""A request's own names: ids and traces that are safe to show, and strict readers of what clients send."""

from types import SimpleNamespace
from typing import cast

import pytest
from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge.call import Call, named, read_trace_id

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def call(**headers: str) -> Call:
    scope = SimpleNamespace(headers={name.replace("_", "-"): value for name, value in headers.items()})
    return Call(cast(Scope, scope), cast(HTTPProtocol, None))


@pytest.mark.parametrize("given", ["a", "x" * 128, "01JD-7:_A.z/9+=@"])
def test_a_safe_id_is_kept(given: str) -> None:
    assert call(x_request_id=given).request_id == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\tb", "a;b", "ä", "<b>", '"a"', "a,b", "a\n", "\u2028"])
def test_another_id_is_replaced(given: str) -> None:
    made = call(x_request_id=given).request_id
    assert made != given
    assert len(made) < 40
    assert call(x_request_id=made).request_id == made


def test_ids_are_made_once() -> None:
    made = {call().request_id for _ in range(10_000)}
    assert len(made) == 10_000


@pytest.mark.parametrize(
    "header",
    [
        f"00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be",
        f"01-{TRACE}-{PARENT}-01-",
    ],
)
def test_a_trace_is_read(header: str) -> None:
    assert read_trace_id(header) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-0g",
        f"00-{TRACE}-{PARENT}-010",
        f" 00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        f"00_{TRACE}_{PARENT}_01",
        f"01-{TRACE}-{PARENT}-01.more",
        "00-４bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)
def test_what_is_no_trace_is_none(header: str | None) -> None:
    assert read_trace_id(header) is None


def test_a_call_names_itself() -> None:
    both = call(x_request_id="r1", traceparent=f"00-{TRACE}-{PARENT}-01")
    assert named(cast(HTTPProtocol, both)) == {"request_id": "r1", "trace_id": TRACE}
    assert call(x_request_id="r1", traceparent="00").named() == {"request_id": "r1"}
