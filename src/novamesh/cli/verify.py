"""``novamesh verify``: recounts the ledger from the files and the database."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from novamesh.cli.options import config_option, load_config, setting_options
from novamesh.cli.store import ask
from novamesh.cli.write_off import record_lines
from novamesh.datadir import DataDirectory
from novamesh.errors import StartError, StoreUnavailable
from novamesh.store.contract import Gaps, Recount, RecountAnswer, RecountRequest

# What a gap means and what to do about it.
_MISSING = {
    "spool": "accepted events are neither in the spool nor in the store. Put back the segments that were taken from "
    "spool/, from a copy of the disk, and start the node; what lay in a damaged place of a segment is lost. "
    "novamesh write-off takes what cannot be brought back as known",
    "load": "events were received by the store, but nothing became of them. That is a fault of novamesh: report it",
    "rows": "stored events are not in the database. Restore store/ from a backup, or find out who deleted them",
    "quarantine": "events are gone from the quarantine. Restore store/ from a backup, or find out who deleted them",
}
# If there are more events instead of less.
_SURPLUS = {
    "spool": "events are there that nobody has counted as accepted. After a power cut that is so until the node is "
    "started again, which counts them",
    "load": "events more than the store received became something. That is a fault of novamesh: report it",
    "rows": "events are in the database that this node has not stored. Find out who inserted them",
    "quarantine": "events are in the quarantine that this node has not put there. Find out who inserted them",
}


@click.command(epilog="Example: novamesh verify --data-dir ./novamesh-data")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@setting_options("data_dir")
@config_option
def verify(as_json: bool, config_file: Path | None, **flags: Any) -> None:
    """Count all events anew, on a running node or a stopped one: in the writers' counts, the spool and the database.

    Exit status: 0 if every accepted event is where it must be or its loss written off, 1 with the difference if not.
    """
    directory = DataDirectory(load_config(flags, config_file).data_path)
    answer = _stopped(directory) if directory.open_stopped() else _running(directory)
    spaces = answer.spaces
    holds = all(msgspec.structs.replace(one.gaps, damaged=0) == Gaps() for one in spaces.values())
    if as_json:
        documents = {name: _document(one) for name, one in spaces.items()}
        document = {"holds": holds, "spaces": documents, "write_offs": answer.write_offs}
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    else:
        click.echo("\n".join(line for name, one in spaces.items() for line in _lines(name, one)) or "no events yet")
        for line in _written_off(answer):
            click.echo(line)
        click.echo("The ledger holds." if holds else "The ledger does not hold.")
    sys.exit(0 if holds else 1)


def _running(directory: DataDirectory) -> RecountAnswer:
    try:
        return ask(directory, RecountRequest(), RecountAnswer)
    except StoreUnavailable:
        raise StartError(
            "the node runs, but its store does not answer, so nothing could be counted; try again or stop the node"
        ) from None


def _stopped(directory: DataDirectory) -> RecountAnswer:
    from novamesh.store.offline import recount_stopped  # the database is only needed here

    try:
        return recount_stopped(directory)
    finally:
        directory.close()


def _document(one: Recount) -> dict[str, Any]:
    counted: dict[str, Any] = msgspec.to_builtins(one)
    return {**counted, "written_off": one.written_off, "gaps": msgspec.structs.asdict(one.gaps)}


def _written_off(answer: RecountAnswer) -> list[str]:
    """What was ever written off, and how many of these events have come back."""
    lines = [line for record in answer.write_offs for line in record_lines(record)]
    total = sum(sum(record.events.values()) for record in answer.write_offs)
    back = total - sum(one.written_off for one in answer.spaces.values())
    return [*lines, f"{back:,} of the events that were written off have come back"] if back else lines


def _lines(space: str, one: Recount) -> list[str]:
    counters = one.counters
    terms = [
        f"{counters.stored:,} stored",
        f"{counters.duplicates:,} duplicates",
        f"{counters.quarantined:,} quarantined",
        f"{one.waiting:,} waiting",
    ]
    gaps = one.gaps
    difference = gaps.spool + gaps.load
    terms += [f"{one.damaged:,} damaged"] if one.damaged else []
    terms += [f"{difference:,} missing"] if difference else []
    terms += [f"{one.written_off:,} written off"] if one.written_off else []
    lines = [f"{space}: {one.accepted:,} accepted = {' + '.join(terms)}"]
    if one.damaged:
        lines.append(f"  {one.damaged:,} events are whole, but in damaged segments: see novamesh quarantine list.")
    for texts, sign in ((_MISSING, 1), (_SURPLUS, -1)):
        counts = {name: sign * getattr(gaps, name) for name in texts}
        lines += [f"  {count:,} {texts[name]}." for name, count in counts.items() if count > 0]
    return lines
