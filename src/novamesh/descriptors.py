"""File descriptors: each connection is one, and many systems give a process no more than 1,024 to begin with."""

import logging
import resource

from novamesh.config import Config

log = logging.getLogger(__name__)

# What a process opens besides connections: segments, the keys, the store, libraries.
OTHERS = 256


def raise_limit(config: Config) -> None:
    """Let this process and its children open what the settings ask for, as far as the system allows. Says when it does
    not."""
    wanted = config.connection_max_concurrent + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _covers(soft, wanted):
        return
    reachable = wanted if _covers(hard, wanted) else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    except (OSError, ValueError) as error:
        log.warning("the limit of open files cannot be raised", extra={"cause": str(error)})
    if connections(config) < config.connection_max_concurrent:
        log.warning(
            "the limit of open files allows fewer connections than connection_max_concurrent; raise it (ulimit -n)",
            extra={"connections": connections(config), "connection_max_concurrent": config.connection_max_concurrent},
        )


def connections(config: Config) -> int:
    """How many connections an edge process may hold: what the setting says, or what the system leaves."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if _covers(soft, config.connection_max_concurrent + OTHERS):
        return config.connection_max_concurrent
    return max(soft - OTHERS, soft // 2)


def _covers(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted
