"""The OpenAPI document: valid, whole, and what the code says."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator

from novamesh.edge import query
from novamesh.edge.answer import pick_format, read_sql
from novamesh.edge.api.documents import DEFAULT_LIMIT, MAX_LIMIT, QueryBody
from novamesh.edge.api.endpoint import Endpoint, ParameterType
from novamesh.edge.api.endpoints import ENDPOINTS
from novamesh.edge.api.openapi import document
from novamesh.edge.api.unlisted import UNLISTED
from novamesh.edge.app import ROUTES
from novamesh.edge.request import read_number
from novamesh.errors import RequestError, by_code
from novamesh.event.accept import BATCH_FIELDS
from novamesh.event.model import FIELDS, Batch, EventText
from novamesh.store.contract import FORMATS
from tests.conformity import faults

META_SCHEMA = Path(__file__).parents[1] / "data" / "openapi" / "schema-3.1.json"
DOCUMENT = document("https://node.example")
ALL = (*ENDPOINTS, *UNLISTED)
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return here + [found for value in node.values() for found in references(value)]
    return [found for value in node for found in references(value)] if isinstance(node, list) else []


def test_it_is_valid() -> None:
    Draft202012Validator(json.loads(META_SCHEMA.read_text())).validate(DOCUMENT)
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_a_wrong_one_would_be_found() -> None:
    validator = Draft202012Validator(json.loads(META_SCHEMA.read_text()))
    for broken in ({**DOCUMENT, "openapi": "3.0.0"}, {**DOCUMENT, "paths": {"v1": {}}}, {**DOCUMENT, "servers": "x"}):
        assert not validator.is_valid(broken)


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_schemas_are_valid_and_used(name: str) -> None:
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])
    assert f"#/components/schemas/{name}" in references(DOCUMENT)


def test_references_lead_somewhere() -> None:
    for reference in references(DOCUMENT):
        node: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_each_route_is_in_it_and_no_other() -> None:
    assert {(path, method.lower()) for path, methods in ROUTES.items() for method in methods} == {*OPERATIONS}
    assert len({*map(name_of, ALL)}) == len(ALL)


def test_operations_have_names_of_their_own() -> None:
    names = [DOCUMENT["paths"][path][method]["operationId"] for path, method in OPERATIONS]
    assert len({*names}) == len(names)
    assert all(name.isidentifier() for name in names)


def test_links_lead_to_operations_and_their_parameters() -> None:
    operations = {
        DOCUMENT["paths"][path][method]["operationId"]: DOCUMENT["paths"][path][method] for path, method in OPERATIONS
    }
    links = [link for endpoint in ALL for reply in endpoint.replies for link in reply.links.values()]
    assert links
    for link in links:
        assert {*link["parameters"]} == {one["name"] for one in operations[link["operationId"]]["parameters"]}


@pytest.mark.parametrize("endpoint", ALL, ids=name_of)
def test_parameters(endpoint: Endpoint) -> None:
    assert {one.type for one in endpoint.parameters} <= {*get_args(ParameterType)}
    in_path = [one for one in endpoint.parameters if one.place == "path"]
    assert [one.name for one in in_path] == re.findall(r"{(\w+)}", endpoint.path)
    assert all(one.required for one in in_path)
    fields = [one.name for one in endpoint.parameters if one.place == "body"]
    assert fields == {EventText: [*FIELDS], Batch: [*BATCH_FIELDS]}.get(endpoint.body, [])


def test_bodies_have_the_fields_that_are_read() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert tuple(schemas["Event"]["properties"]) != ()
    assert {*schemas["Event"]["properties"]} == {*FIELDS}
    assert {*schemas["Batch"]["properties"]} == {*BATCH_FIELDS}
    assert not any(schemas[name]["additionalProperties"] for name in ("Event", "Batch", "QueryBody"))


VALUES = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        MAX_LIMIT,
        MAX_LIMIT + 1,
        10**30,
        1.0,
        1.5,
        "",
        "1",
        "SELECT 1",
        *FORMATS,
        "xml",
        "JSON",
    ),
    *([], [1, [2]], {}, {"a": {"b": None}}),
)


@pytest.mark.parametrize("field", [*QueryBody.__struct_fields__, "Q", "parameters"])
def test_a_query_is_taken_if_and_only_if_it_is_as_described(field: str) -> None:
    """The code reads it field by field, for the sake of what its errors say."""
    for value in VALUES:
        body = json.dumps({"q": "SELECT 1", field: value}).encode()
        assert _is_taken(body) == _is_described(body), body
    for body in (b"{}", b"[]", b"null", b'"q"', b"1", b"", b"{", b'{"q": "\xff"}', b'{"q": "SELECT 1"} {}'):
        assert not _is_taken(body)
        assert not _is_described(body)


def _is_taken(body: bytes) -> bool:
    try:
        values = query.read_fields(body)
        read_sql(values)
        read_number(values, "limit", DEFAULT_LIMIT, MAX_LIMIT)
        pick_format(values.get("format"), None, "json")
    except RequestError:
        return False
    return True


def _is_described(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=QueryBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


@pytest.mark.parametrize("endpoint", ALL, ids=name_of)
def test_a_key_and_its_scope(endpoint: Endpoint) -> None:
    operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    wanted = [{"key": [endpoint.scope]}] if endpoint.scope else None
    assert operation.get("security") == wanted
    assert ({"401", "403"} <= operation["responses"].keys()) == (endpoint.scope is not None)


@pytest.mark.parametrize("endpoint", ALL, ids=name_of)
def test_errors_are_those_of_the_code(endpoint: Endpoint) -> None:
    responses = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]["responses"]
    codes = {
        code: int(status)
        for status, response in responses.items()
        if int(status) >= 400 and "content" in response
        for code in response["content"]["application/json"]["schema"]["properties"]["error"]["enum"]
    }
    kinds = [*endpoint.fails, by_code()["internal_error"]]
    assert codes == {kind.code: kind.status for kind in kinds}
    assert ("Retry-After" in responses.get("503", {}).get("headers", {})) == ("503" in responses)


def test_every_error_is_some_endpoint_s() -> None:
    found = {kind.code for endpoint in ALL for kind in endpoint.fails}
    assert by_code().keys() - found == {"internal_error", "method_not_allowed"}


def test_examples_are_as_their_schemas_say() -> None:
    checked = 0
    for path, method in OPERATIONS:
        for response in DOCUMENT["paths"][path][method]["responses"].values():
            for media in response.get("content", {}).values():
                for example in media.get("examples", {}).values():
                    assert faults(example["value"], media["schema"]) == [], (path, example)
                    checked += 1
    assert checked > 20


@pytest.mark.parametrize(
    ("body", "schema", "right"),
    [
        ({"event": "e"}, "Event", True),
        ({"event": "e", "properties": {"a": [{"b": None}]}, "timestamp": None}, "Event", True),
        ({"event": " "}, "Event", False),
        ({"event": "e" * 201}, "Event", False),
        ({"event": "e", "userId": "u"}, "Event", False),
        ({"event": "e", "timestamp": "2026-01-31 13:45"}, "Event", True),
        ({"event": "e", "timestamp": "yesterday"}, "Event", False),
        ({"event": "e", "properties": []}, "Event", False),
        ({"events": []}, "Batch", False),
        ({"events": [{"event": "e"}] * 500}, "Batch", True),
        ({"events": [{"event": "e"}] * 501}, "Batch", False),
        ({"events": [{"evnt": "e"}]}, "Batch", False),
        ({"q": "SELECT 1", "params": {"a": 1}, "limit": 50_000}, "QueryBody", True),
        ({"q": "SELECT 1", "limit": 50_001}, "QueryBody", False),
    ],
)
def test_bodies(body: object, schema: str, right: bool) -> None:
    assert (faults(body, {"$ref": f"#/components/schemas/{schema}"}) == []) == right


def test_the_address_of_the_node_is_in_it() -> None:
    assert DOCUMENT["servers"][0]["url"] == "https://node.example"
    text = json.dumps(DOCUMENT)
    assert "{base_url}" not in text
    assert "{health}" not in text
    assert "curl -X POST https://node.example/v1/ingest" in text


def test_the_rate_of_tails_is_told_as_a_setting_of_the_node() -> None:
    (endpoint,) = [endpoint for endpoint in ENDPOINTS if endpoint.path == "/v1/tail"]
    (rate,) = [parameter for parameter in endpoint.parameters if parameter.name == "rate"]
    assert "tail_rate" in rate.text
    assert not re.search(r"\d", rate.text)
