"""Each thing that a doctor looks at, well and unwell."""

import os
import resource
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from novamesh.cli.address import node_url
from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.doctor import directory, machine, service
from novamesh.doctor.finding import Finding, size
from novamesh.doctor.machine import Clocks
from novamesh.keys import KeyStore
from novamesh.spool.repair import REPORT_SUFFIX, note_written_off
from tests.scripted import Answer, scripted

CONFIG = Config()
TLS = Path(__file__).parents[1] / "data" / "tls"


def config(**settings: Any) -> Config:
    return msgspec.structs.replace(CONFIG, **settings)


def is_(finding: Finding, level: str, text: str = "", advice: str = "") -> bool:
    assert finding.level == level, finding
    assert text in finding.text
    assert advice in finding.advice
    assert bool(finding.advice) == (level != "ok")
    return True


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.level for finding in machine.versions()] == ["ok", "ok"]
    monkeypatch.setattr("novamesh.doctor.machine.metadata.version", lambda name: "0.1" if name == "duckdb" else "99")
    found = list(machine.versions())[1]
    assert is_(found, "problem", "duckdb 0.1 (", "anew")


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("2.8.7", ">=2.8.7,<3", True),
        ("2.8.10", "<3,>=2.8.7", True),
        ("2.8.6", ">=2.8.7,<3", False),
        ("3.0.0", ">=2.8.7,<3", False),
        ("3.0.0rc1", "<3,>=2", False),
        ("2.0", ">=2.0.0", True),
    ],
)
def test_ranges_of_versions(version: str, wanted: str, fits: bool) -> None:
    assert machine.in_range(version, wanted) == fits


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for hard, level in ((1024, "warning"), (1 << 20, "ok"), (resource.RLIM_INFINITY, "ok")):
        monkeypatch.setattr("novamesh.doctor.machine.resource.getrlimit", lambda _kind, hard=hard: (0, hard))
        assert is_(machine.open_files(CONFIG), level)


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, level in ((1 << 30, "problem"), (4 << 30, "warning"), (64 << 30, "ok")):
        monkeypatch.setattr(machine, "total_memory", lambda there=there: there)
        assert is_(machine.memory(config(workers=1)), level, advice="query_memory_limit_bytes" if level != "ok" else "")


def test_the_clock() -> None:
    now = Clocks(time.time(), time.monotonic())
    assert is_(machine.clock(now, now.wall - 5), "ok")
    assert is_(machine.clock(now, now.wall + 100), "warning", "set back", "NTP")
    assert is_(machine.clock(now._replace(wall=now.wall - 10), 0), "warning", "it was set by +10", "NTP")


def test_the_directory(tmp_path: Path) -> None:
    data = tmp_path / "a" / "data"
    assert directory.nearest(data) == tmp_path
    assert is_(directory.permissions(data, tmp_path), "ok", "not there yet")
    data.mkdir(parents=True, mode=0o700)
    assert is_(directory.permissions(data, data), "ok")
    data.chmod(0o755)
    assert is_(directory.permissions(data, data), "warning", "mode 755", "chmod 700")
    (tmp_path / "file").touch()
    assert is_(directory.permissions(tmp_path / "file" / "x", tmp_path / "file"), "problem", "no directory")


def test_a_directory_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr("novamesh.doctor.directory.os.geteuid", lambda: 12345)
    assert is_(directory.permissions(tmp_path, tmp_path), "warning", "this is user 12345")
    monkeypatch.setattr("novamesh.doctor.directory.os.access", lambda *_: False)
    assert is_(directory.permissions(tmp_path, tmp_path), "problem", "not this user's")


