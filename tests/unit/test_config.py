"""Settings: where they come from, which wins, and that none is ignored."""

from pathlib import Path

import pytest

from novamesh.config import MIB, Config, load
from novamesh.errors import ConfigError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults() -> None:
    assert load({}, {}) == Config()


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "novamesh.toml").write_text('port = 1\nnode = "file"\nregion = "file"\n')
    config = load({"node": "flag", "host": None}, {"NOVAMESH_NODE": "variable", "NOVAMESH_REGION": "variable"})
    assert (config.port, config.node, config.region, config.host) == (1, "flag", "variable", "127.0.0.1")


def test_a_file_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("port = 5\n")
    assert load({}, {"NOVAMESH_CONFIG": str(tmp_path / "other.toml")}).port == 5
    assert load({}, {}, tmp_path / "other.toml").port == 5


@pytest.mark.parametrize(
    ("flags", "environment", "file", "message"),
    [
        ({}, {"NOVAMESH_PROT": "1"}, "", "unknown setting 'prot' in the environment; did you mean port?"),
        ({}, {}, "prot = 1", "unknown setting 'prot' in .*novamesh.toml; did you mean port?"),
        ({}, {"NOVAMESH_PORT": "x"}, "", "port must be a whole number, not 'x'"),
        ({}, {}, 'port = "80"', "Expected `int`, got `str` - `port`"),
        ({"port": 70_000}, {}, "", "Expected `int` <= 65535 - `port`"),
        ({"node": "a b"}, {}, "", "node"),
        ({}, {}, "port =", "is not valid TOML"),
        ({"store": "postgres"}, {}, "", "store must be duckdb"),
        ({"log_level": "loud"}, {}, "", "log_level"),
        ({"batch_limit_bytes": 100, "spool_segment_bytes": 10}, {}, "", "must not be larger"),
        ({"spool_limit_bytes": 64 * MIB - 1, "workers": 1}, {}, "", "at least .* 67108864 for 1; raise it, or lower"),
        ({"spool_limit_bytes": 192 * MIB - 1, "workers": 3}, {}, "", "at least .* 201326592 for 3; raise it"),
    ],
)
def test_what_stops_the_start(
    flags: dict[str, object], environment: dict[str, str], file: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "novamesh.toml").write_text(file)
    with pytest.raises(ConfigError, match=message):
        load(flags, environment)


def test_a_spool_that_has_room_for_the_segment_of_each_worker() -> None:
    assert load({"spool_limit_bytes": 192 * MIB, "workers": 3}, {}).edge_workers == 3


def test_what_clients_in_the_same_shell_use_is_no_setting() -> None:
    assert load({}, {"NOVAMESH_KEY": "nm_live_x", "NOVAMESH_URL": "http://127.0.0.1:8000"}) == Config()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load({}, {}, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("config", "url"),
    [
        (Config(port=81), "http://127.0.0.1:81"),
        (Config(host="::1", port=81), "http://[::1]:81"),
        (Config(public_url="https://events.example.org/"), "https://events.example.org"),
    ],
)
def test_the_address_for_clients(config: Config, url: str) -> None:
    assert config.base_url == url


@pytest.mark.parametrize(
    ("config", "url"),
    [
        (Config(public_url="https://events.example.org/"), "http://127.0.0.1:8000"),
        (Config(host="0.0.0.0"), "http://127.0.0.1:8000"),
        (Config(host="::"), "http://[::1]:8000"),
        (Config(host="10.1.2.3"), "http://10.1.2.3:8000"),
        (Config(tls_cert="cert.pem", tls_key="key.pem"), ""),
    ],
)
def test_the_address_for_commands(config: Config, url: str) -> None:
    assert config.local_url == url


def test_workers() -> None:
    assert Config(workers=3).edge_workers == 3
    assert Config().edge_workers >= 1
