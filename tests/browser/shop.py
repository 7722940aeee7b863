"""Events of a made-up shop, the same ones each time: traffic by the hour, and users who come back, buy or do not."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

PAGES = ("/", "/pricing", "/products", "/products/lamp", "/products/chair", "/blog", "/docs/start", "/about")
REFERRERS = ("google", "newsletter", "direct", "github", "linkedin")
DEVICES = ("desktop", "phone", "tablet")
PLANS = ("free", "team", "business")


def events(count: int, days: int = 14, seed: int = 7, now: datetime | None = None) -> list[dict[str, Any]]:
    """``count`` events of the last ``days``, oldest first."""
    random = Random(seed)
    end = now or datetime.now(UTC)
    times = sorted(_times(random, count, end - timedelta(days=days), end))
    return [_event(random, time) for time in times]


def _times(random: Random, count: int, start: datetime, end: datetime) -> Iterator[datetime]:
    """More by day than by night, and more on weekdays; a little more each day."""
    span = (end - start).total_seconds()
    while count:
        time = start + timedelta(seconds=random.random() * span)
        hour = time.hour + time.minute / 60
        weight = 0.55 + 0.45 * math.sin((hour - 9) / 24 * 2 * math.pi)
        weight *= 0.6 if time.weekday() >= 5 else 1
        weight *= 0.6 + 0.4 * (time - start).total_seconds() / span
        if random.random() < weight:
            count -= 1
            yield time


def _event(random: Random, time: datetime) -> dict[str, Any]:
    user = f"u_{min(int(random.paretovariate(0.9)), 900):03d}"
    name = random.choices(("page_view", "click", "add_to_cart", "signup", "purchase"), (62, 21, 9, 4, 4))[0]
    return {
        "event": name,
        "user_id": user,
        "timestamp": time.isoformat(timespec="milliseconds"),
        "properties": _properties(random, name),
        "context": {
            "device": random.choices(DEVICES, (6, 5, 1))[0],
            "app": {"version": random.choice(("2.3.1", "2.4.0"))},
        },
    }


def _properties(random: Random, name: str) -> dict[str, Any]:
    page = random.choices(PAGES, (30, 12, 18, 9, 7, 8, 5, 3))[0]
    if name == "page_view":
        return {"page": page, "referrer": random.choice(REFERRERS), "load_ms": round(random.lognormvariate(5.6, 0.5))}
    if name == "click":
        return {"page": page, "button": random.choice(("buy", "menu", "search", "more"))}
    if name == "signup":
        return {"plan": random.choices(PLANS, (7, 3, 1))[0]}
    cart = {"total": random.randrange(900, 24_000), "currency": "EUR", "items": random.randrange(1, 6)}
    return {"page": "/products", "cart": cart}
