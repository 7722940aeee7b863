"""The memory of the store process: what it may take in all, and that it gives back what it no longer uses.

DuckDB keeps its own limit, but leaves out what functions make for themselves: ``damerau_levenshtein`` of two strings of
30 kB takes 7 GB. The system's limit is for what the guard lets through that nobody foresaw: an allocation fails, and
with it the query, before the machine is out of memory. See docs/decisions/0005.
"""

import contextlib
import ctypes
import resource

from novamesh.config import GIB

# To be set before the process loads its libraries: within a limit, address space that is only kept for later is memory
# nobody can use. DuckDB's allocator keeps all it ever had, Arrow's takes a GiB at the start, and the system's leaves 64
# MiB in each of many arenas, unless what is large is mapped alone.
ENVIRONMENT = {
    "DUCKDB_JE_MALLOC_CONF": "retain:false",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": str(128 * 1024),
}


def data_limit(query_memory: int) -> int:
    """Bytes of private memory in which a store does all that its ``query_memory_limit_bytes`` lets it do."""
    return 2 * query_memory + GIB


def bound(query_memory: int) -> None:
    """Limit this process; a lower limit that it has already stays."""
    # Not RLIMIT_AS: files and libraries that are mapped would count too.
    _lower(resource.RLIMIT_DATA, data_limit(query_memory))
    # A core would be a file of that size, full of events.
    _lower(resource.RLIMIT_CORE, 0)


def give_back() -> None:
    """Return to the system what DuckDB's allocator keeps of what was freed.

    It would do so by itself, but up to a second later. Until then what a failed query has left counts, and the limit
    fails whoever comes next.
    """
    import _duckdb  # the supervisor reads this module too, and needs no database

    # Its own control, see jemalloc(3): arena.<i>.purge, where 4096 stands for all of them.
    with contextlib.suppress(AttributeError):  # a build with the system's allocator has none, and keeps little
        ctypes.CDLL(_duckdb.__file__).duckdb_je_mallctl(b"arena.4096.purge", None, None, None, ctypes.c_size_t(0))


def _lower(kind: int, most: int) -> None:
    for present in resource.getrlimit(kind):
        most = most if present == resource.RLIM_INFINITY else min(most, present)
    resource.setrlimit(kind, (most, most))
