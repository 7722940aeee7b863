"""Rows of CSV and Parquet become events."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from novamesh.transfer.source import Item, Opened, Place, SourceError
from novamesh.transfer.tables import Mapping, read_csv, read_parquet, typed_value


def csv_items(path: Path, text: str | bytes, mapping: Mapping = Mapping(), start: Place = Place()) -> list[Item]:  # noqa: B008
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    opened = Opened(path)
    try:
        return list(read_csv(opened, start, mapping))
    finally:
        opened.close()


def events(items: list[Item]) -> list[Any]:
    assert not any(item.fault for item in items), items
    return [json.loads(item.event) for item in items]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("12", 12),
        ("-0.50", -0.5),
        ("1e3", 1000.0),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", "18446744073709551616"),  # beyond what a node keeps: its digits are kept
        ("007", "007"),
        ("+49", "+49"),
        ("1,5", "1,5"),
        ("2026-01-31", "2026-01-31"),
        ("-", "-"),
        ("true", True),
        ("False", False),
        ("tomorrow", "tomorrow"),
        ('{"a": [1]}', {"a": [1]}),
        ("[1, 2]", [1, 2]),
        ("{no", "{no"),
        ("NaN", "NaN"),
        (" 1", " 1"),
    ],
)
def test_values_of_a_csv(tmp_path: Path, text: str, value: object) -> None:
    quoted = text.replace('"', '""')
    (event,) = events(csv_items(tmp_path / "x.csv", f'event,v\ne,"{quoted}"\n'))
    assert event == ({"event": "e", "properties": {"v": value}} if value is not None else {"event": "e"})
    (as_text,) = events(csv_items(tmp_path / "x.csv", f'event,v\ne,"{quoted}"\n', Mapping(strings=True)))
    assert as_text.get("properties", {}).get("v", "") == text
    typed_value(text)


def test_columns_of_a_csv(tmp_path: Path) -> None:
    text = '\ufeffevent;user_id;timestamp;id;properties;context;page\na;42;2026-01-31;i1;"{""x"": 1.50}";"{""app"": ""s""}";"/;\n"\n\nb;;;;;;\n'
    first, second = events(csv_items(tmp_path / "x.csv", text))
    assert first == {
        "event": "a",
        "user_id": "42",
        "timestamp": "2026-01-31",
        "id": "i1",
        "properties": {"x": 1.5, "page": "/;\n"},
        "context": {"app": "s"},
    }
    assert second == {"event": "b"}


def test_what_columns_become(tmp_path: Path) -> None:
    mapping = Mapping(
        {"ts": "timestamp", "who": "user_id", "app": "context.app", "p": "properties.page", "x": ""}, "view"
    )
    assert events(csv_items(tmp_path / "x.csv", "ts,who,app,p,x\n2026-01-31,1,shop,/,9\n", mapping)) == [
        {
            "timestamp": "2026-01-31",
            "user_id": "1",
            "event": "view",
            "context": {"app": "shop"},
            "properties": {"page": "/"},
        }
    ]


def test_rows_that_are_no_events(tmp_path: Path) -> None:
    text = b'event,properties,v\na,,1\nb,2\nc,[],\nd,,\xff\ne,"{}",2\nf,"{""v"": 1}",2\ng,"{""v"": 1}",\n'
    items = csv_items(tmp_path / "x.csv", text)
    assert [(item.place.line, item.fault) for item in items] == [
        (2, ""),
        (3, "has 2 values, the header has 3"),
        (4, "the column properties does not hold a JSON object"),
        (5, "is not UTF-8"),
        (6, ""),
        (7, "the column properties holds 'v', and so does a column of its own"),
        (8, ""),
    ]
    assert json.loads(items[1].event) == ["b", "2"]


def test_a_csv_from_every_place(tmp_path: Path) -> None:
    text = "event,v\n" + "".join(f'e,"a\n{n}"\n' for n in range(20))
    whole = csv_items(tmp_path / "x.csv", text)
    assert whole[3].place == Place(4, 9)
    for n in (0, 9, 19):
        assert csv_items(tmp_path / "x.csv", text, start=whole[n].place) == whole[n + 1 :]


@pytest.mark.parametrize(
    ("text", "mapping", "said"),
    [
        ("a,b\n1,2\n", Mapping(), "--event-name"),
        ("event,event\n", Mapping(), "two columns of one name"),
        ("event,b\n", Mapping({"c": "user_id"}), "no column 'c'"),
        ("event,b\n", Mapping({"b": "event"}), "two columns for event"),
        ("event,a,b\n", Mapping({"a": "properties.v", "b": "properties.v"}), "two columns for properties.v"),
        ("event,a,v\n", Mapping({"a": "properties.v"}), "two columns for properties.v"),
        ("", Mapping(), "no header"),
        ('event\n"a\n', Mapping(), "malformed in line"),
    ],
)
def test_a_csv_that_cannot_be_read(tmp_path: Path, text: str, mapping: Mapping, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        csv_items(tmp_path / "x.csv", text, mapping)


@pytest.mark.parametrize("target", ["user", "properties.", "event.x", "props.x"])
def test_a_target_that_is_none(target: str) -> None:
    with pytest.raises(SourceError, match="a column becomes"):
        Mapping({"a": target}).check()


def parquet_items(path: Path, table: Any, start: Place = Place()) -> tuple[list[Item], list[str]]:  # noqa: B008
    parquet.write_table(table, path, row_group_size=10)
    notes: list[str] = []
    opened = Opened(path)
    try:
        return list(read_parquet(opened, start, Mapping(), notes.append)), notes
    finally:
        opened.close()


def test_values_of_parquet(tmp_path: Path) -> None:
    row = {
        "event": "a",
        "user_id": 42,
        "timestamp": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "properties": '{"x": 1.50}',
        "day": date(2026, 1, 31),
        "price": Decimal("1.50"),
        "raw": b"\xff",
        "list": [1, None],
        "nested": {"a": {"b": True}},
        "none": None,
    }
    table = arrow.Table.from_pylist([row]).append_column(
        "ns", arrow.array([1_700_000_000_000_000_123], arrow.timestamp("ns"))
    )
    table = table.append_column("big", arrow.array([2**63], arrow.uint64()))
    table = table.append_column("map", arrow.array([[("k", 1)]], arrow.map_(arrow.string(), arrow.int64())))
    (event,) = events(parquet_items(tmp_path / "x.parquet", table)[0])
    assert event == {
        "event": "a",
        "user_id": "42",
        "timestamp": "2026-01-31T12:00:00Z",
        "properties": {
            "x": 1.5,
            "day": "2026-01-31",
            "price": 1.5,
            "raw": "/w==",
            "list": [1, None],
            "nested": {"a": {"b": True}},
            "big": 2**63,
            "ns": "2023-11-14T22:13:20",
            "map": {"k": 1},
        },
    }


def test_values_of_parquet_that_json_or_python_lacks(tmp_path: Path) -> None:
    """Each is a fault of its row alone."""
    good_and_bad = {
        "float": (arrow.float64(), [1.5, float("nan")], "holds nan"),
        "inside": (
            arrow.list_(arrow.struct([("x", arrow.float64())])),
            [[{"x": 1}], [{"x": float("-inf")}]],
            "holds -inf",
        ),
        "year": (arrow.timestamp("us"), [0, 2**62], "cannot be read: "),
        "day": (arrow.date32(), [0, 2**30], "cannot be read: "),
        "took": (arrow.duration("s"), [1, 2**62], "cannot be read: "),
        "map": (arrow.map_(arrow.string(), arrow.int8()), [[("k", 1)], [("k", 1), ("k", 2)]], "cannot be read: "),
        "user_id": (arrow.float64(), [1.0, float("nan")], "holds nan"),
        "properties": (arrow.struct([("x", arrow.float64())]), [{"x": 1}, {"x": float("inf")}], "holds inf"),
    }
    for name, (kind, values, said) in good_and_bad.items():
        table = arrow.table({"event": ["a", "b"], name: arrow.array(values, kind)})
        (good, bad), _ = parquet_items(tmp_path / "x.parquet", table)
        assert good.fault == "", name
        assert said in bad.fault, name
        assert json.loads(bad.event)[0] == "b"


def test_nanoseconds_are_cut_wherever_they_are(tmp_path: Path) -> None:
    at, kind = 1_700_000_000_000_000_123, arrow.timestamp("ns")
    columns = {
        "list": arrow.array([[at]], arrow.list_(kind)),
        "struct": arrow.array([{"at": at}], arrow.struct([("at", kind)])),
        "map": arrow.array([[("at", at)]], arrow.map_(arrow.string(), kind)),
        "took": arrow.array([1001], arrow.duration("ns")),
        "time": arrow.array([1001], arrow.time64("ns")),
    }
    (event,) = events(parquet_items(tmp_path / "x.parquet", arrow.table({"event": ["a"], **columns}))[0])
    text = "2023-11-14T22:13:20"
    expected = {"list": [text], "struct": {"at": text}, "map": {"at": text}, "took": "PT0.000001S"}
    assert event["properties"] == {**expected, "time": "00:00:00.000001"}


def test_parquet_with_two_columns_of_one_name(tmp_path: Path) -> None:
    table = arrow.Table.from_arrays([arrow.array(["a"])] * 2, ["event", "event"])
    with pytest.raises(SourceError, match="two columns of one name"):
        parquet_items(tmp_path / "x.parquet", table)


def test_parquet_from_every_place(tmp_path: Path) -> None:
    table = arrow.table({"event": ["e"] * 25, "n": list(range(25))})
    whole, _ = parquet_items(tmp_path / "x.parquet", table)
    assert [event["properties"]["n"] for event in events(whole)] == list(range(25))
    for n in (0, 8, 9, 10, 19, 24):
        assert parquet_items(tmp_path / "x.parquet", table, whole[n].place)[0] == whole[n + 1 :]


def test_the_node_s_own_columns_are_left_out_of_an_export_alone(tmp_path: Path) -> None:
    table = arrow.table({"event": ["e"], "received_at": ["t"], "batch_id": ["b"]})
    (event,) = events(parquet_items(tmp_path / "x.parquet", table)[0])
    assert event["properties"] == {"received_at": "t", "batch_id": "b"}
    items, notes = parquet_items(tmp_path / "y.parquet", table.replace_schema_metadata({"novamesh.types": "[]"}))
    assert events(items) == [{"event": "e"}]
    assert "received_at and batch_id" in notes[0]


def test_a_parquet_file_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PAR1 and no more")
    opened = Opened(tmp_path / "x")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        list(read_parquet(opened, Place(), Mapping(), lambda _text: None))
    opened.close()
