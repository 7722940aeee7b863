"""Parameters and headers that several endpoints have."""

from novamesh.edge.api.endpoint import Parameter

WAIT = Parameter(
    "wait",
    "string",
    "stored: answer when queries see the events, with a status; after 5 s (the default) as without it.",
    place="query",
    limits={"enum": ["stored"]},
)
REPEAT = Parameter(
    "Idempotency-Key",
    "string",
    "Makes a retry safe: what is sent with the same key is stored once.",
    place="header",
    limits={"minLength": 1, "maxLength": 255},
)
ENCODING = Parameter(
    "Content-Encoding",
    "string",
    "gzip, if the body is compressed; or zstd, deflate.",
    place="header",
    limits={"enum": ["gzip", "zstd", "deflate", "identity"]},
)
Q = Parameter(
    "q", "string", "The SQL query, over the table events.", required=True, place="query", limits={"maxLength": 65_536}
)


def format_of(names: list[str], text: str) -> Parameter:
    """The parameter for one of these formats; the first is the default."""
    return Parameter("format", "string", text, place="query", limits={"enum": names, "default": names[0]})


RATE = {
    "RateLimit": "What is left of the key's rate, if it has one.",
    "RateLimit-Policy": "The key's rate, if it has one.",
}
