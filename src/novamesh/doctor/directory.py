"""The data directory: whether it can be used, how fast and how long it is safe, and what lies in it."""

import contextlib
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from novamesh import tls
from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.doctor.finding import Finding, ok, problem, size, warning
from novamesh.errors import StartError
from novamesh.spool.repair import quarantined, unresolved

SYNCS = 16
SYNC_BYTES = 4096
SLOW_SYNC_MS = 50.0
MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "afs",
    "ceph",
    "gluster",
    "lustre",
    "fuse.sshfs",
    "fuse.s3",
    "fuse.rclone",
    "virtiofs",
)
_MEMORY = ("tmpfs", "ramfs")


def examine(config: Config, data: DataDirectory) -> Iterator[Finding]:
    """All that can be told of it without a node."""
    place = nearest(data.path)
    usable = permissions(data.path, place)
    yield usable
    if usable.level != "problem":
        yield sync_speed(place)
    yield file_system(place, MOUNTS)
    yield disk(config, place)
    yield limits(config)
    yield set_aside(data)
    yield keys(data)
    if config.tls_cert:
        yield certificate(config)


def nearest(path: Path) -> Path:
    """The path, or the directory above in which it would be made."""
    while path != path.parent:
        try:
            path.stat()
            break
        except OSError:  # not there, or in a directory of somebody else
            path = path.parent
    return path


def permissions(path: Path, place: Path) -> Finding:
    """Whose it is, and who may read it."""
    if not place.is_dir():
        return problem("directory", f"{place} is no directory", "give another --data-dir")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return problem(
            "directory", f"{place} is not this user's to write", "run as its owner, or give it to this user: chown"
        )
    if place != path:
        return ok("directory", f"{path} is not there yet; novamesh serve makes it")
    found = place.stat()
    if found.st_uid != os.geteuid():
        text = f"{path} belongs to user {found.st_uid}, this is user {os.geteuid()}"
        return warning("directory", text, "run the node as one user: what this one writes, the other may not read")
    if found.st_mode & 0o077:
        text = f"others may open {path} (mode {found.st_mode & 0o777:o})"
        return warning("directory", text, f"chmod 700 {path}: events and hashes of keys lie in it")
    return ok("directory", str(path))


def sync_speed(place: Path) -> Finding:
    """Write and sync as the spool does. The file has no name, so nothing is left whatever happens."""
    times_ms = []
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            for _ in range(SYNCS):
                started = time.perf_counter()
                file.write(b"\0" * SYNC_BYTES)
                os.fdatasync(file.fileno())
                times_ms.append((time.perf_counter() - started) * 1000)
    except OSError as error:
        return problem(
            "sync", f"{place} cannot be written: {error.strerror}", "free or repair the disk; nothing is accepted"
        )
    median = statistics.median(times_ms)
    text = f"fdatasync takes {median:.2f} ms (median of {SYNCS}; longest {max(times_ms):.2f} ms)"
    if median > SLOW_SYNC_MS:
        return warning("sync", text, "use a faster disk: every 202 waits for one of these")
    return ok("sync", text)


def file_system(place: Path, mounts: Path) -> Finding:
    """What kind it is. ``mounts`` is Linux's list of them."""
    try:
        kind = kind_of(place.resolve(), mounts.read_text())
    except OSError:
        return ok("file system", "its kind cannot be told here")
    if kind in _MEMORY:
        return warning("file system", f"{kind}: in memory", "a restart of the machine loses every event; use a disk")
    if kind.startswith(_NETWORK):
        advice = "use a local disk: locks and syncs over a network do not hold what a 202 promises"
        return warning("file system", f"{kind}: over a network", advice)
    if kind == "overlay":
        return warning(
            "file system", "overlay: of a container", "mount a volume: what lies here goes with the container"
        )
    return ok("file system", kind)


