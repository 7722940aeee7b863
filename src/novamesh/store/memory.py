"""The memory of the store process: what it may take in all, and that it gives back what it no longer uses.

DuckDB keeps its own limit, but leaves out what functions make for themselves: ``damerau_levenshtein`` of two strings of
30 kB takes 7 GB. The system's limit is for what the guard lets through that nobody foresaw: an allocation fails, and
with it the query, before the machine is out of memory. See docs/decisions/0005.
"""

import resource

from novamesh.config import GIB

# To be set before the process loads its libraries. Both count address space that they only keep for later, DuckDB's
# allocator all it ever had and Arrow's a GiB from the start: within a limit that is memory nobody can use.
ENVIRONMENT = {"DUCKDB_JE_MALLOC_CONF": "retain:false", "ARROW_DEFAULT_MEMORY_POOL": "system"}


def data_limit(query_memory: int) -> int:
    """Bytes of private memory in which a store does all that its ``query_memory_limit_bytes`` lets it do."""
    return 2 * query_memory + GIB


def bound(query_memory: int) -> None:
    """Limit this process; a lower limit that it has already stays."""
    # Not RLIMIT_AS: files and libraries that are mapped would count too.
    _lower(resource.RLIMIT_DATA, data_limit(query_memory))
    # A core would be a file of that size, full of events.
    _lower(resource.RLIMIT_CORE, 0)


def _lower(kind: int, most: int) -> None:
    for present in resource.getrlimit(kind):
        most = most if present == resource.RLIM_INFINITY else min(most, present)
    resource.setrlimit(kind, (most, most))
