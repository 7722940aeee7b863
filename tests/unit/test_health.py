"""Since when a part is unwell."""

from novamesh.status.health import Problem, Since

STORE, OTHER_REASON = Problem("store", "starting"), Problem("store", "does not answer")
SPOOL = Problem("spool", "full")


def test_a_part_is_unwell_from_when_it_was_first_seen_to_be() -> None:
    since = Since()
    assert since.note([], 10.0) == {}
    assert since.note([STORE], 20.0) == {"store": 20.0}
    assert since.note([OTHER_REASON, SPOOL], 30.0) == {"store": 20.0, "spool": 30.0}


def test_a_part_that_was_well_between_begins_anew() -> None:
    since = Since()
    since.note([STORE, SPOOL], 10.0)
    since.note([SPOOL], 20.0)
    assert since.note([STORE, SPOOL], 30.0) == {"store": 30.0, "spool": 10.0}
