"""API keys."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from novamesh.edge.auth import Keyring
from novamesh.errors import Forbidden, Unauthorized
from novamesh.keys import KeyRefused, KeyStore, digest


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
    with pytest.raises(Forbidden, match="may not query"):
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
