"""``GET /metrics`` of a node with two workers: right, by the conventions, documented, and never going back."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import prometheus
from tests.api.tailing import reading
from tests.prometheus import Family
from tests.support import RunningNode, run_cli, running_node, wait_for

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("metrics") / "data", workers=2, tail_rate=10) as node:
        wait_for(lambda: node.query("SELECT 1").status_code == 200)
        yield node


def scrape(node: RunningNode) -> dict[str, Family]:
    answer = httpx.get(node.url + "/metrics")
    assert answer.status_code == 200
    return prometheus.read(answer.text)


def documented() -> dict[str, str]:
    """Kinds by name."""
    return dict(re.findall(r"^\| `(novamesh_\w+)` \| (\w+) \|", (DOCS / "metrics.md").read_text(), re.MULTILINE))


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "grafana" / "novamesh.json").read_text())
    return found


def counters(families: dict[str, Family]) -> dict[tuple[str, Any], float]:
    """All that may only grow."""
    return {
        (name, key): value
        for name, family in families.items()
        if family.kind != "gauge"
        for key, value in family.samples.items()
    }


def test_each_is_documented_and_is_there(node: RunningNode) -> None:
    node.send([{"event": "e"}])
    # Those of the store are there once a worker has asked it, which may be after the first answer.
    wait_for(lambda: scrape(node).keys() >= documented().keys(), what="every metric")
    families = scrape(node)
    assert {name: family.kind for name, family in families.items()} == documented()
    for name, family in families.items():
        (row,) = [line for line in (DOCS / "metrics.md").read_text().splitlines() if line.startswith(f"| `{name}`")]
        named = set(re.findall(r"`(\w+)`", row.split("|")[3]))
        labels = {label for _, pairs in family.samples for label, _ in pairs} - {"le"}
        assert labels <= named, name


def test_what_is_counted(node: RunningNode) -> None:
    before = scrape(node)

    def more(name: str, suffix: str = "", **labels: str) -> float:
        return scrape(node)[name].value(suffix, **labels) - before[name].value(suffix, **labels)

    body = {"events": [{"event": "e", "properties": {"x": "y" * 1000}}] * 50}
    for _ in range(4):
        assert node.post("/v1/batch", body).status_code == 202
    wait_for(lambda: more("novamesh_accept_duration_seconds", "_count") == 4)  # counted when it is answered
    assert more("novamesh_accept_duration_seconds", "_sum") > 0
    assert 200_000 < more("novamesh_accepted_bytes_total") < 220_000
    for sql, status in (("SELECT 1", 200), ("SELECT 1", 200), ("SELECT nothing", 400), ("DELETE FROM events", 403)):
        assert node.query(sql).status_code == status
    wait_for(lambda: more("novamesh_queries_total", outcome="answered") == 2)
    assert more("novamesh_queries_total", outcome="refused") == 2
    assert more("novamesh_query_duration_seconds", "_count") == 4
    assert more("novamesh_http_errors_total", code="invalid_query") == 1
    assert more("novamesh_http_errors_total", code="query_not_allowed") == 1
    key = run_cli("keys", "create", "--rate=1", "--burst=1", f"--data-dir={node.data_dir}").stdout.strip()

    def limited() -> bool:
        answer = httpx.post(node.url + "/v1/ingest", json={"event": "e"}, headers={"Authorization": f"Bearer {key}"})
        return answer.status_code == 429

    wait_for(limited)
    assert more("novamesh_http_errors_total", code="rate_limited") == 1


def test_tails_are_counted(node: RunningNode) -> None:
    before = scrape(node)
    with reading(node), reading(node):
        assert scrape(node)["novamesh_tails_open"].value() == 2
        node.send([{"event": "e"}] * 100)

        def counted() -> bool:
            now = scrape(node)
            shown, dropped = (
                now[name].value() - before[name].value()
                for name in ("novamesh_tail_events_total", "novamesh_tail_dropped_events_total")
            )
            return shown >= 20 and shown + dropped == 200

        wait_for(counted)
    wait_for(lambda: scrape(node)["novamesh_tails_open"].value() == 0)


def test_processes_have_memory_and_time(node: RunningNode) -> None:
    pids = {"supervisor": [node.process.pid], **node.children()}
    families = scrape(node)
    for role, numbers in pids.items():
        for pid in numbers:
            assert families["novamesh_process_resident_memory_bytes"].value(role=role, pid=str(pid)) > 10_000_000
            assert families["novamesh_process_cpu_seconds_total"].value(role=role, pid=str(pid)) > 0
    assert families["novamesh_store_bytes"].value() > 0


def test_counters_do_not_go_back_when_a_worker_dies(node: RunningNode) -> None:
    for n in range(30):
        assert httpx.post(node.url + "/v1/ingest", json={"event": f"e{n}"}, headers=node.headers).status_code == 202
    before = counters(scrape(node))
    victim = node.children()["edge"][0]
    with reading(node):
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(node.children()["edge"]) == 2 and victim not in node.children()["edge"])
    wait_for(lambda: _answers(node))

    def alive() -> dict[str, Family] | None:
        """Once the new worker is seen, and the dead one's last heartbeat is too old."""
        found = scrape(node)
        samples = found["novamesh_process_cpu_seconds_total"].samples
        pids = {int(dict(labels)["pid"]) for _, labels in samples if ("role", "edge") in labels}
        seen = pids == {*node.children()["edge"]} and found["novamesh_edge_workers"].value() == 2
        return found if seen else None

    after = counters(wait_for(alive))
    gone = {key for key in before if key not in after}
    assert all(name.startswith("novamesh_process") and ("pid", str(victim)) in labels for name, (_, labels) in gone)
    assert {key: (value, after[key]) for key, value in before.items() if key not in gone and after[key] < value} == {}
    wait_for(lambda: scrape(node)["novamesh_tails_open"].value() == 0)


