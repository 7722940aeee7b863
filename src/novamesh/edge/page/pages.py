"""The status page: one HTML document, made on the server, that needs nothing else from anywhere.

Its parts are written by ``charts``, ``bars`` and ``reference`` beside it.
Everything a page shows is escaped; :data:`CONTENT_SECURITY_POLICY` lets the browser run and apply nothing but the
page's own style and its script, and ask nobody but the node. Without the script all can be read; with it figures are
refreshed (by :func:`render_live`), code is copied, and requests are tried.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template

import msgspec

from novamesh.edge.page.bars import bars, downtime
from novamesh.edge.page.charts import charts
from novamesh.edge.page.reference import reference
from novamesh.edge.page.text import clock, milliseconds, moment
from novamesh.status.health import Problem
from novamesh.status.history import Minute, no_history
from novamesh.status.ledger import Entry, identity
from novamesh.status.uptime import Report


class PageData(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows.

    ``status`` is ``ok`` or ``degraded``; ``problems`` are the unwell parts and ``since`` says from when each is, in
    unix seconds. ``p50_ms`` is the median latency of accepted requests over ``window`` (such as ``last hour``),
    ``None`` if there were none; ``minutes`` are those of the last hour, empty if not known. ``events_accepted`` counts
    since the node's start, ``ledger`` since the data directory was made, for all projects together; it is ``None``
    while the store does not answer. ``now_s`` is the time of the measurement in unix seconds.
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
    minutes: tuple[Minute, ...] = ()
    ledger: Entry | None = None
    problems: tuple[Problem, ...] = ()
    since: Mapping[str, float] = {}


def _template(name: str) -> str:
    return (files("novamesh.edge.page") / "templates" / name).read_text("utf-8")


def _source(text: str) -> str:
    """A CSP source that admits exactly this inline text."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_PAGE = Template(_template("status.html"))
_LIVE = Template(_template("live.html"))
# Blanks are a fifth of what is written. A string of the script is kept as it is; it has no other blanks that count.
_BLANKS = re.compile(r"""('[^']*'|`[^`]*`)|[ ]*([{}()=<>?:;,|&+*!])[ ]*""")
_STYLE = re.sub(r"(?<=[{}:;,]) | (?=[{}])|;(?= })", "", re.sub(r"\s+", " ", _template("status.css")))
_SCRIPT = _BLANKS.sub(r"\1\2", re.sub(r"\s*\n\s*(//[^\n]*\n\s*)*", "\n", _template("status.js")))

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def render(data: PageData) -> bytes:
    """The page as UTF-8 HTML."""
    return _PAGE.substitute(
        title=_title(data),
        node=escape(data.node),
        style=_STYLE,
        script=_SCRIPT,
        live=_live(data),
        reference=reference(data.base_url, _health(data)),
        version=escape(data.version),
    ).encode()


def render_live(data: PageData) -> bytes:
    """Only what changes, as UTF-8 HTML: the title and the parts above the API Reference."""
    return f"<!doctype html><title>{_title(data)}</title>\n{_live(data)}".encode()


def _live(data: PageData) -> str:
    return _LIVE.substitute(
        problems=_problems(data),
        figures="\n".join(_figures(data)),
        ledger=_ledger(data),
        charts=charts(data.minutes or no_history(data.now_s)),
        oldest=data.report.days[0].date,
        days=bars(data.report),
        outages=downtime(data.report),
    )


def _title(data: PageData) -> str:
    return f"{escape(data.node)} — {_status_text(data.status)}"


def _status_text(status: str) -> str:
    return "Operational" if status == "ok" else "Degraded"


def _problems(data: PageData) -> str:
    if not data.problems:
        return '<p class="muted small">All parts of this node are well.</p>'
    items = "".join(_problem(problem, data.since.get(problem.part)) for problem in data.problems)
    return f'<ul class="problems" aria-label="What is degraded">{items}</ul>'


def _problem(problem: Problem, since: float | None) -> str:
    when = "" if since is None else f' <span class="muted">since {clock(since)} UTC</span>'
    return f"<li><b>{escape(problem.part)}</b>: {escape(problem.reason)}{when}</li>"


def _figures(data: PageData) -> Iterable[str]:
    yield _figure("Node Status", _status_text(data.status), "", "ok" if data.status == "ok" else "degraded")
    if data.p50_ms is None:
        yield _figure("Latency (p50)", "no data yet", data.window)
    else:
        yield _figure("Latency (p50)", milliseconds(data.p50_ms), data.window)
    yield _figure("Uptime (30d)", *_uptime(data))
    yield _figure("Region", data.region_label, data.region)
    yield _figure("Version", data.version)


def _figure(name: str, value: str, note: str = "", css: str = "") -> str:
    kind = f' class="{css}"' if css else ""
    more = f"<dd>{escape(note)}</dd>" if note else ""
    return f"<div><dt>{name}</dt><dd{kind}>{escape(value)}</dd>{more}</div>"


def _uptime(data: PageData) -> tuple[str, str]:
    first = data.report.first_start
    if first is None:
        return "no data yet", ""
    young = data.report.days[0].percent is None
    return f"{data.report.percent:.2f}%", f"since {moment(first):%F}" if young else "last 30 days"


def _ledger(data: PageData) -> str:
    as_of = f"As of {moment(data.now_s):%Y-%m-%d %H:%M:%S} UTC."
    since = f"{data.events_accepted:,} events accepted since this node started."
    return f'<p class="small">{since} {as_of}</p>{_identity(data.ledger)}'


def _identity(entry: Entry | None) -> str:
    if entry is None:
        return "<p>What became of them is not known while the store does not answer.</p>"
    line = f"In all, {identity(entry)}."
    if not entry.damaged and not entry.missing:
        return f"<p>{line}</p>"
    told = "Not all accepted events are stored: novamesh verify says which, and what to do."
    return f'<p class="bad">{line}</p><p class="bad">{told}</p>'


def _health(data: PageData) -> str:
    document = {
        "status": data.status,
        "node": data.node,
        "region": data.region,
        "version": data.version,
        "uptime": data.report.percent,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
