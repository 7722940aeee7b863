"""The status page: one HTML document, made on the server, that needs nothing else from anywhere.

The page's API Reference is written from :data:`novamesh.edge.endpoints.ENDPOINTS`.
Everything a page shows is escaped; :data:`CONTENT_SECURITY_POLICY` lets the browser run and apply nothing but the
page's own style and its script, which adds the copy buttons. Without the script nothing but those is missing.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from http import HTTPStatus
from importlib.resources import files
from string import Template

import msgspec

from novamesh.edge.endpoints import ENDPOINTS, Answer, Endpoint, Parameter, commands
from novamesh.status.ledger import Entry, identity
from novamesh.status.uptime import Day, Report


class PageData(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows.

    ``status`` is ``ok`` or ``degraded``; ``problems`` names each unwell part and why. ``p50_ms`` is the median latency
    of accepted requests over ``window`` (such as ``last hour``), ``None`` if there were none. ``events_accepted``
    counts since the node's start, ``ledger`` since the data directory was made, for all projects together; it is
    ``None`` while the store does not answer. ``now_s`` is the time of the measurement in unix seconds.
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
    ledger: Entry | None = None
    problems: tuple[str, ...] = ()


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
    ledger = "What became of them is not known while the store does not answer"
    if data.ledger is not None:
        ledger = f"In all, {identity(data.ledger)}"
    return f"{data.events_accepted:,} events accepted since this node started. {ledger}. As of {as_of}."


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
