"""A reader of ``/v1/tail``: a thread that keeps every message it gets."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx

from tests.support import DEADLINE_S, RunningNode, wait_for


class Message(NamedTuple):
    """One message of a stream: its kind and its data."""

    kind: str
    data: dict[str, Any]


class Reader:
    """Reads one tail until it ends or is left."""

    def __init__(self, node: RunningNode, key: str = "", **parameters: Any) -> None:
        self.messages: list[Message] = []
        self.status = 0
        self.ended = threading.Event()
        self._leaving = False
        self._socket: socket.socket | None = None
        self._opened = threading.Event()
        self._request = httpx.Request(
            "GET",
            node.url + "/v1/tail",
            params=parameters,
            headers={"Authorization": f"Bearer {key or node.key}"},
            extensions={"timeout": {"connect": DEADLINE_S, "read": DEADLINE_S}},
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._opened.wait(DEADLINE_S)

    def _run(self) -> None:
        try:
            with httpx.Client() as client:
                answer = client.send(self._request, stream=True)
                self.status = answer.status_code
                self.headers = answer.headers
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                self._read(answer)
                answer.close()
        except httpx.TransportError:
            if not self._leaving:
                self.messages.append(Message("broken", {}))
        finally:
            self._opened.set()
            self.ended.set()

    def _read(self, answer: httpx.Response) -> None:
        kind = ""
        for line in answer.iter_lines():
            self._opened.set()  # with the first bytes: from here on everything is sent
            field, _, value = line.partition(": ")
            if field == "event":
                kind = value
            elif field == "data":
                self.messages.append(Message(kind, json.loads(value)))

    def leave(self) -> None:
        """Go away, if the tail has not ended."""
        self._leaving = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self.join()

    def join(self) -> None:
        self._thread.join(DEADLINE_S)

    def events(self) -> list[dict[str, Any]]:
        return [message.data for message in self.messages if message.kind == "event"]

    def names(self) -> list[str]:
        return [event["event"] for event in self.events()]

    def dropped(self) -> int:
        return sum(message.data["count"] for message in self.messages if message.kind == "dropped")

    def wait_for(self, name: str) -> None:
        """Until an event of this name was seen."""
        wait_for(lambda: name in self.names(), what=f"the event {name} in a tail")

    def end(self) -> str:
        """The reason of its end."""
        assert self.ended.wait(DEADLINE_S), "the tail did not end"
        kind, data = self.messages[-1]
        assert kind == "end"
        assert data["message"]
        return str(data["reason"])


@contextlib.contextmanager
def reading(node: RunningNode, key: str = "", **parameters: Any) -> Iterator[Reader]:
    """A reader of a tail that is open when the block begins."""

    def opened() -> Reader | None:
        """Those before may not have left their places yet."""
        reader = Reader(node, key, **parameters)
        assert reader.status in (200, 429)
        return reader if reader.status == 200 else None

    reader = wait_for(opened, what="a place for a tail")
    try:
        yield reader
    finally:
        reader.leave()