def kind_of(place: Path, mounts: str) -> str:
    """The kind of the file system that holds a path, of the text of mountinfo; the last of those that match counts."""
    best, kind = -1, "unknown"
    for line in mounts.splitlines():
        fields, _, source = line.partition(" - ")
        point = Path(fields.split(" ")[4].encode().decode("unicode_escape"))
        if (place == point or point in place.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), source.split(" ")[0]
    return kind


def disk(config: Config, place: Path) -> Finding:
    """Room, against the reserve below which nothing is accepted."""
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    text = f"{size(free)} free; disk_reserve_bytes is {size(config.disk_reserve_bytes)}"
    if free < config.disk_reserve_bytes:
        return problem("disk", text, "free the disk: below the reserve events are refused with 503 spool_full")
    if free < config.disk_reserve_bytes + config.spool_limit_bytes:
        advice = f"the spool alone may take {size(config.spool_limit_bytes)} while the store is away; make room"
        return warning("disk", text, advice)
    return ok("disk", text)


def limits(config: Config) -> Finding:
    """Whether the spool holds a segment."""
    text = f"spool_limit_bytes {size(config.spool_limit_bytes)}, spool_segment_bytes {size(config.spool_segment_bytes)}"
    if config.spool_limit_bytes < config.spool_segment_bytes:
        return problem(
            "spool", text, "make the limit several times as large as a segment; events are refused otherwise"
        )
    return ok("spool", text)


def set_aside(data: DataDirectory) -> Finding:
    """Damaged segments, and those that went missing."""
    try:
        names = unresolved(data.spool)
    except OSError as error:
        return problem("segments", f"{data.spool} cannot be read: {error.strerror}", "run as the node's user")
    if names:
        text = f"{len(names)} set aside for damage: {', '.join(sorted(names)[:3])}{' …' if len(names) > 3 else ''}"
        return problem(
            "segments",
            text,
            "see novamesh quarantine list, then replay or drop them; novamesh write-off takes a loss as known",
        )
    known = len(quarantined(data.spool))
    return ok("segments", f"{known} set aside, and their loss written off" if known else "none is set aside")


def keys(data: DataDirectory) -> Finding:
    """Whether the keys can be read, and one is usable."""
    try:
        if not data.holds(data.keys):
            return ok("keys", "none yet; the first start makes one")
        # Not by KeyStore, which adds to an older file what that lacks.
        with contextlib.closing(sqlite3.connect(f"{data.keys.absolute().as_uri()}?mode=ro", uri=True)) as file:
            (usable,) = file.execute(
                "SELECT count(*) FROM keys WHERE revoked_at IS NULL AND coalesce(expires_at, ?1 + 1) > ?1",
                [time.time()],
            ).fetchone()
    except (sqlite3.Error, StartError) as error:
        return problem("keys", f"{data.keys} cannot be read: {error}", "run as its owner, or restore it from a backup")
    if not usable:
        return warning("keys", "none is usable: all are revoked or expired", "make one: novamesh keys create")
    return ok("keys", f"{usable} usable")


def certificate(config: Config) -> Finding:
    """The TLS certificate and its key."""
    try:
        valid_s = tls.check(Path(config.tls_cert), Path(config.tls_key))
    except StartError as error:
        return problem("tls", str(error), "the node does not start with it")
    if valid_s == float("inf"):
        return ok("tls", f"{config.tls_cert}; its expiry cannot be told here")
    if valid_s < tls.SOON_S:
        return warning("tls", f"the certificate expires on {tls.until(valid_s)}", "renew it, and restart the node")
    return ok("tls", f"valid until {tls.until(valid_s)}")


def newest(data: DataDirectory) -> float:
    """When anything in it was last written, seconds since 1970; 0 if nothing is there."""
    found = 0.0
    for path in (data.status, data.keys, *_entries(data.spool), *_entries(data.ledger), *_entries(data.store)):
        try:
            found = max(found, path.stat().st_mtime)
        except OSError:  # deleted meanwhile
            continue
    return found


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []
