"""Each example of :data:`novamesh.edge.api.endpoints.ENDPOINTS` in three languages, to be pasted and run as it stands.

The shell needs curl, Python its standard library, JavaScript a runtime with fetch (Node, Deno, Bun). All read the key
from the environment variable ``NOVAMESH_KEY``.
"""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from novamesh.edge.api.endpoint import Endpoint, Example

WIDTH = 66  # of an object that stays on one line

_PYTHON_WORDS = {"true": "True", "false": "False", "null": "None"}


class Language(NamedTuple):
    """One of :data:`LANGUAGES`: its name on a tab, a short name, and what writes an example in it."""

    name: str
    code: str
    write: Callable[[Endpoint, Example, str], str]


def commands(endpoint: Endpoint, base_url: str) -> list[str]:
    """The endpoint's examples as they are to be pasted into a shell."""
    return [curl(endpoint, example, base_url) for example in endpoint.examples]


def curl(endpoint: Endpoint, example: Example, base_url: str) -> str:
    """A command for a POSIX shell."""
    body = None if example.body is None else shlex.quote(_literal(example.body, 2, pad="  "))
    lines = [_curl_start(endpoint, example, base_url, body), *_curl_headers(endpoint, example)]
    if example.compressed:
        lines.append("--data-binary @-")
    elif body is not None:
        lines.append(f"-d {body}")
    lines += [f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in example.query.items()]
    return " \\\n  ".join(lines)


def _curl_start(endpoint: Endpoint, example: Example, base_url: str, body: str | None) -> str:
    method = "" if endpoint.method == "GET" else f" -X {endpoint.method}"
    options = " -N" * example.streamed + " -G" * bool(example.query)
    variable = f'"${example.variable}"' if example.variable else ""
    pipe = f"echo {body} | gzip | " if example.compressed else ""
    return f"{pipe}curl{method}{options} {shlex.quote(_url(endpoint, base_url))}{variable}"


def _curl_headers(endpoint: Endpoint, example: Example) -> Iterator[str]:
    if endpoint.scope:
        yield '-H "Authorization: Bearer $NOVAMESH_KEY"'
    for name, value in _plain_headers(example).items():
        yield f"-H {shlex.quote(f'{name}: {value}')}"


def python(endpoint: Endpoint, example: Example, base_url: str) -> str:
    """A program for Python 3 that needs no package."""
    url = _quoted(_url(endpoint, base_url) + "?" * bool(example.query))
    if example.variable:
        url += f' + os.environ["{example.variable}"]'
    arguments = [url + " + query" * bool(example.query), *_python_arguments(endpoint, example)]
    request = url if len(arguments) == 1 else f"Request(\n    {f',{chr(10)}    '.join(arguments)},\n)"
    shown = "print(answer.status, answer.read().decode())"
    if example.streamed:
        shown = 'for line in answer:\n        print(line.decode(), end="")'
    return "\n".join(
        [
            *_python_imports(endpoint, example, len(arguments) > 1),
            "",
            *_python_values(example),
            f"request = {request}",
            f"with urlopen(request) as answer:\n    {shown}",
        ]
    )


def _python_imports(endpoint: Endpoint, example: Example, request: bool) -> Iterator[str]:
    if example.compressed:
        yield "import gzip"
    if example.body is not None:
        yield "import json"
    if endpoint.scope or example.variable:
        yield "import os"
    if example.query:
        yield "from urllib.parse import urlencode"
    yield f"from urllib.request import {'Request, ' * request}urlopen"


def _python_values(example: Example) -> Iterator[str]:
    if example.query:
        yield f"query = urlencode({_literal(example.query, 4, _PYTHON_WORDS)})"
    if example.body is not None:
        yield f"body = json.dumps({_literal(example.body, 4, _PYTHON_WORDS)}).encode()"


