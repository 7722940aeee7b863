"""Zstandard: the standard library's from Python 3.14 on, its backport before that."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

Error = ZstdError


def decompressor(window_log: int) -> ZstdDecompressor:
    """A decompressor of one frame that refuses windows larger than 2**window_log bytes."""
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: window_log})
