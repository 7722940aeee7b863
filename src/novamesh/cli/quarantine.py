"""``novamesh quarantine list | replay | drop``: asks a running node, through its store's socket."""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import click
import msgspec

from novamesh.cli.options import config_option, load_config, setting_options
from novamesh.cli.store import ask, data
from novamesh.datadir import DataDirectory
from novamesh.errors import InternalError
from novamesh.event.record import read_batch_id
from novamesh.store.contract import (
    DropRequest,
    DropSegmentRequest,
    Outcome,
    QueryRequest,
    ReplayRequest,
    ReplaySegmentRequest,
    Request,
    Selection,
    SetAsideSegment,
    Survey,
    SurveyRequest,
    schema_for,
)

Command = TypeVar("Command", bound=Callable[..., Any])

SHOWN_CHARACTERS = 80
_EVENTS = """
    SELECT 'event' AS kind, id, project, $test AS test, batch_id, event_index, events, received_at, quarantined_at,
           reason, body
    FROM "{schema}".quarantine
    WHERE ($batch::VARCHAR IS NULL OR batch_id = $batch) AND ($id::VARCHAR IS NULL OR id = $id::UUID)
    ORDER BY quarantined_at, id LIMIT {limit}
"""


@click.group(epilog="Example: novamesh quarantine list --data-dir ./novamesh-data")
def quarantine() -> None:
    """See, load again or drop what the database refused, and segments that were set aside for damage.

    The node must be running.
    """


class Filters(NamedTuple):
    """What the options select. ``file`` names a segment; all else is about events."""

    project: str | None
    selection: Selection
    file: str | None

    @property
    def given(self) -> bool:
        return self.file is not None or self._of_events

    @property
    def _of_events(self) -> bool:
        return self.project is not None or self.selection != Selection()

    def narrowed(self, survey: Survey) -> Survey:
        """Without what is not meant."""
        events = survey.events if self.file is None else {}
        segments = [] if self._of_events else [s for s in survey.segments if self.file in (None, s.file)]
        if self.file is not None and not segments:
            raise click.UsageError(f"there is no segment {self.file} in spool/quarantine; see novamesh quarantine list")
        return msgspec.structs.replace(survey, events=events, segments=segments)


def _filters(command: Command) -> Command:
    for option in (
        config_option,
        setting_options("data_dir"),
        click.option("--file", help="Only the set-aside segment with this file name."),
        click.option("--id", "event_id", type=click.UUID, help="Only the event with this id."),
        click.option("--batch", help="Only events of this batch, as /v1/batch answered it."),
        click.option("--project", help="Only events of this project, live and test."),
    ):
        command = option(command)
    return command


@quarantine.command("list", epilog="Example: novamesh quarantine list --project default --json")
@_filters
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Events shown of each project.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the events themselves.")
def list_quarantine(limit: int, as_json: bool, **options: Any) -> None:
    """Print refused events and set-aside segments, oldest first."""
    directory, filters = _read(options)
    survey = _survey(directory, filters)
    events = _refused(directory, survey, filters.selection, limit)
    if as_json:
        for line in events:
            click.echo(line)
        for segment in survey.segments:
            click.echo(json.dumps({"kind": "segment", **msgspec.structs.asdict(segment)}))
        return
    if not survey.events and not survey.segments:
        click.echo("Nothing is in quarantine.")
    if survey.events:
        _table(("ID", "PROJECT", "BATCH", "INDEX", "EVENTS", "REFUSED AT", "REASON"), map(_event_row, events))
    if survey.segments:
        head = ("FILE", "OFFSET", "BYTES", "FOUND AT", "EVENTS TO LOAD", "UNREADABLE BYTES", "CAUSE")
        _table(head, map(_segment_row, survey.segments))
    click.echo(_totals(survey), err=True)


@quarantine.command(epilog="Example: novamesh quarantine replay --batch b_019b76e0a1b27c3d8e4f5a6b7c8d")
@_filters
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def replay(as_json: bool, **options: Any) -> None:
    """Load again: events, and what is whole behind the damage of segments. Each is stored once.

    What is refused again stays, with its new reason, and the exit status is 1.
    """
    directory, filters = _read(options)
    survey = _survey(directory, filters)
    selection = msgspec.structs.replace(filters.selection, until=survey.until)
    outcomes = [_repeat(directory, ReplayRequest(space, selection)) for space in survey.events]
    for segment in survey.segments:
        outcome = _repeat(directory, ReplaySegmentRequest(segment.file, foreign=filters.file is not None))
        click.echo(f"{segment.file}: {outcome.note}", err=True)
        outcomes.append(outcome)
    total = _sum(outcomes)
    if as_json:
        click.echo(json.dumps({name: getattr(total, name) for name in ("stored", "duplicates", "refused")}))
    else:
        refused = f"{total.refused} refused again"
        click.echo(f"{_events(total.stored)} stored, {total.duplicates} there already, {refused}.")
    if total.refused:
        raise SystemExit(1)


