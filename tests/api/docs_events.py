"""Two months of a small shop, ending now: what the queries of docs/sql.md are run on. The same each time but for its end."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

Event = dict[str, Any]

_DAYS = 60
_USERS = 60
_PAGES = ("/", "/pricing", "/docs", "/blog", "/shoes", "/shirts")
_SOURCES = ("search", "ads", "newsletter")
_SKUS = ("shoe-42", "shirt-m", "hat", "socks")


def shop_events(now: datetime) -> list[Event]:
    """About 2,500 events in order of time."""
    chance = random.Random(20)
    events = [event for user in range(_USERS) for event in _user(chance, now, f"u_{user}")]
    events += _last_hour(chance, now)
    events += _mixed(now)
    return sorted(events, key=lambda event: str(event["timestamp"]))


def _at(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(name: str, user: str, time: datetime, properties: dict[str, Any], context: dict[str, Any]) -> Event:
    return {"event": name, "user_id": user, "timestamp": _at(time), "properties": properties, "context": context}


def _user(chance: random.Random, now: datetime, user: str) -> Iterator[Event]:
    """One user: a sign-up and some visits after it, the first within hours."""
    joined = now - timedelta(days=chance.uniform(1, _DAYS))
    context = {"device": chance.choice(("phone", "desktop")), "locale": chance.choice(("de", "en", "fr"))}
    variant = chance.choice("AB")
    yield _event("signup", user, joined, {"plan": chance.choice(("free", "pro"))}, context)
    time = joined + timedelta(minutes=chance.uniform(1, 200))
    while time < now - timedelta(hours=2):
        yield from _visit(chance, time, user, variant, context)
        time += timedelta(days=chance.expovariate(1 / 4), hours=3)


def _visit(chance: random.Random, time: datetime, user: str, variant: str, context: dict[str, Any]) -> Iterator[Event]:
    source = chance.choice(_SOURCES)
    for _ in range(chance.randint(1, 5)):
        page = chance.choice(_PAGES)
        properties = {"page": page, "utm_source": source, "load_ms": chance.randint(40, 2_000), "variant": variant}
        yield _event("page_view", user, time, properties, context)
        time += timedelta(seconds=chance.randint(5, 300))
    if chance.random() < 0.6:
        items = [_item(chance) for _ in range(chance.randint(1, 3))]
        yield _event("add_to_cart", user, time, {"items": items, "variant": variant}, context)
        if chance.random() < (0.4 if variant == "A" else 0.6):
            cart = {"total": round(sum(item["qty"] * item["price"] for item in items), 2), "currency": "EUR"}
            properties = {"cart": cart, "items": items, "variant": variant, "order_id": f"o_{chance.randrange(10**9)}"}
            paid = time + timedelta(seconds=chance.randint(30, 900))
            yield _event("purchase", user, paid, properties, context)
            if chance.random() < 0.1:
                yield _event("purchase", user, paid + timedelta(seconds=2), properties, context)


def _item(chance: random.Random) -> dict[str, Any]:
    return {"sku": chance.choice(_SKUS), "qty": chance.randint(1, 3), "price": chance.choice((4.5, 20, 59.9))}


def _last_hour(chance: random.Random, now: datetime) -> Iterator[Event]:
    for _ in range(120):
        time = now - timedelta(seconds=chance.randint(1, 3_500))
        status = chance.choice((200, 200, 200, 200, 404, 500))
        properties = {
            "path": chance.choice(("/api/cart", "/api/login")),
            "status": status,
            "ms": chance.randint(1, 900),
        }
        yield _event("request", f"u_{chance.randrange(_USERS)}", time, properties, {"device": "phone"})


def _mixed(now: datetime) -> Iterator[Event]:
    """One key with values of every type, and the other cases that the page tells of."""
    values = (
        1,
        1.0,
        "1",
        10,
        9.5,
        "abc",
        "Abc",
        True,
        None,
        [1, 2],
        {"a": 1},
        9007199254740993,
        "2026-01-31T12:00:00+02:00",
    )
    for value in values:
        yield _event("mixed", "u_mixed", now - timedelta(minutes=30), {"value": value}, {})
    odd = {"odd key": 7, "a.b": 8, "tags": ["new", "sale"], "text": "", "user": {"name": "Ada"}}
    yield _event("mixed", "u_mixed", now - timedelta(minutes=30), odd, {})