def test_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert directory.sync_speed(tmp_path).level in ("ok", "warning")  # by the disk
    assert list(tmp_path.iterdir()) == []
    ticks = iter(range(10**6))
    monkeypatch.setattr("novamesh.doctor.directory.time.perf_counter", lambda: next(ticks) / 10)
    assert is_(directory.sync_speed(tmp_path), "warning", "100.00 ms", "faster disk")

    def refuse(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("novamesh.doctor.directory.os.fdatasync", refuse)
    assert is_(directory.sync_speed(tmp_path), "problem", "Input/output error")


MOUNTS = """22 1 0:21 / / rw - overlay overlay rw
30 22 8:1 / /data rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:40 / /data/nfs rw - nfs4 server:/x rw
32 22 0:41 / /tmp rw - tmpfs tmpfs rw
33 22 0:42 / /with\\040space rw - fuse.sshfs host rw
"""


@pytest.mark.parametrize(
    ("place", "level", "kind"),
    [
        ("/data/x", "ok", "ext4"),
        ("/data/nfs/x", "warning", "nfs4"),
        ("/tmp", "warning", "tmpfs"),
        ("/with space/x", "warning", "fuse.sshfs"),
        ("/datum", "warning", "overlay"),
    ],
)
def test_file_systems(tmp_path: Path, place: str, level: str, kind: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert is_(directory.file_system(Path(place), tmp_path / "mounts"), level, kind)
    assert is_(directory.file_system(Path(place), tmp_path / "none"), "ok", "cannot be told")


def test_room(tmp_path: Path) -> None:
    assert is_(directory.disk(config(disk_reserve_bytes=1 << 60), tmp_path), "problem", advice="spool_full")
    assert is_(directory.disk(config(disk_reserve_bytes=0, spool_limit_bytes=1 << 60), tmp_path), "warning")
    assert is_(directory.disk(config(disk_reserve_bytes=0, spool_limit_bytes=1), tmp_path), "ok")
    assert is_(directory.limits(CONFIG), "ok")
    assert is_(directory.limits(config(spool_limit_bytes=1)), "problem")


def test_segments_that_were_set_aside(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    assert is_(directory.set_aside(data), "ok")
    (data.spool / "quarantine").mkdir(parents=True)
    assert is_(directory.set_aside(data), "ok")
    for name in ("a.seg", f"a{REPORT_SUFFIX}", f"b{REPORT_SUFFIX}"):
        (data.spool / "quarantine" / name).touch()
    assert is_(directory.set_aside(data), "problem", "2 set aside", "novamesh quarantine list")
    for name in ("a.seg", "b.seg"):
        note_written_off(data.spool / "quarantine" / name, 1)
    assert is_(directory.set_aside(data), "ok", "2 set aside, and their loss written off")


def test_keys(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    assert is_(directory.keys(data), "ok", "none yet")
    store = KeyStore(data.keys)
    secret = store.create("default")
    store.create("default", expires_at=1)
    assert is_(directory.keys(data), "ok", "1 usable")
    store.revoke(secret)
    assert is_(directory.keys(data), "warning", "none is usable", "keys create")
    store.close()
    data.keys.write_bytes(b"no database" * 100)
    assert is_(directory.keys(data), "problem", "cannot be read")


def test_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(cert: str, key: str = "key.pem") -> Finding:
        return directory.certificate(config(tls_cert=str(TLS / cert), tls_key=str(TLS / key)))

    assert is_(found("cert.pem"), "ok", "valid until")
    assert is_(found("expired-cert.pem"), "problem", "has expired")
    assert is_(found("cert.pem", "other-key.pem"), "problem", "is not the key")
    monkeypatch.setattr("novamesh.tls.SOON_S", float(1 << 40))
    assert is_(found("cert.pem"), "warning", "expires on", "renew it")


def test_a_port_and_who_has_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        taken.listen()
        assert is_(service.port(config(port=number)), "problem", "cannot listen", f"stop process {os.getpid()} (")
    assert is_(service.port(config(port=number)), "ok", "free")
    assert is_(service.port(config(port=0)), "ok")


def test_a_directory_that_no_node_can_take(tmp_path: Path) -> None:
    (found,) = list(service.examine(CONFIG, data := DataDirectory(tmp_path)))[:1]
    assert is_(found, "ok", "none runs")
    data.identity.write_text("{}")
    (found,) = service.examine(CONFIG, data)
    assert is_(found, "problem", "damaged")


def test_a_node_behind_a_proxy_is_asked_where_it_listens(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.open()
    with scripted(Answer(200, {})) as server:
        behind = Config(port=int(server.url.rpartition(":")[2]), public_url="http://127.0.0.1:1")
        data.describe(behind)
        found, *_ = service.examine(behind, DataDirectory(data.path))
        assert is_(found, "ok", f"runs at {server.url}")
        assert node_url(None, None, {"data_dir": str(data.path)}) == server.url
    data.close()


def test_a_directory_that_cannot_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, data = Path.stat, DataDirectory(tmp_path / "data")

    def denied(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if tmp_path in path.parents:
            raise PermissionError(13, "Permission denied")
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", denied)
    assert directory.nearest(data.path) == tmp_path
    (found,) = service.examine(CONFIG, data)
    assert is_(found, "problem", "Permission denied; run this as the user")
    assert is_(directory.keys(data), "problem", "Permission denied")


def test_a_node_that_is_unwell_or_silent() -> None:
    body = {"error": "not_ready", "message": "m", "details": [{"pointer": "/store", "message": "starting"}]}
    with scripted(Answer(503, body)) as server:
        (found,) = service.health(server.url)
    assert is_(found, "problem", "store: starting", "novamesh status")
    (found,) = service.health(server.url)
    assert is_(found, "problem", "nobody listens")


@pytest.mark.parametrize(("date", "level"), [("Thu, 01 Jan 2026 00:00:00 GMT", "warning"), ("", "ok"), ("soon", "ok")])
def test_the_clock_of_a_node(date: str, level: str) -> None:
    assert is_(service.node_clock(date), level)


def test_sizes() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 << 30, 300 << 20, 1 << 50)] == [
        "0 bytes", "1,023 bytes", "1.5 KiB", "5.0 GiB", "300 MiB", "1,024 TiB",
    ]  # fmt: skip
