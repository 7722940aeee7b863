"""The status page: one HTML document, made on the server, that needs nothing else from anywhere.

:data:`ENDPOINTS` is the one table of what this node offers. The page's API Reference is written from it.
Everything a page shows is escaped; :data:`CONTENT_SECURITY_POLICY` lets the browser run and apply nothing but the
page's own style and its script, which adds the copy buttons. Without the script nothing but those is missing.
"""

import hashlib
import re
import shlex
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from http import HTTPStatus
from importlib.resources import files
from string import Template

import msgspec

from novamesh.errors import (
    Detail,
    InvalidEvent,
    InvalidQuery,
    NotReady,
    QueryNotAllowed,
    RequestError,
    SpoolFull,
    Unauthorized,
)
from novamesh.status.uptime import Day, Report


class PageData(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows.

    ``status`` is ``ok`` or ``degraded``; ``problems`` names each unwell part and why. ``p50_ms`` is the median latency
    of accepted requests over ``window`` (such as ``last hour``), ``None`` if there were none. ``events_accepted``
    counts since the node's start; ``now_s`` is the time of the measurement in unix seconds.
    """

    node: str
    region: str
    region_label: str
    version: str
    status: str
    p50_ms: float | None
    window: str
    report: Report
    base_url: str
    events_accepted: int
    now_s: float
    problems: tuple[str, ...] = ()


class Parameter(msgspec.Struct, frozen=True):
    """One row of a parameter table. ``kind`` is its type and, unless it is a body field, where it goes."""

    name: str
    kind: str
    text: str
    required: bool = False


class Example(msgspec.Struct, frozen=True):
    """A shell command. ``{url}`` stands for the endpoint's quoted URL."""

    title: str
    command: str


class Answer(msgspec.Struct, frozen=True):
    """One example response: status, when it comes, and its JSON. ``{base_url}`` and ``{health}`` are filled in."""

    status: int
    when: str
    body: str


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint. ``scope`` is the scope its key must have; ``None``: no key."""

    method: str
    path: str
    scope: str | None
    summary: str
    parameters: tuple[Parameter, ...]
    examples: tuple[Example, ...]
    answers: tuple[Answer, ...]

    @property
    def anchor(self) -> str:
        """The endpoint's id in the page, such as ``post-v1-ingest``."""
        return f"{self.method.lower()}{self.path.replace('/', '-')}"


def _error(kind: type[RequestError], when: str, message: str, *details: Detail) -> Answer:
    """An example of an error, in the shape and with the code that clients get."""
    body = kind(message, details=details).body()
    return Answer(kind.status, when, msgspec.json.format(body, indent=2).decode())


_KEY = """-H "Authorization: Bearer $NOVAMESH_KEY\""""
_JSON = "-H 'Content-Type: application/json'"
_BATCH = """{
    "context": {"app": "shop", "release": "2.4.0"},
    "events": [
      {"event": "page_view", "properties": {"page": "/"}},
      {"event": "click", "properties": {"button": "buy"}}
    ]
  }"""

_UNAUTHORIZED = _error(Unauthorized, "no key, or a wrong one", "API key required. See {base_url}/#api")
_SPOOL_FULL = _error(
    SpoolFull,
    "nothing was queued; send it again after Retry-After",
    "Nothing was accepted because this node's disk is full; send it again later.",
)

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/v1/health",
        scope=None,
        summary="How the node is, and the percentage of the last 30 days in which it could accept events.",
        parameters=(),
        examples=(Example("Health", "curl {url}"),),
        answers=(Answer(200, "status is ok or degraded", "{health}"),),
    ),
    Endpoint(
        method="GET",
        path="/v1/ready",
        scope=None,
        summary="For load balancers: whether every part of the node is ready.",
        parameters=(),
        examples=(Example("Readiness", "curl {url}"),),
        answers=(
            Answer(200, "send traffic", '{"status": "ready"}'),
            _error(
                NotReady,
                "names the parts that are not ready",
                "Not ready: store. Wait, or see the details.",
                Detail("/store", "starting"),
            ),
        ),
    ),
    Endpoint(
        method="POST",
        path="/v1/ingest",
        scope="ingest",
        summary="One event. Validated at the edge and queued for processing: a 202 means that it is on disk.",
        parameters=(
            Parameter("event", "string", "Event name, 1–200 characters, not blank.", required=True),
            Parameter("properties", "object", "Key-value pairs of the event."),
            Parameter("user_id", "string", "Unique user identifier."),
            Parameter("timestamp", "string", "ISO 8601; without an offset it is UTC. Default: server time."),
            Parameter(
                "id", "string", "Your own id for this event: sent again within 24 h (the default), it is stored once."
            ),
            Parameter("context", "object", "What surrounds the event, such as app or device."),
        ),
        examples=(
            Example(
                "Send one event",
                f"""curl -X POST {{url}} \\
  {_KEY} \\
  {_JSON} \\
  -d '{{
    "event": "page_view",
    "user_id": "u_42",
    "properties": {{"page": "/pricing"}}
  }}'""",
            ),
        ),
        answers=(
            Answer(202, "on disk", '{"accepted": true, "queued": 1}'),
            _error(
                InvalidEvent,
                "says what is wrong, and where",
                "`userId` is not a known field: did you mean `user_id`?",
                Detail("/userId", "`userId` is not a known field: did you mean `user_id`?"),
            ),
            _UNAUTHORIZED,
            _SPOOL_FULL,
        ),
    ),
    Endpoint(
        method="POST",
        path="/v1/batch",
        scope="ingest",
        summary="Up to 500 events in one request, gzip supported. All or nothing: one bad event, and none is queued.",
        parameters=(
            Parameter("events", "array", "1–500 event objects, as in /v1/ingest.", required=True),
            Parameter("context", "object", "Shared context of all events; an event's own context keys win."),
            Parameter("Idempotency-Key", "string · header", "Makes a retry safe: the same key stores the batch once."),
            Parameter("Content-Encoding", "string · header", "gzip, if the body is compressed."),
        ),
        examples=(
            Example(
                "Send a batch",
                f"""curl -X POST {{url}} \\
  {_KEY} \\
  {_JSON} \\
  -d '{_BATCH}'""",
            ),
            Example(
                "Send a batch, compressed",
                f"""echo '{_BATCH}' | gzip | curl -X POST {{url}} \\
  {_KEY} \\
  {_JSON} \\
  -H 'Content-Encoding: gzip' \\
  --data-binary @-""",
            ),
        ),
        answers=(
            Answer(202, "all of them are on disk", '{"accepted": true, "events": 2, "batch_id": "b_8f2a1c…"}'),
            _error(
                InvalidEvent,
                "lists every bad event; nothing was queued",
                "1 of 2 events is not valid: correct what `details` lists and send the batch again.",
                Detail("/events/1/event", "`event` must not be blank.", 1),
            ),
            _UNAUTHORIZED,
            _SPOOL_FULL,
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/query",
        scope="query",
        summary="SQL over your events. Read-only; results are streamed. POST takes the same as JSON, with params.",
        parameters=(
            Parameter("q", "string", "The SQL query, over the table events.", required=True),
            Parameter("format", "string", "json (default), csv, ndjson, arrow or parquet."),
            Parameter("limit", "integer", "Max rows. Default 1000, max 50000."),
        ),
        examples=(
            Example(
                "Count events by name",
                f"""curl -G {{url}} \\
  {_KEY} \\
  --data-urlencode "q=SELECT event, count() FROM events GROUP BY event LIMIT 10\"""",
            ),
        ),
        answers=(
            Answer(
                200,
                "rows in the order of columns",
                """{
  "columns": ["event", "count"],
  "rows": [["page_view", 142857], ["click", 98204]],
  "meta": {"elapsed_ms": 42}
}""",
            ),
            _error(InvalidQuery, "the SQL cannot be understood", "Unknown column evnt; did you mean event?"),
            _UNAUTHORIZED,
            _error(
                QueryNotAllowed,
                "anything but reading your own events",
                "DELETE may not run: queries only read; start with SELECT, WITH, FROM or VALUES",
            ),
        ),
    ),
)


