"""The data directory's identity is on disk before anything is accepted."""

import os
import uuid
from pathlib import Path

import pytest

from novamesh.datadir import DataDirectory


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