@quarantine.command(epilog="Example: novamesh quarantine drop --id 019b76e0-a1b2-7c3d-8e4f-5a6b7c8d0001")
@_filters
@click.option("--all", "everything", is_flag=True, help="Everything that is in quarantine.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(everything: bool, yes: bool, **options: Any) -> None:
    """Delete for good; the node counts what was dropped. Asks first."""
    directory, filters = _read(options)
    if filters.given == everything:
        raise click.UsageError("say what to drop: --project, --batch, --id or --file, or else --all")
    survey = _survey(directory, filters)
    if not survey.events and not survey.segments:
        click.echo("There is nothing to drop.")
        return
    if not yes:
        files = f" and {len(survey.segments)} damaged or missing segments" if survey.segments else ""
        click.confirm(f"Drop {_events(_count(survey))}{files}? They cannot be brought back.", abort=True, err=True)
    selection = msgspec.structs.replace(filters.selection, until=survey.until)
    requests: list[Request] = [DropRequest(space, selection) for space in survey.events]
    requests += [DropSegmentRequest(segment.file) for segment in survey.segments]
    click.echo(f"{_events(_sum([_repeat(directory, request) for request in requests]).dropped)} dropped.")


def _survey(directory: DataDirectory, filters: Filters) -> Survey:
    """What is in quarantine, as far as it is meant."""
    return filters.narrowed(ask(directory, SurveyRequest(filters.project, filters.selection), Survey))


def _repeat(directory: DataDirectory, request: Request) -> Outcome:
    """Ask until nothing is left; the sum of what became of it."""
    outcomes = [ask(directory, request, Outcome)]
    while outcomes[-1].left:
        outcomes.append(ask(directory, request, Outcome))
    return _sum(outcomes)


def _refused(directory: DataDirectory, survey: Survey, selection: Selection, limit: int) -> Iterator[str]:
    """Refused events, each a line of JSON, as they come."""
    for space in survey.events:
        parameters = {"batch": selection.batch, "id": selection.id, "test": space.endswith(".test")}
        sql = _EVENTS.format(schema=schema_for(space), limit=limit)
        rest = b""
        for part in data(directory, QueryRequest(space, sql, {}, "ndjson", None, parameters=parameters)):
            *lines, rest = (rest + part).split(b"\n")
            for line in map(bytes.decode, lines):
                if line.startswith('{"error":'):
                    raise InternalError(json.loads(line)["message"])
                if not line.startswith('{"meta":'):
                    yield line


def _read(options: dict[str, Any]) -> tuple[DataDirectory, Filters]:
    batch, event_id = options["batch"], options["event_id"]
    if batch is not None and read_batch_id(batch) is None:
        raise click.BadParameter("a batch id is b_ and 28 hexadecimal digits", param_hint="--batch")
    selection = Selection(batch, str(event_id) if isinstance(event_id, uuid.UUID) else None)
    filters = Filters(options["project"], selection, options["file"])
    config = load_config({"data_dir": options["data_dir"]}, options["config_file"])
    return DataDirectory(config.data_path), filters


def _sum(outcomes: Iterable[Outcome]) -> Outcome:
    total = Outcome()
    for one in outcomes:
        total = Outcome(
            total.stored + one.stored,
            total.duplicates + one.duplicates,
            total.refused + one.refused,
            total.dropped + one.dropped,
            note=one.note,
        )
    return total


def _count(survey: Survey) -> int:
    return sum(survey.events.values()) + sum(segment.events for segment in survey.segments)


def _events(count: int) -> str:
    return f"{count:,} event" if count == 1 else f"{count:,} events"


def _totals(survey: Survey) -> str:
    events, segments = sum(survey.events.values()), len(survey.segments)
    return f"{_events(events)} and {segments} segments in quarantine; {survey.dropped:,} dropped so far."


def _event_row(line: str) -> tuple[Any, ...]:
    event = json.loads(line)
    project = f"{event['project']} (test)" if event["test"] else event["project"]
    batch = event["batch_id"] or "-"
    return event["id"], project, batch, event["event_index"], event["events"], event["quarantined_at"], event["reason"]


def _segment_row(segment: SetAsideSegment) -> tuple[Any, ...]:
    found = datetime.fromtimestamp(segment.found_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    cause = f"written off; {segment.cause}" if segment.written_off else segment.cause
    return segment.file, segment.offset, segment.size, found, segment.events, segment.unreadable, cause


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    cells = [head, *(tuple(_short(str(cell)) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _short(text: str) -> str:
    """On one line, and nothing that would control a terminal."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= SHOWN_CHARACTERS else plain[: SHOWN_CHARACTERS - 1] + "…"
