"""``novamesh tail``: events as they are accepted, until Ctrl-C."""

import http.client
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import click
import msgspec

from novamesh import __version__
from novamesh.cli.address import DEFAULT_URL, node_key, node_options, node_url
from novamesh.errors import NovameshError

# A node says something every 15 s.
SILENCE_S = 45.0
PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0)


class TailRefused(NovameshError):
    """The node gives no tail, and asking again will not help."""


class Lost(Exception):
    """There is no connection, or no more; the message says why."""


class Message(NamedTuple):
    """One message of the stream: its kind, and its data as JSON."""

    kind: str
    data: bytes


class Event(msgspec.Struct):
    """What a line shows of an event."""

    event: str
    user_id: str | None
    received_at: str
    properties: msgspec.Raw


@click.command(epilog="Example: novamesh tail --event page_view --user u_42")
@click.option("--event", "events", multiple=True, help="Only events of this name; may be given more than once.")
@click.option("--user", default=None, help="Only events of this user.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; so it is anyway if piped.")
@node_options
def tail(
    events: tuple[str, ...],
    user: str | None,
    as_json: bool,
    url: str | None,
    key: str | None,
    config_file: Path | None,
    **flags: Any,
) -> None:
    """Print events as the node accepts them, until Ctrl-C."""
    parameters = [("event", name) for name in events] + ([("user_id", user)] if user is not None else [])
    source = Source(node_url(url, config_file, flags), node_key(key), parameters)
    try:
        for message in source.messages():
            _show(message, as_json=as_json or not sys.stdout.isatty())
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Whoever read has enough; nothing is to be written when this process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Source:
    """The stream of one node, taken up again when it breaks."""

    def __init__(self, url: str, key: str, parameters: list[tuple[str, str]]) -> None:
        self._parts = urlsplit(url)
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise TailRefused(f"{url!r} is no address of a node; give one such as {DEFAULT_URL}")
        self._path = self._parts.path.rstrip("/") + "/v1/tail"
        self._path += f"?{urlencode(parameters)}" if parameters else ""
        self._headers = {"Authorization": f"Bearer {key}", "User-Agent": f"novamesh-tail/{__version__}"}

    def messages(self) -> Iterator[Message]:
        """All messages, without end. Raises :class:`TailRefused`, also if the node cannot be reached at first."""
        failures, connected = 0, False
        while True:
            try:
                for message in self._connection(again=connected):
                    failures, connected = 0, True
                    if message.kind:
                        yield message
            except Lost as lost:
                if not connected:
                    raise TailRefused(str(lost)) from None
                pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
                _say(f"{lost}; connecting again in {pause_s:g} s")
                time.sleep(pause_s)
                failures += 1

    def _connection(self, *, again: bool) -> Iterator[Message]:
        """The messages of one connection; the first, without a kind, says that there is one. Raises :class:`Lost`."""
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        with closing(kind(self._parts.hostname or "", self._parts.port, timeout=SILENCE_S)) as connection:
            try:
                connection.request("GET", self._path, headers=self._headers)
                answer = connection.getresponse()
                if answer.status != 200:
                    raise _refusal(answer)
                if again:
                    _say("connected again; what was accepted meanwhile was not shown")
                yield Message("", b"")
                yield from _read(answer)
            except (OSError, http.client.HTTPException) as error:
                raise Lost(f"{self._parts.netloc} cannot be reached: {_cause(error)}") from None


def _refusal(answer: http.client.HTTPResponse) -> Exception:
    try:
        message = str(msgspec.json.decode(answer.read(100_000))["message"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        message = f"the answer was {answer.status} {answer.reason}"
    return Lost(_plain(message)) if answer.status >= 500 or answer.status == 429 else TailRefused(_plain(message))


def _read(answer: http.client.HTTPResponse) -> Iterator[Message]:
    """Messages up to the stream's end, which raises :class:`Lost`, or :class:`TailRefused` for a revoked key."""
    kind = ""
    while line := answer.readline():
        field, _, value = line.rstrip(b"\n").partition(b": ")
        if field == b"event":
            kind = value.decode()
        elif field == b"data" and kind == "end":
            end = msgspec.json.decode(value)
            raise (TailRefused if end["reason"] == "key_revoked" else Lost)(_plain(end["message"].rstrip(".")))
        elif field == b"data":
            yield Message(kind, value)
    raise Lost("the connection has ended")


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it says nothing"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _show(message: Message, *, as_json: bool) -> None:
    if message.kind == "dropped":
        _say(f"{msgspec.json.decode(message.data)['count']:,} events were left out: more came than can be shown")
    elif message.kind == "event":
        text = message.data.decode() if as_json else line(message.data, shutil.get_terminal_size().columns)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def line(data: bytes, columns: int) -> str:
    """An event in one line of a terminal: time of receipt (UTC), name, user, properties."""
    event = msgspec.json.decode(data, type=Event)
    at = event.received_at.partition("T")[2].rstrip("Z")
    seconds, _, fraction = at.partition(".")
    properties = bytes(event.properties).decode()
    shown = f"{seconds}.{fraction.ljust(3, '0')[:3]}  {event.event:<16}  {event.user_id or '-':<12}"
    return _cut(_plain(f"{shown}  {properties}" if properties != "null" else shown.rstrip()), columns)


def _plain(text: str) -> str:
    """Without what a terminal would take for a command."""
    return text if text.isprintable() else "".join(part if part.isprintable() else "?" for part in text)


def _cut(text: str, columns: int) -> str:
    """As much of it as has room; the last column says that there was more."""
    if _width(text) <= columns:
        return text
    kept = text[: max(0, columns - 1)]
    while kept and _width(kept) > columns - 1:
        kept = kept[:-1]
    return kept + "…"


def _width(text: str) -> int:
    """In columns of a terminal."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) != 0 for character in text)


def _say(text: str) -> None:
    click.echo(f"novamesh: {text}", err=True)
