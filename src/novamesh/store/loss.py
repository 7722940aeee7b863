"""What is said of a loss that an operator takes as known. Types only; the rest is in :mod:`novamesh.store.writeoff`."""

import msgspec


class LostSegment(msgspec.Struct, frozen=True):
    """A segment in ``spool/quarantine/`` of which nothing is to be loaded any more: what its report says of it (see
    ``spool.repair.DamageReport``) and its ``size`` in bytes. Of one that is ``missing`` there is only the report."""

    file: str
    offset: int
    cause: str
    found_at: int
    size: int
    missing: bool


class Loss(msgspec.Struct, frozen=True):
    """Accepted events by space that are neither in the spool nor in the store, and the segments that are set aside.

    ``refused`` says why it cannot be written off, and what to do.
    """

    events: dict[str, int]
    segments: list[LostSegment]
    refused: str | None = None


class WriteOff(msgspec.Struct, frozen=True):
    """A loss that was written off ``at`` (s since 1970), and why. Kept for ever."""

    at: int
    reason: str
    events: dict[str, int]
    segments: list[LostSegment]


class LossRequest(msgspec.Struct, frozen=True, tag="loss"):
    """What could be written off? Answered with a :class:`Loss`."""


class WriteOffRequest(msgspec.Struct, frozen=True, tag="write_off"):
    """Write off exactly this ``loss``, as it was shown. Answered with the :class:`Loss` that is there."""

    reason: str
    loss: Loss
