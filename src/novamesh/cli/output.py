"""Where a command's data goes: standard output, or a file that gets its name when it is whole."""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from novamesh.errors import NovameshError


@contextlib.contextmanager
def opened(path: Path | None) -> Iterator[IO[bytes]]:
    """A stream for bytes. What is written to a file that is not finished is removed. Raises :class:`NovameshError`."""
    if path is None:
        stream = sys.stdout.buffer
        yield stream
        stream.flush()
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # two commands may write one file
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise NovameshError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)
