"""API keys."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from novamesh.edge.auth import Keyring
from novamesh.errors import Forbidden, Unauthorized
from novamesh.keys import KeyRefused, KeyStore, check_origin, digest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    store = KeyStore(tmp_path / "keys.db")
    yield store
    store.close()


@pytest.fixture
def keyring(store: KeyStore, tmp_path: Path) -> Iterator[Keyring]:
    keyring = Keyring(tmp_path / "keys.db", "http://node")
    yield keyring
    keyring.close()


def test_a_key(store: KeyStore, tmp_path: Path) -> None:
    secret = store.create("default", name="web")
    assert re.fullmatch("nm_live_[0-9A-Za-z]{32}", secret)
    (key,) = store.all()
    assert (key.project, key.scopes, key.name, key.space) == ("default", ("ingest", "query"), "web", "default")
    for path in tmp_path.iterdir():
        assert secret.encode() not in path.read_bytes()
        assert secret[8:].encode() not in path.read_bytes()


def test_a_test_key_has_a_space_of_its_own(store: KeyStore) -> None:
    assert store.create("shop", test=True).startswith("nm_test_")
    assert store.all()[0].space == "shop.test"


def test_no_two_keys_are_alike(store: KeyStore) -> None:
    assert len({store.create("default") for _ in range(50)}) == 50


@pytest.mark.parametrize("project", ["", "Shop", "a b", "a.test", "x" * 41, 'a"'])
def test_bad_projects(store: KeyStore, project: str) -> None:
    with pytest.raises(KeyRefused, match="project"):
        store.create(project)


def test_an_unknown_scope(store: KeyStore) -> None:
    with pytest.raises(KeyRefused, match="no scope 'root'"):
        store.create("default", ("root",))


def test_revoking(store: KeyStore) -> None:
    secrets = [store.create("default"), store.create("default")]
    first = store.all()[0]
    assert store.revoke(first.id).id == first.id
    store.revoke(secrets[1])
    assert all(not key.usable(time.time()) for key in store.all())
    with pytest.raises(KeyRefused, match="no such key"):
        store.revoke("k_nothing")


def test_a_key_is_known_by_its_digest(store: KeyStore) -> None:
    secret = store.create("default")
    assert list(store.by_digest()) == [digest(secret)]


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_authorize(store: KeyStore, keyring: Keyring, scheme: str) -> None:
    secret = store.create("default", ("ingest",))
    keyring.refresh()
    assert keyring.authorize(scheme + secret, "ingest").project == "default"
    with pytest.raises(Forbidden, match="lacks the scope query"):
        keyring.authorize(scheme + secret, "query")


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer {}x", "Bearer x{}"])
def test_what_is_no_key(store: KeyStore, keyring: Keyring, sent: str | None) -> None:
    secret = store.create("default")
    keyring.refresh()
    with pytest.raises(Unauthorized) as caught:
        keyring.authorize(sent and sent.format(secret), "ingest")
    assert caught.value.message == "API key required. See http://node/#api"
    assert caught.value.headers == (("www-authenticate", "Bearer"),)


def test_expired_and_revoked_keys(store: KeyStore, keyring: Keyring) -> None:
    expired = store.create("default", expires_at=int(time.time()) - 1)
    revoked = store.create("default")
    keyring.refresh()
    assert keyring.authorize(f"Bearer {revoked}", "ingest").project == "default"
    store.revoke(revoked)
    keyring.refresh()
    for secret in (expired, revoked):
        with pytest.raises(Unauthorized):
            keyring.authorize(f"Bearer {secret}", "ingest")


def test_a_file_of_an_earlier_version_gets_the_columns_it_lacks(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as old, old:
        old.execute(
            "CREATE TABLE keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, project TEXT NOT NULL, scopes TEXT NOT NULL,"
            " name TEXT NOT NULL, test INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER,"
            " revoked_at INTEGER) STRICT"
        )
        old.execute(
            "INSERT INTO keys VALUES ('k_1', ?, 'default', 'ingest,query', 'old', 0, 1, NULL, NULL)", [digest("s")]
        )
    for _ in range(2):  # and a second time it is as it should be
        with closing(KeyStore(tmp_path / "old.db")) as store:
            (key,) = store.all()
            assert (key.id, key.name, key.rate, key.burst, key.origins, key.number) == ("k_1", "old", None, None, (), 1)
    with closing(KeyStore(tmp_path / "old.db")) as store:
        store.create("default", ("ingest",), rate=5, burst=50, origins=("https://a.example",))
        new = store.all()[-1]
        assert (new.rate, new.burst, new.origins, new.number) == (5, 50, ("https://a.example",), 2)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Shop.Example", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_origins_are_kept_as_browsers_send_them(given: str, kept: str) -> None:
    assert check_origin(given) == kept


@pytest.mark.parametrize(
    "origin", ["", "*", "null", "ftp://a", "https://a/", "https://a b", "https://u@a", "a.example"]
)
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(KeyRefused, match="no origin"):
        check_origin(origin)