def _template(name: str) -> str:
    return (files("novamesh.edge") / "templates" / name).read_text("utf-8")


def _source(text: str) -> str:
    """A CSP source that admits exactly this inline text."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_PAGE = Template(_template("status.html"))
_STYLE = re.sub(r"\s+", " ", _template("status.css"))
_SCRIPT = re.sub(r"\n\s*", "\n", _template("copy.js"))

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_LOCK = (
    '<svg viewBox="0 0 12 14" aria-hidden="true"><rect x="1" y="6" width="10" height="7" rx="1.5"/>'
    '<path d="M3.5 6V4a2.5 2.5 0 0 1 5 0v2"/></svg>'
)


def render(data: PageData) -> bytes:
    """The page as UTF-8 HTML."""
    return _PAGE.substitute(
        node=escape(data.node),
        status=_status_text(data.status),
        style=_STYLE,
        script=_SCRIPT,
        problems=_problems(data.problems),
        figures="\n".join(_figures(data)),
        note=_note(data),
        oldest=data.report.days[0].date,
        days="\n".join(map(_bar, data.report.days)),
        outages=_outages(data.report),
        index="\n".join(map(_index_entry, ENDPOINTS)),
        endpoints="\n".join(_endpoint(endpoint, data) for endpoint in ENDPOINTS),
        version=escape(data.version),
    ).encode()


def commands(endpoint: Endpoint, base_url: str) -> list[str]:
    """The endpoint's examples as they are to be pasted into a shell."""
    url = shlex.quote(base_url + endpoint.path)
    return [example.command.replace("{url}", url) for example in endpoint.examples]


