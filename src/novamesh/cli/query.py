"""``novamesh query``."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from novamesh.cli import table
from novamesh.cli.address import node_key, node_options, node_url
from novamesh.cli.output import opened
from novamesh.client import Client, Incomplete

FORMATS = ("table", "csv", "json", "ndjson", "parquet", "arrow")
BINARY = ("parquet", "arrow")
MAX_ROWS = 50_000  # that a node answers with
RETRY_S = 10.0
COPY_BYTES = 1024 * 1024


@click.command(epilog="Example: novamesh query 'SELECT count() FROM events WHERE user_id = $user' --param user=u_1")
@click.argument("sql")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="Value of $NAME in the SQL; JSON or text.")
@click.option("--format", "kind", type=click.Choice(FORMATS), help="Default: table on a terminal, csv elsewhere.")
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), help="Most rows; default 1,000 in a table, else 50,000.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write, named when it is whole."
)
@node_options
def query(
    sql: str,
    params: tuple[str, ...],
    kind: str | None,
    limit: int | None,
    output: Path | None,
    url: str | None,
    key: str | None,
    config_file: Path | None,
    **flags: Any,
) -> None:
    """Ask a node. SQL is the query, or - to read it from standard input.

    Rows go to standard output, their number and the time they took to standard error. Exit status: 0 if the result is
    whole, 1 if not.
    """
    kind = kind or _kind(output)
    if kind in BINARY and output is None and sys.stdout.isatty():
        raise click.UsageError(f"{kind} is not for a terminal; give --output FILE, or send it to a pipe")
    text = sys.stdin.read() if sql == "-" else sql
    values = dict(_param(one) for one in params)
    with Client(node_url(url, config_file, flags), node_key(key), retry_s=RETRY_S) as client:
        if kind == "table":
            _show(client, text, values, limit, output)
        else:
            _pass_on(client, text, values, kind, limit or MAX_ROWS, output)


def _kind(output: Path | None) -> str:
    if output is not None:
        suffix = output.suffix.lower().lstrip(".")
        return suffix if suffix in FORMATS else "csv"
    return "table" if sys.stdout.isatty() else "csv"


def _param(text: str) -> tuple[str, Any]:
    """A value is JSON if it is a number, true, false, null, a list or a string in quotes; otherwise it is text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter("give a name and a value, such as user=u_1", param_hint="--param")
    try:
        return name.removeprefix("$"), msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return name.removeprefix("$"), value


def _show(client: Client, sql: str, params: dict[str, Any], limit: int | None, output: Path | None) -> None:
    result = client.query(sql, params, limit=limit)
    width = shutil.get_terminal_size().columns if output is None and sys.stdout.isatty() else None
    with opened(output) as stream:
        stream.write(table.render(result.columns, result.types, result.rows, width).encode("utf-8", "replace") + b"\n")
    _tell(len(result.rows), result.elapsed_ms, _more(result.truncated))


def _tell(rows: int, elapsed_ms: int, may: str) -> None:
    cut = f"; there {may}: give a larger --limit, or novamesh export" if may else ""
    click.echo(f"{rows:,} row{'s' * (rows != 1)} in {elapsed_ms:,} ms{cut}", err=True)


def _pass_on(client: Client, sql: str, params: dict[str, Any], kind: str, limit: int, output: Path | None) -> None:
    started = time.monotonic()
    with client.stream(sql, params, format=kind, limit=limit) as parts, opened(output) as stream:
        rows, elapsed_ms, truncated = _WRITERS[kind](parts, stream.write)
    if elapsed_ms is None:
        elapsed_ms = round((time.monotonic() - started) * 1000)
    may = "may be more" if truncated is None and rows >= limit else _more(bool(truncated))
    _tell(rows, elapsed_ms, may)


def _more(truncated: bool) -> str:
    return "are more" if truncated else ""


Write = Callable[[bytes], Any]
Told = tuple[int, int | None, bool | None]  # rows, time in ms, whether the limit cut them, as far as it is told


def _write_csv(parts: Iterator[bytes], write: Write) -> Told:
    """CSV does not say how it ended, so its lines are counted: those that end outside of quotes."""
    lines, quoted = 0, False
    for part in parts:
        write(part)
        for piece in part.split(b'"'):
            lines += 0 if quoted else piece.count(b"\n")
            quoted = not quoted
        quoted = not quoted  # as many pieces as quotes, and one
    rows = max(0, lines - 1)
    return rows, None, None


def _write_lines(parts: Iterator[bytes], write: Write) -> Told:
    """All lines but the last, which says how it ended."""
    rows, held = 0, b""
    for part in parts:
        done, held = _part(held + part)
        write(done)
        rows += done.count(b"\n")
    return rows, *_end(held)


def _write_document(parts: Iterator[bytes], write: Write) -> Told:
    """One JSON document, a row a line, of which the last line says how it ended."""
    lines, held = 0, b""
    for part in parts:
        write(part)
        lines += part.count(b"\n")
        held = _part(held + part)[1]
    return max(0, lines - 2), *_end(b"{" + held.removeprefix(b"],"))


def _part(data: bytes) -> tuple[bytes, bytes]:
    """Lines that are not the last, and the last, whether it is whole or not."""
    cut = data.rfind(b"\n", 0, max(0, len(data) - 1)) + 1
    return data[:cut], data[cut:]


def _end(line: bytes) -> tuple[int, bool]:
    try:
        end = msgspec.json.decode(line)
    except msgspec.DecodeError:
        end = {}
    if not isinstance(end, dict) or "meta" not in end:
        message = end.get("message", "its answer is not whole") if isinstance(end, dict) else "its answer is not whole"
        raise Incomplete(f"the query failed midway: {message}")
    return int(end["meta"]["elapsed_ms"]), bool(end["meta"]["truncated"])


def _write_whole(read_meta: Callable[[Any], tuple[int, bytes]]) -> Callable[[Iterator[bytes], Write], Told]:
    """A file that says at its end how it ended: it is passed on when it is whole."""

    def write_file(parts: Iterator[bytes], write: Write) -> Told:
        import pyarrow

        with tempfile.TemporaryFile() as file:
            for part in parts:
                file.write(part)
            file.seek(0)
            try:
                rows, meta = read_meta(file)
            except (pyarrow.ArrowException, OSError):
                raise Incomplete("the query failed midway: its answer is not whole") from None
            file.seek(0)
            shutil.copyfileobj(file, _Written(write), COPY_BYTES)
        return rows, *_end(b'{"meta": ' + meta + b"}")

    return write_file


def _parquet_meta(file: Any) -> tuple[int, bytes]:
    from pyarrow import parquet

    metadata = parquet.ParquetFile(file).metadata
    return metadata.num_rows, metadata.metadata[b"meta"]


def _arrow_meta(file: Any) -> tuple[int, bytes]:
    from pyarrow import ipc

    rows, meta = 0, b""
    for batch, custom in ipc.open_stream(file).iter_batches_with_custom_metadata():
        rows += batch.num_rows
        meta = custom[b"meta"] if custom is not None else b""
    return rows, meta


class _Written:
    """What can be written to, for the standard library."""

    def __init__(self, write: Write) -> None:
        self.write = write


_WRITERS: dict[str, Callable[[Iterator[bytes], Write], Told]] = {
    "csv": _write_csv,
    "ndjson": _write_lines,
    "json": _write_document,
    "parquet": _write_whole(_parquet_meta),
    "arrow": _write_whole(_arrow_meta),
}
