"""What ``novamesh doctor`` looks at. Nothing is changed; a node may run meanwhile or not."""

import time

from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.doctor import directory, machine, service
from novamesh.doctor.finding import Finding, Level, ok, problem, warning

__all__ = ["Finding", "Level", "examine", "ok", "problem", "warning"]


def examine(config: Config) -> list[Finding]:
    """All findings, in the order in which things are needed."""
    clocks = machine.Clocks(time.time(), time.monotonic())
    data = DataDirectory(config.data_path)
    found = [
        *machine.versions(),
        machine.open_files(config),
        machine.memory(config),
        *directory.examine(config, data),
        *service.examine(config, data),
    ]
    return [*found, machine.clock(clocks, directory.newest(data))]
