"""Times within lists, structs and maps, written as times are that stand alone."""

from collections.abc import Callable, Iterator

Form = Callable[[str, str], str]
"""The SQL that gives a value of a type, of its name and the SQL of the value, in another form."""


def with_times(kind: str, value: str, time: Form, depth: int = 0) -> str:
    """The SQL of a value whose type may hold times, with each in its form: the value itself where it holds none."""
    if "TIMESTAMP" not in kind:
        return value
    if kind.endswith("]"):
        element = f"nm_{depth}"
        inner = with_times(kind[: kind.rindex("[")], element, time, depth + 1)
        return f"list_transform({value}, lambda {element}: {inner})"
    if kind.startswith("MAP("):
        entry = f"nm_{depth}"
        (_, key), (_, item) = _parts(kind, named=False)
        key = with_times(key, f"{entry}.key", time, depth + 1)
        item = with_times(item, f"{entry}.value", time, depth + 1)
        entries = f"list_transform(map_entries({value}), lambda {entry}: struct_pack(k := {key}, v := {item}))"
        return f"map_from_entries({entries})"
    if kind.startswith("STRUCT("):
        fields = [
            f"{name} := {with_times(part, f'struct_extract({value}, {_text(name)})', time, depth)}"
            for name, part in _parts(kind, named=True)
        ]
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE struct_pack({', '.join(fields)}) END"
    if kind.startswith("TUPLE("):
        cells = [
            with_times(part, f"struct_extract_at({value}, {place})", time, depth)
            for place, (_, part) in enumerate(_parts(kind, named=False), 1)
        ]
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE row({', '.join(cells)}) END"
    return time(kind, value) if kind.startswith("TIMESTAMP") else value


def _parts(kind: str, *, named: bool) -> list[tuple[str, str]]:
    """The names, quoted, and types in ``STRUCT("a b" DATE, c TUPLE(INTEGER, DATE))``."""
    found: list[tuple[str, str]] = []
    for part in _split(kind[kind.index("(") + 1 : -1]):
        if not named:
            found.append(("", part))
        elif part.startswith('"'):
            end = _quoted(part)
            found.append((part[:end], part[end + 1 :]))
        else:
            name, _, inner = part.partition(" ")
            found.append((f'"{name}"', inner))
    return found


def _split(text: str) -> Iterator[str]:
    """At the commas that stand in no brackets and no quotes."""
    start = depth = 0
    quoted = False
    for place, char in enumerate(text):
        quoted ^= char == '"'
        depth += 0 if quoted else (char == "(") - (char == ")")
        if char == "," and not depth and not quoted:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()


def _quoted(text: str) -> int:
    """Where the quoted name at the beginning ends."""
    end = 1
    while text[end] != '"' or text[end : end + 2] == '""':
        end += 2 if text[end] == '"' else 1
    return end + 1


def _text(name: str) -> str:
    """A quoted name as a string."""
    return "'" + name[1:-1].replace('""', '"').replace("'", "''") + "'"
