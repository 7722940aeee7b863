"""``novamesh tail``: events as they are accepted, until Ctrl-C."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import click
import msgspec

from novamesh.cli import table
from novamesh.cli.address import node_key, node_options, node_url
from novamesh.client import Client, ClientError, Incomplete, Refused
from novamesh.errors import NovameshError

# A node says something every 15 s.
SILENCE_S = 45.0
PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0)


class TailRefused(NovameshError):
    """The node gives no tail, and asking again will not help."""


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
    try:
        with Client(node_url(url, config_file, flags), node_key(key)) as client:
            for message in Source(client, parameters).messages():
                _show(message, as_json=as_json or not sys.stdout.isatty())
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Whoever read has enough; nothing is to be written when this process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Source:
    """The stream of one node, taken up again when it breaks."""

    def __init__(self, client: Client, parameters: list[tuple[str, str]]) -> None:
        self._client = client
        self._path = "/v1/tail" + (f"?{urlencode(parameters)}" if parameters else "")

    def messages(self) -> Iterator[Message]:
        """All messages, without end. Raises :class:`NovameshError`, also if the node cannot be reached at first."""
        failures, connected = 0, False
        while True:
            try:
                for message in self._connection(again=connected):
                    failures, connected = 0, True
                    if message.kind:
                        yield message
            except ClientError as error:
                if not connected or not _may_come_back(error):
                    raise
                pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
                _say(f"{error}; connecting again in {pause_s:g} s")
                time.sleep(pause_s)
                failures += 1

    def _connection(self, *, again: bool) -> Iterator[Message]:
        """The messages of one connection; the first, without a kind, says that there is one."""
        with self._client.lines(self._path, silent_s=SILENCE_S) as lines:
            if again:
                _say("connected again; what was accepted meanwhile was not shown")
            yield Message("", b"")
            yield from _read(lines)


def _may_come_back(error: ClientError) -> bool:
    return error.passing or isinstance(error, Incomplete) or (isinstance(error, Refused) and error.status >= 500)


def _read(lines: Iterator[bytes]) -> Iterator[Message]:
    """Messages up to the stream's end: raises :class:`Incomplete`, or :class:`TailRefused` for a revoked key."""
    kind = ""
    for text in lines:
        field, _, value = text.rstrip(b"\n").partition(b": ")
        if field == b"event":
            kind = value.decode()
        elif field == b"data" and kind == "end":
            end = msgspec.json.decode(value)
            raise (TailRefused if end["reason"] == "key_revoked" else Incomplete)(
                table.shown(end["message"].rstrip("."))
            )
        elif field == b"data":
            yield Message(kind, value)
    raise Incomplete("the connection has ended")


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
    return table.cut(table.shown(f"{shown}  {properties}" if properties != "null" else shown.rstrip()), columns)


def _say(text: str) -> None:
    click.echo(f"novamesh: {table.shown(text)}", err=True)
