"""Seeded random changes of an input: of its bits, and of its words, so that what has a grammar stays near it."""

import re
from collections.abc import Callable, Sequence
from random import Random

MAX_BYTES = 64 * 1024
_WORD = re.compile(rb"\w+|\s+|.", re.DOTALL)
_NUMBERS = (b"0", b"-1", b"1e308", b"1e400", b"9223372036854775808", b"18446744073709551616", b"0.1", b"-0", b"1" * 40)


def mutate(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """``data`` after one to four random edits. ``words`` are put in; of ``others`` a part may be."""
    for _ in range(random.randint(1, 4)):
        data = random.choice(_EDITS)(data, random, words, others)
    return data[:MAX_BYTES]


_Edit = Callable[[bytes, Random, Sequence[bytes], Sequence[bytes]], bytes]


def _flip(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    if not data:
        return bytes([random.randrange(256)])
    changed = bytearray(data)
    changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _put(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    pieces = _WORD.findall(data)
    pieces.insert(random.randint(0, len(pieces)), _some(random, words))
    return b"".join(pieces)


def _replace(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    pieces = _WORD.findall(data) or [b""]
    pieces[random.randrange(len(pieces))] = _some(random, words)
    return b"".join(pieces)


def _delete(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    start, end = _range(data, random)
    return data[:start] + data[end:]


def _double(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    start, end = _range(data, random)
    return data[:end] + data[start:end] * random.choice((1, 1, 1, 2, 40)) + data[end:]


def _move(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    start, end = _range(data, random)
    rest = data[:start] + data[end:]
    at = random.randint(0, len(rest))
    return rest[:at] + data[start:end] + rest[at:]


def _splice(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    other = random.choice(others) if others else data
    start, end = _range(other, random)
    at, to = _range(data, random)
    return data[:at] + other[start:end] + data[to:]


def _cut(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    return data[: random.randint(0, len(data))]


_EDITS: tuple[_Edit, ...] = (_flip, _put, _put, _replace, _replace, _delete, _double, _move, _splice, _cut)


def _some(random: Random, words: Sequence[bytes]) -> bytes:
    if not words or random.random() < 0.1:
        return random.choice(_NUMBERS) if random.random() < 0.7 else random.randbytes(random.randint(1, 8))
    return random.choice(words)


def _range(data: bytes, random: Random) -> tuple[int, int]:
    """A part of ``data``, by the borders of its words where it is short enough to look for them."""
    if len(data) > 4096 or random.random() < 0.3:
        return _ordered(random.randint(0, len(data)), random.randint(0, len(data)))
    borders = [0, *(match.end() for match in _WORD.finditer(data))]
    first = random.randrange(len(borders))
    return borders[first], borders[min(len(borders) - 1, first + random.choice((1, 1, 2, 3, 5, 9, 30)))]


def _ordered(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a <= b else (b, a)
