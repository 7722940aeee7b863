"""Who may do what: the API key of a request, looked up among the keys this worker knows."""

import time
from pathlib import Path

from novamesh.errors import Forbidden, Unauthorized
from novamesh.keys import Key, KeyStore, digest

REFRESH_S = 0.4


class Keyring:
    """All keys, in memory. ``refresh`` is called every :data:`REFRESH_S` seconds."""

    def __init__(self, path: Path, base_url: str) -> None:
        self._store = KeyStore(path)
        self._version = self._store.version()
        self._keys = self._store.by_digest()
        self._refusal = f"API key required. See {base_url}/#api"

    def refresh(self) -> None:
        """Take over what other processes have changed. Raises ``sqlite3.Error``."""
        version = self._store.version()
        if version != self._version:
            self._keys = self._store.by_digest()
            self._version = version

    def close(self) -> None:
        self._store.close()

    def knows(self, origin: str) -> bool:
        """Whether a usable key is bound to this origin."""
        now = time.time()
        return any(origin in key.origins and key.usable(now) for key in self._keys.values())

    def authorize(self, authorization: str | None, scope: str) -> Key:
        """The key of a request. Raises :class:`Unauthorized` and :class:`Forbidden`.

        What is looked up is the SHA-256 of what was sent, so the time it takes tells nothing
        of any key.
        """
        scheme, _, secret = (authorization or "").partition(" ")
        key = self._keys.get(digest(secret.strip())) if scheme.lower() == "bearer" else None
        if key is None or not key.usable(time.time()):
            raise Unauthorized(self._refusal, headers=(("www-authenticate", "Bearer"),))
        if scope not in key.scopes:
            raise Forbidden(
                f"This key lacks the scope {scope}; use one that has it (novamesh keys create --scope {scope})."
            )
        return key