def _python_arguments(endpoint: Endpoint, example: Example) -> Iterator[str]:
    if endpoint.method != "GET":
        yield f'method="{endpoint.method}"'
    if headers := _headers(endpoint, example, '"Authorization": "Bearer " + os.environ["NOVAMESH_KEY"]'):
        yield f"headers={_object(headers, 4, '    ')}"
    if example.body is not None:
        yield "data=gzip.compress(body)" if example.compressed else "data=body"


def javascript(endpoint: Endpoint, example: Example, base_url: str) -> str:
    """A module for any runtime with fetch and ``process.env``."""
    url = _quoted(_url(endpoint, base_url) + "?" * bool(example.query)) + " + query" * bool(example.query)
    if example.variable:
        url += f" + process.env.{example.variable}"
    options = "".join(f"  {option},\n" for option in _javascript_options(endpoint, example))
    call = f"{url}, {{\n{options}}}" if options else url
    shown = "console.log(answer.status, await answer.text());"
    if example.streamed:
        shown = "for await (const text of answer.body.pipeThrough(new TextDecoderStream())) console.log(text);"
    return "\n".join([*_javascript_values(example), f"const answer = await fetch({call});", shown])


def _javascript_values(example: Example) -> Iterator[str]:
    if example.query:
        yield f"const query = new URLSearchParams({_literal(example.query, 2)});"
    if example.body is not None:
        yield f"const {'json' if example.compressed else 'body'} = JSON.stringify({_literal(example.body, 2)});"
    if example.compressed:
        yield 'const zipped = new Blob([json]).stream().pipeThrough(new CompressionStream("gzip"));'


def _javascript_options(endpoint: Endpoint, example: Example) -> Iterator[str]:
    if endpoint.method != "GET":
        yield f'method: "{endpoint.method}"'
    if headers := _headers(endpoint, example, "Authorization: `Bearer ${process.env.NOVAMESH_KEY}`"):
        yield f"headers: {_object(headers, 2, '  ')}"
    if example.body is not None:
        yield "body: await new Response(zipped).blob()" if example.compressed else "body"


LANGUAGES = (
    Language("curl", "sh", curl),
    Language("Python", "py", python),
    Language("JavaScript", "js", javascript),
)


def _url(endpoint: Endpoint, base_url: str) -> str:
    return base_url + (endpoint.sample or endpoint.path)


def _headers(endpoint: Endpoint, example: Example, authorization: str) -> list[str]:
    """Parts of an object: ``authorization``, where a key is needed, and the headers both languages write alike."""
    plain = [f'"{name}": "{value}"' for name, value in _plain_headers(example).items()]
    return [authorization, *plain] if endpoint.scope else plain


def _plain_headers(example: Example) -> dict[str, str]:
    headers = {} if example.body is None else {"Content-Type": "application/json"}
    return {**headers, "Content-Encoding": "gzip"} if example.compressed else headers


def _quoted(value: Any) -> str:
    """A string of Python and of JavaScript: JSON's escapes mean the same in all three."""
    return json.dumps(value, ensure_ascii=False)


def _literal(value: Any, step: int, words: Mapping[str, str] = {}, pad: str = "") -> str:
    """A JSON value as source text: on one line if it is short, else each part on its own, ``step`` behind ``pad``."""
    if not isinstance(value, dict | list):
        text = _quoted(value)
        return words.get(text, text)
    inner = pad + " " * step
    if isinstance(value, dict):
        parts = [f"{_quoted(name)}: {_literal(part, step, words, inner)}" for name, part in value.items()]
    else:
        parts = [_literal(part, step, words, inner) for part in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    flat = f"{begin}{', '.join(parts)}{end}"
    if len(flat) <= WIDTH and "\n" not in flat:
        return flat
    return f"{begin}\n{inner}{f',{chr(10)}{inner}'.join(parts)}\n{pad}{end}"


def _object(parts: list[str], step: int, pad: str) -> str:
    """An object of ready parts: on one line if there is one part, else a line for each."""
    if len(parts) == 1:
        return f"{{{parts[0]}}}"
    inner = pad + " " * step
    return f"{{\n{''.join(f'{inner}{part},{chr(10)}' for part in parts)}{pad}}}"
