"""Zstandard files: the standard library's from Python 3.14 on, its backport before that."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports.zstd import ZstdError, ZstdFile
else:
    from compression.zstd import ZstdError, ZstdFile

__all__ = ["ZstdError", "ZstdFile"]