def _status_text(status: str) -> str:
    return "Operational" if status == "ok" else "Degraded"


def _problems(problems: tuple[str, ...]) -> str:
    if not problems:
        return ""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return f'<ul class="problems" aria-label="What is degraded">{items}</ul>'


def _figures(data: PageData) -> Iterable[str]:
    yield _figure("Node Status", _status_text(data.status), "", "ok" if data.status == "ok" else "degraded")
    if data.p50_ms is None:
        yield _figure("Latency (p50)", "no data yet", data.window)
    else:
        yield _figure("Latency (p50)", _milliseconds(data.p50_ms), data.window)
    yield _figure("Uptime (30d)", *_uptime(data))
    yield _figure("Region", data.region_label, data.region)
    yield _figure("Version", data.version)


def _figure(name: str, value: str, note: str = "", css: str = "") -> str:
    kind = f' class="{css}"' if css else ""
    more = f"<dd>{escape(note)}</dd>" if note else ""
    return f"<div><dt>{name}</dt><dd{kind}>{escape(value)}</dd>{more}</div>"


def _milliseconds(value: float) -> str:
    digits = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} ms"


def _uptime(data: PageData) -> tuple[str, str]:
    first = data.report.first_start
    if first is None:
        return "no data yet", ""
    young = data.report.days[0].percent is None
    return f"{data.report.percent:.2f}%", f"since {_time(first):%Y-%m-%d}" if young else ""


def _note(data: PageData) -> str:
    as_of = f"{_time(data.now_s):%Y-%m-%d %H:%M:%S} UTC"
    return f"{data.events_accepted:,} events accepted since this node started. As of {as_of}."


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _bar(day: Day) -> str:
    text = escape(f"{day.date}: {_percent(day.percent)}")
    return f'<li class="{_level(day.percent)}" title="{text}"><i></i><span class="hidden">{text}</span></li>'


def _percent(percent: float | None) -> str:
    return "no data" if percent is None else f"{percent:.2f}%"


def _level(percent: float | None) -> str:
    """A bar's class: its height says the same as its colour."""
    if percent is None:
        return "none"
    return "full" if percent == 100 else "some" if percent >= 99 else "much"


