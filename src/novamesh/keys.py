"""API keys: create, list, revoke, look up. Only a SHA-256 of a key is kept.

A key is ``nm_live_`` or ``nm_test_`` and 32 random base62 characters (190 bits), so a plain
hash is enough: there is nothing to guess. Keys live in ``<data dir>/keys.db`` (SQLite); every
edge worker holds them all in memory and looks twice a second whether the file has changed.

A key may have a rate of its own, and may be bound to origins: then it is for web pages, which everybody can read,
and may do nothing but send events.
"""

import hashlib
import re
import secrets
import sqlite3
import string
import time
from pathlib import Path
from typing import Any

import msgspec

from novamesh.errors import NovameshError

SCOPES = ("ingest", "query", "admin")
# What a key may do that was not told otherwise. Nobody gets the right to delete by leaving something out.
DEFAULT_SCOPES = SCOPES[:2]
LIVE, TEST = "nm_live_", "nm_test_"
_ALPHABET = string.digits + string.ascii_letters
_RANDOM_CHARACTERS = 32
_PROJECT_PATTERN = set(string.ascii_lowercase + string.digits + "_")
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(\d{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id         TEXT PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE,
    project    TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    name       TEXT NOT NULL,
    test       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT
"""
# What files of earlier versions lack.
_ADDED = {"rate": "INTEGER", "burst": "INTEGER", "origins": "TEXT NOT NULL DEFAULT ''"}


class KeyRefused(NovameshError):
    """A key cannot be created or revoked. The message says why."""


class Key(msgspec.Struct, frozen=True):
    """A key without its secret. Times are seconds since 1970.

    ``rate`` is in events a second, ``burst`` in events; None is what the node's settings say, a rate of 0 is no limit.
    ``number`` is the key's own in this file, from 1.
    """

    id: str
    project: str
    scopes: tuple[str, ...]
    name: str
    test: bool
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    rate: int | None = None
    burst: int | None = None
    origins: tuple[str, ...] = ()
    number: int = 0

    @property
    def space(self) -> str:
        """Where this key's events are kept: the project, and apart from it what test keys send."""
        return f"{self.project}.test" if self.test else self.project

    def usable(self, now: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def digest(secret: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode()).digest()


def check_project(project: str) -> str:
    """A project's name: 1–40 of a–z, 0–9 and ``_``. Raises :class:`KeyRefused`."""
    if not 1 <= len(project) <= 40 or not set(project) <= _PROJECT_PATTERN:
        raise KeyRefused("a project's name has 1 to 40 of the characters a-z, 0-9 and _")
    return project


def check_origin(origin: str) -> str:
    """An origin as browsers send it, such as ``https://shop.example``. Raises :class:`KeyRefused`."""
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None:
        raise KeyRefused(
            f"{origin!r} is no origin; give scheme and host and nothing else, such as https://shop.example"
        )
    scheme, host, port = match.groups()
    return f"{scheme}://{host}" + ("" if port in (None, _DEFAULT_PORTS[scheme]) else f":{port}")


class KeyStore:
    """The keys file. Create one per process; not for sharing between threads."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=5, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(_SCHEMA)
        self._add_columns()

    def _add_columns(self) -> None:
        if not self._missing():
            return
        self._connection.execute("BEGIN IMMEDIATE")  # the command line and the node may both be first
        for name in self._missing():
            self._connection.execute(f"ALTER TABLE keys ADD COLUMN {name} {_ADDED[name]}")
        self._connection.execute("COMMIT")

    def _missing(self) -> list[str]:
        there = {row[0] for row in self._connection.execute("SELECT name FROM pragma_table_info('keys')")}
        return [name for name in _ADDED if name not in there]

    def close(self) -> None:
        self._connection.close()

    def version(self) -> int:
        """A number that changes when another process has changed the keys."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def create(
        self,
        project: str,
        scopes: tuple[str, ...] = DEFAULT_SCOPES,
        name: str = "",
        expires_at: int | None = None,
        test: bool = False,
        rate: int | None = None,
        burst: int | None = None,
        origins: tuple[str, ...] = (),
    ) -> str:
        """Make a key and return it: the only time it can be seen. Raises :class:`KeyRefused`."""
        check_project(project)
        if unknown := set(scopes) - set(SCOPES):
            raise KeyRefused(f"there is no scope {min(unknown)!r}; scopes are {', '.join(SCOPES)}")
        if origins and set(scopes) != {"ingest"}:
            raise KeyRefused("everybody can read a key in a web page: with an origin its scope must be ingest alone")
        if burst is not None and not rate:
            raise KeyRefused("a burst needs a rate, in events a second")
        bound = " ".join(dict.fromkeys(check_origin(origin) for origin in origins))
        secret = (TEST if test else LIVE) + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
        self._connection.execute(
            "INSERT INTO keys (id, hash, project, scopes, name, test, created_at, expires_at, rate, burst, origins)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                "k_" + secrets.token_hex(6),
                digest(secret),
                project,
                ",".join(dict.fromkeys(scopes)),
                name,
                test,
                int(time.time()),
                expires_at,
                rate,
                burst,
                bound,
            ),
        )
        return secret

    def all(self) -> list[Key]:
        """All keys, oldest first."""
        return [key for _, key in self._rows()]

    def by_digest(self) -> dict[bytes, Key]:
        """All keys by the SHA-256 of their secret."""
        return dict(self._rows())

    def revoke(self, key: str) -> Key:
        """Revoke by id (``k_…``) or by the key itself. Raises :class:`KeyRefused` if there is none."""
        found = [row for hashed, row in self._rows() if row.id == key or hashed == digest(key)]
        if not found:
            raise KeyRefused("there is no such key; novamesh keys list shows the ids")
        self._connection.execute(
            "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (int(time.time()), found[0].id)
        )
        return found[0]

    def _rows(self) -> list[tuple[bytes, Key]]:
        rows = self._connection.execute(
            "SELECT hash, id, project, scopes, name, test, created_at, expires_at, revoked_at, rate, burst, origins,"
            " rowid FROM keys ORDER BY created_at, rowid"
        )
        return [(hashed, _key(*fields)) for hashed, *fields in rows]


def _key(id: str, project: str, scopes: str, name: str, test: int, created: int, *rest: Any) -> Key:
    expires, revoked, rate, burst, origins, number = rest
    bound = tuple(origins.split())
    return Key(
        id, project, tuple(scopes.split(",")), name, bool(test), created, expires, revoked, rate, burst, bound, number
    )
