"""A progress file says where to go on, and when not to."""

import time
from pathlib import Path

import msgspec
import pytest

from novamesh.transfer import progress
from novamesh.transfer.progress import (
    Fingerprint,
    Progress,
    ProgressError,
    alone,
    begin,
    fingerprint,
    resume,
    save,
    sender_of,
)

URL, SENDER, OPTIONS = "http://127.0.0.1:8000", sender_of("nm_live_x"), "--format ndjson"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "x").write_bytes(b"a" * 200_000)
    return tmp_path / "x"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "x.novamesh-import"


def again(
    state: Path, file: Fingerprint, target: str = URL, sender: str = SENDER, options: str = OPTIONS, go_on: bool = False
) -> Progress | None:
    return resume(state, target, sender, options, file, go_on=go_on)


def test_what_is_saved_is_gone_on_with(state: Path, data: Path) -> None:
    file = fingerprint(data)
    assert again(state, file) is None
    begun = begin(URL, SENDER, OPTIONS, file)
    begun.position, begun.line = 1000, 10
    save(state, begun)
    assert again(state, file) == begun
    assert list(state.parent.glob("*.tmp")) == []


def test_keys_are_of_the_import_the_place_and_the_contents(data: Path) -> None:
    one, other = (begin(URL, SENDER, OPTIONS, fingerprint(data)) for _ in range(2))
    keys = {one.key(0, b"a"), one.key(0, b"b"), one.key(1, b"a"), other.key(0, b"a")}
    assert len(keys) == 4
    assert one.key(0, b"a") in keys
    assert max(map(len, keys)) <= 100


@pytest.mark.parametrize("change", [lambda b: b + b"a", lambda b: b"b" + b[1:], lambda b: b[:-1] + b"b"])
def test_a_file_that_has_changed(state: Path, data: Path, change: object) -> None:
    save(state, begin(URL, SENDER, OPTIONS, fingerprint(data)))
    assert callable(change)
    data.write_bytes(change(data.read_bytes()))
    with pytest.raises(ProgressError, match="has changed"):
        again(state, fingerprint(data))
    found = again(state, fingerprint(data), go_on=True)
    assert found is not None
    assert found.file == fingerprint(data)


def test_another_node_other_options_another_version(state: Path, data: Path) -> None:
    file = fingerprint(data)
    save(state, begin(URL, SENDER, OPTIONS, file))
    with pytest.raises(ProgressError, match=f"begun for {URL}"):
        again(state, file, target="http://other")
    with pytest.raises(ProgressError, match="another key"):
        again(state, file, sender=sender_of("nm_live_y"))
    assert again(state, file, sender=sender_of("nm_live_y"), go_on=True) is not None
    with pytest.raises(ProgressError, match="other options"):
        again(state, file, options="--format csv")
    save(state, msgspec.structs.replace(begin(URL, SENDER, OPTIONS, file), version=2))
    with pytest.raises(ProgressError, match="another version"):
        again(state, file)
    state.write_bytes(b"{")
    with pytest.raises(ProgressError, match="cannot be read"):
        again(state, file)


def test_keys_that_may_be_forgotten(state: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fingerprint(data)
    begun = begin(URL, SENDER, OPTIONS, file)
    now = time.time()
    for settled in (True, False):
        begun.settled = settled
        save(state, begun)
        monkeypatch.setattr("novamesh.transfer.progress.time.time", lambda: now + progress.SAFE_S + 60)
        if settled:  # nothing was under way, so no key is needed
            assert again(state, file)
        else:
            with pytest.raises(ProgressError, match="20 hours"):
                again(state, file)
            assert again(state, file, go_on=True)
        monkeypatch.undo()
        assert again(state, file)


def test_where_it_cannot_be_written(data: Path) -> None:
    with pytest.raises(ProgressError, match="--state-dir"):
        save(data / "x", begin(URL, SENDER, OPTIONS, fingerprint(data)))


def test_one_import_at_a_time(state: Path) -> None:
    with alone(state), pytest.raises(ProgressError, match="another import of this file is running"), alone(state):
        pass
    assert list(state.parent.glob("*.lock")) == []
    state.with_name(state.name + ".lock").touch()  # a killed one left it
    with alone(state):
        pass
    with pytest.raises(ProgressError, match="--state-dir"), alone(state.parent / "none" / "x"):
        pass
