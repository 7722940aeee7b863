"""The ledger as it is shown: what was accepted, and what became of it, by space.

For every space, at every moment: ``accepted = stored + duplicates + quarantined + waiting + damaged + missing +
written_off``. The writers count what is accepted (:mod:`novamesh.spool.tally`), the store what becomes of it; the
difference waits in the spool. What the store's last recount did not find where it must be is ``missing``: 0 unless
events were lost. A loss that an operator takes as known is ``written_off``.
"""

from collections.abc import Iterable, Mapping

import msgspec

from novamesh.store.contract import Counters, Gaps, StoreStatus

COMMAND = "novamesh verify"


class Entry(msgspec.Struct, frozen=True):
    """One space. Events since the data directory was made."""

    accepted: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    waiting: int = 0
    damaged: int = 0
    missing: int = 0
    written_off: int = 0


Ledger = dict[str, Entry]


def ledger(counted: Mapping[str, int], store: StoreStatus) -> Ledger:
    """All spaces. ``counted`` is what the writers had counted when the store had given its status, or later."""
    spaces = sorted({*counted, *store.spaces, *store.gaps})
    return {
        space: _entry(counted.get(space, 0), store.spaces.get(space, Counters()), store.gaps.get(space, Gaps()))
        for space in spaces
    }


def _entry(counted: int, counters: Counters, gaps: Gaps) -> Entry:
    # At a start, until the first recount, there may be more than was counted: it was accepted all the same.
    rest = max(0, counted + counters.recovered - counters.received - gaps.damaged)
    # What was missing and has come back (a segment that was put back) is no longer missing.
    lost = max(0, min(gaps.spool, rest))
    written_off = min(counters.written_off, rest - lost)
    return Entry(
        accepted=counters.received + gaps.damaged + rest,
        stored=counters.stored - gaps.rows,
        duplicates=counters.duplicates,
        quarantined=counters.quarantined - gaps.quarantine,
        waiting=rest - lost - written_off,
        damaged=gaps.damaged,
        missing=lost + gaps.load + gaps.rows + gaps.quarantine,
        written_off=written_off,
    )


def total(entries: Iterable[Entry]) -> Entry:
    """All spaces together."""
    rows = [msgspec.structs.astuple(entry) for entry in entries]
    return Entry(*map(sum, zip(*rows, strict=True))) if rows else Entry()


def identity(entry: Entry) -> str:
    """The ledger in one line; damaged, missing and written-off events only if there are any."""
    terms = [
        f"{entry.stored:,} stored",
        f"{entry.duplicates:,} duplicates",
        f"{entry.quarantined:,} quarantined",
        f"{entry.waiting:,} waiting",
    ]
    terms += [f"{entry.damaged:,} damaged"] if entry.damaged else []
    terms += [f"{entry.missing:,} missing"] if entry.missing else []
    terms += [f"{entry.written_off:,} written off"] if entry.written_off else []
    return f"{entry.accepted:,} accepted = {' + '.join(terms)}"


def problem(gaps: Mapping[str, Gaps]) -> str | None:
    """What the last recount found to be wrong, and what to do; None if nothing is."""
    wrong = [space for space, gap in gaps.items() if gap.spool or gap.load or gap.rows or gap.quarantine]
    if not wrong:
        return None
    return f"the ledger of {', '.join(wrong)} does not add up: run {COMMAND}, which says by how much and what to do"
