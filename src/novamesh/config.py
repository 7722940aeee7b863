"""Settings: one table of fields, from flags, environment and ``novamesh.toml``.

A flag (``--data-dir``) wins over the environment (``NOVAMESH_DATA_DIR``), which wins over
the file (``data_dir = …``), which wins over the default. A name that is not in the table,
or a value of the wrong type, stops the start: a setting that is silently ignored is a trap.
Units stand in the names.
"""

import os
import socket
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from novamesh.errors import ConfigError

ENVIRONMENT_PREFIX = "NOVAMESH_"
# Not settings: the file that holds them, and the key and the address that clients in the same shell use.
OTHER_VARIABLES = ("config", "key", "url")
FILE_NAME = "novamesh.toml"

KIB, MIB, GIB = 1024, 1024**2, 1024**3

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
NodeName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


def _help(text: str) -> Any:
    return Meta(description=text)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting of a node. The field's name is the setting's name; its help is its description."""

    data_dir: Annotated[str, _help("Directory that holds everything the node keeps.")] = "./novamesh-data"
    host: Annotated[str, _help("Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, _help("Port to listen on; 0 takes a free one.")] = 8000
    node: Annotated[NodeName, _help("This node's name, as clients see it.")] = "novamesh-1"
    region: Annotated[str, _help("Short name of the region.")] = "local"
    region_label: Annotated[str, _help("The region's name for people.")] = "Local"
    public_url: Annotated[str, _help("Base URL that clients use; default http(s)://host:port.")] = ""
    workers: Annotated[Natural, _help("Edge processes; 0 takes one for every two cores.")] = 0
    store: Annotated[str, _help("Where events are stored: duckdb.")] = "duckdb"

    event_limit_bytes: Annotated[Positive, _help("Largest /v1/ingest body, after decompression.")] = 256 * KIB
    batch_limit_bytes: Annotated[Positive, _help("Largest /v1/batch body, after decompression.")] = 10 * MIB
    key_rate: Annotated[Natural, _help("Events a second a key may send, unless it has its own; 0: no limit.")] = 0
    key_burst: Annotated[Natural, _help("Events a key may send at once; 0: 5 s of its rate, at least 500.")] = 0
    body_memory_bytes: Annotated[Positive, _help("Memory for bodies under way, in each edge process.")] = 256 * MIB
    request_max_concurrent: Annotated[
        Positive, _help("Requests with bodies under way, in each edge process; no key has more than half.")
    ] = 2048
    connection_max_concurrent: Annotated[Positive, _help("Connections that are open, in each edge process.")] = 16_384
    idle_timeout_ms: Annotated[Positive, _help("A connection on which nothing happens is closed after this.")] = 75_000
    header_timeout_ms: Annotated[Positive, _help("Time for a request's headers to arrive.")] = 10_000
    body_timeout_ms: Annotated[Positive, _help("Time for a request's body to arrive.")] = 30_000
    stored_timeout_ms: Annotated[Positive, _help("Time a request with wait=stored waits for the store.")] = 5_000
    stop_timeout_s: Annotated[
        Positive, _help("Time for requests in flight, then for the spool to drain, on a stop.")
    ] = 30

    spool_segment_bytes: Annotated[Positive, _help("A spool segment is closed at this size.")] = 64 * MIB
    spool_limit_bytes: Annotated[Positive, _help("The spool answers 503 spool_full beyond this size.")] = 8 * GIB
    disk_reserve_bytes: Annotated[Natural, _help("The spool answers 503 spool_full below this much free disk.")] = (
        512 * MIB
    )

    dedup_window_s: Annotated[Natural, _help("How long an event id or Idempotency-Key is remembered.")] = 24 * 3600
    retention_days: Annotated[
        Natural, _help("Events older than this are removed; 0 keeps them. Projects can have their own.")
    ] = 0
    max_shredded_paths: Annotated[
        Natural, _help("Distinct property paths a project may keep in columns of their own.")
    ] = 64

    query_time_limit_ms: Annotated[Positive, _help("A query is stopped after this time.")] = 30_000
    query_memory_limit_bytes: Annotated[Positive, _help("Memory the store may use for queries and loading.")] = 2 * GIB
    query_threads: Annotated[Natural, _help("Threads the store may use; 0 takes all cores.")] = 0
    query_max_concurrent: Annotated[Positive, _help("Queries that run at once; more wait their turn.")] = 8
    query_key_concurrent: Annotated[Positive, _help("Queries of one key that run at once.")] = 4
    query_key_waiting: Annotated[Natural, _help("Queries of one key that wait; more are refused.")] = 32
    query_result_limit_bytes: Annotated[Positive, _help("A query's result is ended at this size.")] = 256 * MIB
    export_time_limit_ms: Annotated[Positive, _help("An export is stopped after this time.")] = 3_600_000
    export_max_concurrent: Annotated[Positive, _help("Exports that run at once; more wait their turn.")] = 2

    export_key_concurrent: Annotated[Positive, _help("Exports of one key that run at once.")] = 1
    tail_max_concurrent: Annotated[Natural, _help("Live tails that are open, in each edge process.")] = 64
    tail_key_concurrent: Annotated[Natural, _help("Live tails of one key that are open, in each edge process.")] = 8
    tail_rate: Annotated[Positive, _help("Events a second a live tail shows; more are left out, and counted.")] = 1000

    slow_query_ms: Annotated[Natural, _help("A query that takes longer is logged, without its literals; 0: none.")] = (
        1000
    )
    access_log: Annotated[str, Meta(pattern="^(on|off)$"), _help("on: a log line for every request; off.")] = "off"

    tls_cert: Annotated[str, _help("File with the TLS certificate and its chain (PEM): HTTPS, with HTTP/2.")] = ""
    tls_key: Annotated[str, _help("File with the certificate's private key (PEM).")] = ""

    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$"), _help("debug, info, warning or error.")] = (
        "info"
    )

    @property
    def data_path(self) -> Path:
        """The data directory as an absolute path."""
        return Path(self.data_dir).absolute()

    @property
    def base_url(self) -> str:
        """The URL clients use, without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        return self._url(self.host)

    @property
    def local_url(self) -> str:
        """The URL of this machine's commands, past any proxy; empty with TLS: the certificate has another name."""
        if self.tls_cert:
            return ""
        return self._url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host))

    def _url(self, host: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"

    @property
    def edge_workers(self) -> int:
        """Number of edge processes to run."""
        return self.workers or max(1, (os.cpu_count() or 1) // 2)


class Setting(msgspec.Struct, frozen=True):
    """One row of the table: ``name``, ``kind`` (``int`` or ``str``), ``default`` and ``help``."""

    name: str
    kind: type[int] | type[str]
    default: int | str
    help: str


def settings() -> list[Setting]:
    """All settings in their documented order."""
    rows = []
    for field in msgspec.structs.fields(Config):
        info = msgspec.inspect.type_info(field.type)
        text = ""
        while isinstance(info, msgspec.inspect.Metadata):
            text = (info.extra_json_schema or {}).get("description", text)
            info = info.type
        kind: type[int] | type[str] = int if isinstance(info, msgspec.inspect.IntType) else str
        rows.append(Setting(field.encode_name, kind, field.default, text))
    return rows


def _reject_unknown(names: Mapping[str, Any], source: str) -> None:
    known = msgspec.structs.fields(Config)
    valid = [field.name for field in known]
    for name in names:
        if name not in valid:
            near = get_close_matches(name, valid, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"unknown setting {name!r} in {source}{hint}")


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    _reject_unknown(values, str(path))
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    for name in OTHER_VARIABLES:
        values.pop(name, None)
    _reject_unknown(values, "the environment")
    return values


def load(
    flags: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Config:
    """Settings for a node, by precedence.

    ``flags`` holds only what was given on the command line. ``file`` defaults to
    ``NOVAMESH_CONFIG``, else ``novamesh.toml`` in the working directory if it is there.
    Raises :class:`ConfigError`.
    """
    environment = os.environ if environment is None else environment
    named = file or (Path(environment["NOVAMESH_CONFIG"]) if "NOVAMESH_CONFIG" in environment else None)
    values: dict[str, Any] = {}
    if named is not None or Path(FILE_NAME).exists():
        values |= _from_file(named or Path(FILE_NAME))
    given = {**_from_environment(environment), **{k: v for k, v in flags.items() if v is not None}}
    try:
        # Environment values are text, so they are converted; a number in the file must be a number.
        config = msgspec.convert({**values, **_typed(given)}, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"bad setting: {error}".replace(" - at `$.", " - `")) from None
    return _checked(config)


def _typed(given: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {setting.name: setting.kind for setting in settings()}
    typed: dict[str, Any] = {}
    for name, value in given.items():
        try:
            typed[name] = kinds[name](value)
        except ValueError:
            raise ConfigError(f"{name} must be a whole number, not {value!r}") from None
    return typed


def _checked(config: Config) -> Config:
    if config.store != "duckdb":
        raise ConfigError(f"store must be duckdb, not {config.store!r}")
    if config.batch_limit_bytes > config.spool_segment_bytes:
        raise ConfigError("batch_limit_bytes must not be larger than spool_segment_bytes")
    if config.spool_limit_bytes < config.spool_segment_bytes * config.edge_workers:
        # A segment is given free when it is closed, and it is closed when it is full: below this none would ever be.
        raise ConfigError(
            "spool_limit_bytes must be at least spool_segment_bytes for each edge process,"
            f" {config.spool_segment_bytes * config.edge_workers} for {config.edge_workers}; raise it, or lower"
            " spool_segment_bytes or workers"
        )
    if config.body_memory_bytes < 4 * config.batch_limit_bytes:
        raise ConfigError("body_memory_bytes must be at least four times batch_limit_bytes")
    if config.key_burst and not config.key_rate:
        raise ConfigError("key_burst needs key_rate")
    if config.idle_timeout_ms <= config.body_timeout_ms:
        raise ConfigError("idle_timeout_ms must be larger than body_timeout_ms")
    if bool(config.tls_cert) != bool(config.tls_key):
        raise ConfigError("tls_cert and tls_key go together; give both or neither")
    return config


def free_port(host: str) -> int:
    """A port nobody listens on at ``host``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
