"""The data directory's identity is on disk before anything is accepted."""

import errno
import os
import uuid
from pathlib import Path

import pytest

from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.errors import StartError


def test_a_new_directory_s_identity_is_synced_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    identity = tmp_path / "data" / "node.json"

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, identity.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    directory = DataDirectory(tmp_path / "data")
    assert directory.open()
    directory.close()
    # The file before it has its name, then the directory that holds the name, then the one that holds that.
    assert synced == [("node.tmp", False), ("data", True), (tmp_path.name, True)]


def test_an_identity_stays(tmp_path: Path) -> None:
    ids = set()
    for new in (True, False):
        directory = DataDirectory(tmp_path / "data")
        assert directory.open() is new
        ids.add(directory.node_id())
        directory.close()
    (only,) = ids
    assert uuid.UUID(bytes=only).version == 4


def test_a_command_takes_only_a_directory_that_is_there_and_free(tmp_path: Path) -> None:
    missing = DataDirectory(tmp_path / "missing")
    with pytest.raises(StartError, match="there is no node's data in"):
        missing.open_stopped()
    assert list(tmp_path.iterdir()) == []
    node, command = DataDirectory(tmp_path / "data"), DataDirectory(tmp_path / "data")
    node.open()
    assert not command.open_stopped()
    node.close()
    assert command.open_stopped()
    with pytest.raises(StartError, match="in use by another node"):
        node.open()
    command.close()
    node.open()
    node.close()


def test_a_node_leaves_word_of_itself(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    assert directory.running() is None
    directory.open()
    directory.describe(Config(node="ingest-eu5", region="eu", port=8123))
    found = directory.running()
    assert found is not None
    assert (found.node, found.region, found.url, found.pid) == (
        "ingest-eu5",
        "eu",
        "http://127.0.0.1:8123",
        os.getpid(),
    )
    assert found.address == found.url
    (directory.run / "node.json").write_bytes(b"cut")
    assert directory.running() is None
    directory.close()


def test_commands_reach_a_node_behind_a_proxy_where_it_listens(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.open()
    directory.describe(Config(host="0.0.0.0", port=8123, public_url="https://events.example.org"))
    found = directory.running()
    directory.close()
    assert found is not None
    assert (found.url, found.address) == ("https://events.example.org", "http://127.0.0.1:8123")
    # What an earlier version left has none.
    (directory.run / "node.json").write_text('{"node": "n", "region": "", "url": "http://h:1", "pid": 1}')
    earlier = directory.running()
    assert earlier is not None
    assert earlier.address == "http://h:1"


def denied(*_arguments: object, **_options: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_directory_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.open()
    directory.close()
    said = "cannot be used: Permission denied; run this as the user to whom it belongs"
    for name in ("stat", "read_bytes"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, name, denied)
            with pytest.raises(StartError, match=said):
                directory.open_stopped()
    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(StartError, match=said):
        directory.open()
