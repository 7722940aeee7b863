"""The API Reference of the status page, written from :data:`novamesh.edge.api.endpoints.ENDPOINTS`."""

import secrets
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from http import HTTPStatus

import msgspec

from novamesh.edge.api.endpoint import Answer, Endpoint, Parameter
from novamesh.edge.api.endpoints import ENDPOINTS
from novamesh.edge.page.examples import LANGUAGES

_LOCK = '<svg aria-hidden="true"><use href="#lock"/></svg>'
# Stands for the health document in what is kept; nothing that is shown can contain it.
_HEALTH = secrets.token_hex(16)


def reference(base_url: str, health: str) -> str:
    """HTML of the whole, for a node at ``base_url``; ``health`` is what ``/v1/health`` answers now.

    All but the health document is the same for every request, and is kept.
    """
    return _reference(base_url).replace(_HEALTH, escape(health, quote=False))


@lru_cache(maxsize=1)
def _reference(base_url: str) -> str:
    index = "\n".join(map(_index_entry, ENDPOINTS))
    articles = "\n".join(_endpoint(endpoint, base_url) for endpoint in ENDPOINTS)
    return f'<nav aria-label="Endpoints"><ul class="index">\n{index}\n</ul></nav>\n{articles}'


def _index_entry(endpoint: Endpoint) -> str:
    return f'<li><a href="#{endpoint.anchor}"><code>{endpoint.method} {endpoint.path}</code></a></li>'


def _endpoint(endpoint: Endpoint, base_url: str) -> str:
    scope = f' <span class="lock">{_LOCK}API key required</span>' if endpoint.scope else ""
    needs = f" Needs a key with scope <code>{endpoint.scope}</code>." if endpoint.scope else ""
    return f"""<article class="card" id="{endpoint.anchor}">
<div>
<h3><span class="method">{endpoint.method}</span> <code>{endpoint.path}</code>{scope}</h3>
<p>{escape(endpoint.summary, quote=False)}{needs}</p>
{_parameters(endpoint)}
</div>
<div data-try='{_trial(endpoint)}'>
{_examples(endpoint, base_url)}
<h4>Responses</h4>
{"".join(_answer(answer, base_url) for answer in endpoint.answers)}
</div>
</article>"""


def _parameters(endpoint: Endpoint) -> str:
    if not endpoint.parameters:
        return '<p class="muted small">No parameters.</p>'
    rows = "".join(_parameter(parameter) for parameter in endpoint.parameters)
    return (
        '<table><thead><tr><th scope="col">Parameter</th><th scope="col">Description</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _parameter(parameter: Parameter) -> str:
    where = "" if parameter.place == "body" else f' data-in="{parameter.place}"'
    required = '<span class="required">required.</span> ' if parameter.required else ""
    return (
        f'<tr{where}><th scope="row"><code>{parameter.name}</code><span>{parameter.kind}</span></th>'
        f"<td>{required}{escape(parameter.text, quote=False)}</td></tr>"
    )


def _examples(endpoint: Endpoint, base_url: str) -> str:
    """All examples in all languages. Radio buttons choose the one that is seen, without a script; none is left out."""
    tabs = "".join(_tab(endpoint, language.name, language.code) for language in LANGUAGES)
    codes = "".join(_example_codes(endpoint, base_url))
    return f'<fieldset class="examples" aria-label="Language">{tabs}{codes}</fieldset>'


def _tab(endpoint: Endpoint, name: str, code: str) -> str:
    checked = " checked" if code == LANGUAGES[0].code else ""
    return f'<label><input type="radio" name="l{ENDPOINTS.index(endpoint)}" value="{code}"{checked}>{name}</label>'


def _example_codes(endpoint: Endpoint, base_url: str) -> Iterator[str]:
    for example in endpoint.examples:
        yield f"<h4>{escape(example.title)}</h4>"
        for language in LANGUAGES:
            text = escape(language.write(endpoint, example, base_url), quote=False)
            code = f'<code class="language-{language.code}">{text}</code>'
            yield f'<div class="code {language.code}"><pre>{code}</pre></div>'


def _answer(answer: Answer, base_url: str) -> str:
    shown = " open" if answer.status < 300 else ""
    phrase = HTTPStatus(answer.status).phrase
    title = f"<b>{answer.status}</b> {phrase} <i>— {escape(answer.when, quote=False)}</i>"
    # In two parts: an address may contain the other name.
    body = base_url.join(part.replace("{health}", _HEALTH) for part in answer.body.split("{base_url}"))
    return f"<details{shown}><summary>{title}</summary>{_json(body)}</details>"


def _json(text: str) -> str:
    return f'<pre><code class="language-json">{escape(text, quote=False)}</code></pre>'


def _trial(endpoint: Endpoint) -> str:
    """What the form for a request of one's own begins with, as JSON; the rest the script reads off the article."""
    example = endpoint.examples[0]
    begin = {name: value for name, value in (("query", example.query), ("body", example.body)) if value}
    return escape(msgspec.json.encode(begin).decode(), quote=False).replace("'", "&#39;")
