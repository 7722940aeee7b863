"""API keys: create, list, revoke, look up. Only a SHA-256 of a key is kept.

A key is ``nm_live_`` or ``nm_test_`` and 32 random base62 characters (190 bits), so a plain
hash is enough: there is nothing to guess. Keys live in ``<data dir>/keys.db`` (SQLite); every
edge worker holds them all in memory and looks twice a second whether the file has changed.
"""

import hashlib
import secrets
import sqlite3
import string
import time
from pathlib import Path

import msgspec

from novamesh.errors import NovameshError

SCOPES = ("ingest", "query", "admin")
# What a key may do that was not told otherwise. Nobody gets the right to delete by leaving something out.
DEFAULT_SCOPES = SCOPES[:2]
LIVE, TEST = "nm_live_", "nm_test_"
_ALPHABET = string.digits + string.ascii_letters
_RANDOM_CHARACTERS = 32
_PROJECT_PATTERN = set(string.ascii_lowercase + string.digits + "_")

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


class KeyRefused(NovameshError):
    """A key cannot be created or revoked. The message says why."""


class Key(msgspec.Struct, frozen=True):
    """A key without its secret. Times are seconds since 1970."""

    id: str
    project: str
    scopes: tuple[str, ...]
    name: str
    test: bool
    created_at: int
    expires_at: int | None
    revoked_at: int | None

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


class KeyStore:
    """The keys file. Create one per process; not for sharing between threads."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=5, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(_SCHEMA)

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
    ) -> str:
        """Make a key and return it: the only time it can be seen. Raises :class:`KeyRefused`."""
        check_project(project)
        if unknown := set(scopes) - set(SCOPES):
            raise KeyRefused(f"there is no scope {min(unknown)!r}; scopes are {', '.join(SCOPES)}")
        secret = (TEST if test else LIVE) + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
        self._connection.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                "k_" + secrets.token_hex(6),
                digest(secret),
                project,
                ",".join(dict.fromkeys(scopes)),
                name,
                test,
                int(time.time()),
                expires_at,
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
            "SELECT hash, id, project, scopes, name, test, created_at, expires_at, revoked_at"
            " FROM keys ORDER BY created_at, rowid"
        )
        return [
            (hashed, Key(id, project, tuple(scopes.split(",")), name, bool(test), created, expires, revoked))
            for hashed, id, project, scopes, name, test, created, expires, revoked in rows
        ]