def _answers(node: RunningNode) -> bool:
    try:
        return scrape(node)["novamesh_store_up"].value() == 1
    except httpx.HTTPError:
        return False


def test_the_dashboard_shows_what_there_is() -> None:
    known = documented()
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    used = set()
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        for target in panel["targets"]:
            expression = target["expr"]
            for name in re.findall(r"novamesh_\w+", expression):
                family = re.sub("_(bucket|sum|count)$", "", name)
                family = family if known.get(family) == "histogram" else name
                assert family in known, expression
                used.add(family)
                if known[family] == "counter" or name.endswith("_bucket"):
                    assert f"rate({name}{{" in expression, expression
            assert expression.count("(") == expression.count(")")
            assert ("histogram_quantile" in expression) == ("sum by (le)" in expression), expression
    assert used == set(known)


def labels_of(name: str) -> set[str]:
    """The labels that are documented; of the rest of a row's words none is one that Prometheus or Grafana sets."""
    family = re.sub("_(bucket|sum|count)$", "", name)
    rows = re.findall(rf"^\| `(?:{name}|{family})` \| \w+ \|([^|]*)\|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    return set(re.findall(r"`(\w+)`", rows[0])) | {"instance", "le"}


def test_the_dashboard_asks_for_labels_that_there_are() -> None:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression, legend = target["expr"], target.get("legendFormat", "")
            (name,) = re.findall(r"novamesh_\w+", expression)
            kept = {label for labels in re.findall(r" by \(([^)]*)\)", expression) for label in labels.split(", ")}
            assert kept <= labels_of(name), expression
            # What is summed away cannot be shown.
            assert set(re.findall(r"{{(\w+)}}", legend)) == kept - {"le"}, expression


def test_the_dashboard_asks_the_prometheus_and_the_nodes_that_are_chosen() -> None:
    source, node = dashboard()["templating"]["list"]
    assert (source["type"], source["query"], node["query"]) == (
        "datasource",
        "prometheus",
        "label_values(novamesh_info, instance)",
    )
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    for one in (node, *panels, *(target for panel in panels for target in panel["targets"])):
        assert one["datasource"] == {"type": "prometheus", "uid": f"${{{source['name']}}}"}
    for panel in panels:
        for target in panel["targets"]:
            names = re.findall(r"novamesh_\w+", target["expr"])
            assert target["expr"].count(f'{{{node["name"]}=~"${node["name"]}"}}') == len(names), target["expr"]
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["showLegend"]


def test_the_dashboard_s_panels_have_places_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + line) for column in range(place["w"]) for line in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(column for column, _ in cells) < 24
        taken |= cells
