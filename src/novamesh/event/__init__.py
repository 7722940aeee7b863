"""What an event is: request bytes in, canonical events or one clear error out. Pure; no I/O."""

from novamesh.event.accept import Accepted, accept_batch, accept_event

__all__ = ["Accepted", "accept_batch", "accept_event"]
