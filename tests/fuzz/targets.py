"""All targets that are functions of bytes, by name."""

from tests.fuzz import requests, spool, sql
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {target.name: target for target in (*requests.TARGETS, *spool.TARGETS, *sql.TARGETS)}