def _outages(report: Report) -> str:
    """The days that were not whole, in words: a tooltip cannot be had on a phone."""
    if report.first_start is None:
        return '<p class="muted small">Nothing was measured yet.</p>'
    bad = [day for day in reversed(report.days) if day.percent is not None and day.percent < 100]
    if not bad:
        return '<p class="muted small">No downtime was measured in these days.</p>'
    items = "".join(f"<li>{day.date}: {_percent(day.percent)}, down for {_duration(day.down_s)}</li>" for day in bad)
    days = "1 day" if len(bad) == 1 else f"{len(bad)} days"
    return f'<details><summary>Downtime on {days}</summary><ul class="outages">{items}</ul></details>'


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if count]
    return " ".join(parts[:2])


def _index_entry(endpoint: Endpoint) -> str:
    return f'<li><a href="#{endpoint.anchor}"><code>{endpoint.method} {endpoint.path}</code></a></li>'


def _endpoint(endpoint: Endpoint, data: PageData) -> str:
    scope = f' <span class="lock">{_LOCK}API key required</span>' if endpoint.scope else ""
    needs = f" Needs a key with scope <code>{endpoint.scope}</code>." if endpoint.scope else ""
    return f"""<article id="{endpoint.anchor}" aria-labelledby="{endpoint.anchor}-h">
<div>
<h3 id="{endpoint.anchor}-h"><span class="method">{endpoint.method}</span> <code>{endpoint.path}</code>{scope}</h3>
<p>{escape(endpoint.summary)}{needs}</p>
{_parameters(endpoint.parameters)}
</div>
<div>
{"".join(_example(endpoint, data.base_url))}
<h4>Responses</h4>
{"".join(_answer(answer, data) for answer in endpoint.answers)}
</div>
</article>"""


def _parameters(parameters: tuple[Parameter, ...]) -> str:
    if not parameters:
        return '<p class="muted small">No parameters.</p>'
    rows = "".join(map(_parameter, parameters))
    return (
        '<table><thead><tr><th scope="col">Parameter</th><th scope="col">Description</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _parameter(parameter: Parameter) -> str:
    required = '<span class="required">required.</span> ' if parameter.required else ""
    return (
        f'<tr><th scope="row"><code>{parameter.name}</code><span>{parameter.kind}</span></th>'
        f"<td>{required}{escape(parameter.text)}</td></tr>"
    )


def _example(endpoint: Endpoint, base_url: str) -> Iterable[str]:
    for example, command in zip(endpoint.examples, commands(endpoint, base_url), strict=True):
        yield f"<h4>{escape(example.title)}</h4>{_code('sh', example.title, command)}"


def _answer(answer: Answer, data: PageData) -> str:
    shown = " open" if answer.status < 300 else ""
    phrase = HTTPStatus(answer.status).phrase
    title = f'<b>{answer.status}</b> {phrase} <span class="muted">— {escape(answer.when)}</span>'
    body = _fill(answer.body, {"{base_url}": data.base_url, "{health}": _health(data)})
    code = _code("json", "", body)
    return f"<details{shown}><summary>{title}</summary>{code}</details>"


def _fill(text: str, values: dict[str, str]) -> str:
    """Each name replaced by its value, in one pass: a value may contain a name."""
    return re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], text)


def _health(data: PageData) -> str:
    document = {
        "status": data.status,
        "node": data.node,
        "region": data.region,
        "version": data.version,
        "uptime": data.report.percent,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _code(language: str, label: str, text: str) -> str:
    # A command keeps its lines and scrolls, so it must be reachable by keyboard, and then needs a name. JSON wraps.
    reach = f' tabindex="0" role="group" aria-label="{escape(label)}"' if language == "sh" else ""
    code = f'<code class="language-{language}">{escape(text, quote=False)}</code>'
    return f'<div class="code {language}"><pre{reach}>{code}</pre></div>'
