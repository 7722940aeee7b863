"""Are there advisories for the packages that are served? ``scripts/check`` asks, by ``uv audit``, for ``requirements/runtime.lock``.

The exit status is 1 if one is known that nobody has accepted. Where the service cannot be asked, or knows of nothing at all, that is said on
one line, and is no failure: a build must not depend on somebody else's machine. ``requirements/advisories.toml`` holds those that
are accepted, each with a reason and a day on which that ends.
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import msgspec

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
SERVICE = "https://api.osv.dev"
TIMEOUT_S = 10.0
# An old version of one of ours, with an advisory that every source has had since 2023 (CVE-2023-47248): a source that
# knows of none for it knows of none for any.
PROBE = ("pyarrow", "14.0.0")

Package = tuple[str, str]


class NotAudited(Exception):
    """The source gave no answer that could be relied on."""


class Dependency(msgspec.Struct):
    name: str
    version: str


class Advisory(msgspec.Struct):
    """What uv tells of one advisory for one package."""

    dependency: Dependency
    id: str
    aliases: list[str]
    summary: str | None = None
    fix_versions: list[str] = []

    @property
    def names(self) -> list[str]:
        return [self.id, *self.aliases]

    def __str__(self) -> str:
        package = f"{self.dependency.name} {self.dependency.version}"
        fixed = " or ".join(self.fix_versions)
        return f"{package}: {', '.join(self.names)}: {self.summary or 'no summary'}; " + (
            f"fixed in {fixed}" if fixed else "not fixed yet"
        )


class Summary(msgspec.Struct):
    audited_packages: int


class Report(msgspec.Struct):
    summary: Summary
    vulnerabilities: list[Advisory]


class Accepted(msgspec.Struct, forbid_unknown_fields=True):
    """One advisory that does no harm here. ``until`` is its last day."""

    id: str
    reason: str
    until: datetime.date


class AcceptedList(msgspec.Struct, forbid_unknown_fields=True):
    accepted: list[Accepted] = []


def locked(lock: Path) -> list[Package]:
    """Names and versions, all of them: ValueError if a line is understood otherwise."""
    packages = []
    for line in lock.read_text().splitlines():
        if not line or line[0] in " #":
            continue
        found = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+) ", line)
        if not found:
            raise ValueError(f"{lock}: not a locked package: {line}")
        packages.append((found[1], found[2]))
    return packages


def ask(packages: Collection[Package], service: str, timeout_s: float = TIMEOUT_S) -> list[Advisory]:
    """What the service knows of these. Raises :class:`NotAudited`."""
    asked = {*packages, PROBE}
    with tempfile.TemporaryDirectory(prefix="novamesh-audit-") as name:
        report = _run_uv(Path(name), asked, service, timeout_s)
    if report.summary.audited_packages != len(asked):
        raise NotAudited(f"uv looked at {report.summary.audited_packages} packages of {len(asked)}")
    known = [(one.dependency.name, one.dependency.version) for one in report.vulnerabilities]
    if PROBE not in known:
        raise NotAudited(f"{service} has no advisories")
    return [one for one, of in zip(report.vulnerabilities, known, strict=True) if of in packages]


def _run_uv(directory: Path, packages: Collection[Package], service: str, timeout_s: float) -> Report:
    # uv audits projects by their uv.lock, and no requirements: so this is one.
    (directory / "pyproject.toml").write_text(
        '[project]\nname = "audited"\nversion = "0"\nrequires-python = ">=3.11"\n'
    )
    (directory / "uv.lock").write_text(_uv_lock(packages))
    # Without the index: it would be asked whether somebody still keeps each package, and may be slow.
    command = [
        str(Path(sys.executable).with_name("uv")), "audit", "--project", str(directory), "--frozen", "--no-cache", "--no-index",
        "--quiet", "--preview-features", "audit-command", "--output-format", "json", "--service-url", service,
    ]  # fmt: skip
    once = {"UV_HTTP_RETRIES": "0", "UV_OFFLINE": "0", "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, env={**os.environ, **once}, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotAudited(f"{service} did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise NotAudited(f"uv cannot be run: {error}") from None
    if done.returncode not in (0, 1):
        raise NotAudited(" ".join(done.stderr.removeprefix("error: ").split()))
    try:
        return msgspec.json.decode(done.stdout, type=Report)
    except msgspec.DecodeError as error:
        raise NotAudited(f"uv's report is not understood: {error}") from None


def _uv_lock(packages: Collection[Package]) -> str:
    source = 'source = { registry = "https://pypi.org/simple" }'
    wanted = "".join(
        f'    {{ name = "{name}", version = "{version}", {source} }},\n' for name, version in sorted(packages)
    )
    entries = [
        'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n',
        f'[[package]]\nname = "audited"\nversion = "0"\nsource = {{ virtual = "." }}\ndependencies = [\n{wanted}]\n',
        *(f'[[package]]\nname = "{name}"\nversion = "{version}"\n{source}\n' for name, version in sorted(packages)),
    ]
    return "\n".join(entries)


def accepted_on(day: datetime.date, file: Path) -> set[str]:
    """Ids of the advisories that are accepted that day. Raises ``msgspec.DecodeError`` if the file is not as it must be."""
    return {one.id for one in msgspec.toml.decode(file.read_bytes(), type=AcceptedList).accepted if day <= one.until}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.advisories", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--service", default=os.environ.get("OSV_URL", SERVICE), help=f"default $OSV_URL or {SERVICE}")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds for the answer (default %(default)s)")
    parser.add_argument("--accepted", type=Path, default=REQUIREMENTS / "advisories.toml")
    options = parser.parse_args()
    try:
        accepted = accepted_on(datetime.datetime.now(datetime.UTC).date(), options.accepted)
    except msgspec.DecodeError as error:
        sys.exit(f"{options.accepted.name}: {error}")
    packages = locked(REQUIREMENTS / "runtime.lock")
    try:
        advisories = ask(packages, options.service, options.timeout)
    except NotAudited as reason:
        print(f"dependencies not audited: {reason}")
        return
    print(f"{len(packages)} packages looked up at {options.service}")
    if open_ones := [one for one in advisories if not accepted.intersection(one.names)]:
        sys.exit("\n".join(map(str, open_ones)))


if __name__ == "__main__":
    main()
