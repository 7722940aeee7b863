"""Novamesh: events in over HTTP, on disk before the 202, in SQL a second later. One node, one command."""

__version__ = "0.1.0"
__all__ = ["__version__"]
