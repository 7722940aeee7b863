"""Typical web events, made up from a seed: what the figures in docs/performance.md are of."""

import gzip
import json
import random
from datetime import UTC, datetime
from typing import Any

EVENT_NAMES = ("page_view",) * 6 + ("click",) * 3 + ("signup", "purchase")
PAGES = tuple(f"/{name}" for name in ("", "pricing", "docs", "docs/install", "blog", "blog/launch", "login", "cart"))
BROWSERS = ("Chrome", "Safari", "Firefox", "Edge")
COUNTRIES = ("FR", "DE", "US", "IN", "BR", "JP", "GB", "ES")
START_MS = 1_795_000_000_000
BATCH_SIZE = 500


def web_event(rng: random.Random, place: int) -> dict[str, Any]:
    """One event of about 200 bytes of JSON, the ``place``-th of a stream of 2,000 events/s."""
    name = rng.choice(EVENT_NAMES)
    properties: dict[str, Any] = {
        "page": rng.choice(PAGES),
        "referrer": rng.choice(("https://www.google.com/", "https://news.ycombinator.com/", "")),
        "browser": rng.choice(BROWSERS),
        "country": rng.choice(COUNTRIES),
        "screen_width": rng.choice((360, 390, 768, 1280, 1440, 1920)),
    }
    if name == "purchase":
        properties["price"] = round(rng.uniform(1, 200), 2)
    seconds, ms = divmod(START_MS + place // 2, 1000)
    return {
        "event": name,
        "user_id": f"u{rng.randrange(50_000)}",
        "timestamp": f"{_iso(seconds)}.{ms:03d}Z",
        "properties": properties,
    }


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def batches(count: int, seed: int = 7) -> list[bytes]:
    """Bodies for ``/v1/batch``, 500 events each."""
    rng = random.Random(seed)
    return [
        json.dumps({"events": [web_event(rng, n * BATCH_SIZE + place) for place in range(BATCH_SIZE)]}).encode()
        for n in range(count)
    ]


def single(seed: int = 7) -> bytes:
    """A body for ``/v1/ingest``."""
    return json.dumps(web_event(random.Random(seed), 0)).encode()


def compressed(body: bytes) -> bytes:
    """Gzip, as a client library does it."""
    return gzip.compress(body, 6)
