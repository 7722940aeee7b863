"""About 3,000 events of a made-up web shop, always the same ones: what the round-trip queries are about.

Besides what a tidy tracker sends they hold what real ones do: numbers sent as text, one key with several types, keys with
spaces and dots, nulls next to absent keys, nested carts, order numbers beyond 2^53, timestamps with offsets.
"""

import random
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote_plus

Event = dict[str, Any]

START: Final = datetime(2026, 3, 2)  # noqa: DTZ001 — events are sent without an offset: UTC
DAYS: Final = 56
USERS: Final = 132
BATCH_CONTEXT: Final[Event] = {"library": {"name": "web", "version": "2.4.1"}, "locale": "en-US"}
"""What every batch is sent with; an event's own keys win."""

_CATALOGUE: Final[tuple[tuple[str, str, str, float, list[str]], ...]] = (
    ("SHOE-01", "Trail shoe", "shoes", 89.9, ["outdoor", "sale"]),
    ("SHOE-02", "City shoe", "shoes", 64.5, []),
    ("HAT-01", "Wool hat", "hats", 19.99, ["winter"]),
    ("HAT-02", "Sun hat", "hats", 14.25, ["summer", "sale"]),
    ("BAG-01", "Day pack", "bags", 49.0, ["outdoor"]),
    ("BAG-02", "Tote", "bags", 9.5, ["summer"]),
    ("SOCK-01", "Socks, 3 pairs", "socks", 12.3, ["winter", "outdoor", "sale"]),
)
_CAMPAIGNS: Final = (
    *(("google", "cpc", "spring sale"), ("google", "organic", ""), ("newsletter", "email", "week-10")),
    *(("facebook", "paid_social", "spring sale"), ("", "", "")),
)
_COUNTRIES: Final = (
    ("FR", "Paris", "fr-FR"),
    ("DE", "Köln", "de-DE"),
    ("US", "Austin", "en-US"),
    ("BR", "São Paulo", "pt-BR"),
)
_DEVICES: Final = (
    ("mobile", "iOS 19.1", 390, 844),
    ("mobile", "Android 16", 412, 915),
    ("desktop", "macOS 26", 1440, 900),
)
_SEARCHES: Final = ("red shoes", "Red Shoes", "hat", "socks & more", "100% wool", "it's", "")
_PLANS: Final = ("free", "pro", "team")


def events() -> list[Event]:
    """All of them, oldest first."""
    shop = _Shop(random.Random(20260302))
    for number in range(USERS):
        shop.user(number)
    return sorted(shop.events, key=lambda event: (event["timestamp"], event["id"]))


class _Shop:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.events: list[Event] = []
        self.orders = 0
        self.at = START
        self.who: Event = {}
        self.session = ""

    def one_of(self, choices: Any) -> Any:
        return choices[int(self.chance.random() * len(choices))]

    def likely(self, share: float) -> bool:
        return self.chance.random() < share

    def number(self, low: int, high: int) -> int:
        return low + int(self.chance.random() * (high - low + 1))

    def send(self, event: str, properties: Event) -> None:
        # Always later than the last one: no two events of a visit share an instant.
        self.at += timedelta(milliseconds=1009 * self.number(2, 90) + self.number(0, 3) * 250)
        sent = {
            "event": event,
            "id": f"e{len(self.events):05}",
            "timestamp": self.at.isoformat(),
            "properties": {"session": self.session, **properties} if self.session else properties,
            "context": self.who["context"],
        }
        if self.who["id"] is not None:
            sent["user_id"] = self.who["id"]
        self.events.append(sent)

    def user(self, number: int) -> None:
        country, city, locale = self.one_of(_COUNTRIES)
        kind, system, width, height = self.one_of(_DEVICES)
        context: Event = {
            "geo": {"country": country, "city": city},
            "device": {"type": kind, "os": system, "screen": {"w": width, "h": height}},
            "user_agent": f"Mozilla/5.0 ({system}) Shop/{self.number(1, 3)}.{self.number(0, 12)}",
        }
        if self.likely(0.7):
            context["locale"] = locale
        self.who = {"id": None if number % 19 == 18 else f"u_{number:03}", "context": context}
        day = self.number(0, DAYS - 8)
        for visit in range(self.number(1, 6)):
            self.at = START + timedelta(days=day, hours=self.number(0, 22), minutes=self.number(0, 59))
            self.session = f"s_{number:03}_{visit}"
            self.visit(number, first=visit == 0)
            day += self.number(1, 12)
            if day >= DAYS:
                break

    def visit(self, number: int, *, first: bool) -> None:
        source = self.one_of(_CAMPAIGNS)
        for view in range(self.number(1, 7)):
            self.page_view(source if view == 0 else ("", "", ""), view)
        if first and self.likely(0.75):
            self.signup(number)
        if self.likely(0.4):
            self.search()
        if self.likely(0.12):
            self.error()
        if self.likely(0.08):
            self.send("heartbeat", {} if self.likely(0.5) else {"n": None})
        if self.likely(0.55):
            self.buy()

    def page_view(self, source: tuple[str, str, str], view: int) -> None:
        sku, name, category, _, _ = self.one_of(_CATALOGUE)
        page = self.one_of(("/", f"/{category}", f"/{category}/{sku.lower()}", "/about", "/pricing"))
        query = [
            f"utm_{key}={quote_plus(value)}"
            for key, value in zip(("source", "medium", "campaign"), source, strict=True)
            if value
        ]
        properties: Event = {
            "url": f"https://shop.example.com{page}{'?' + '&'.join(query) if query else ''}",
            "page": page,
            "title": name if sku.lower() in page else page.strip("/").title() or "Home",
            "scroll depth": self.number(0, 4) * 25,
            "viewport": {"w": self.who["context"]["device"]["screen"]["w"], "zoom": self.one_of((1, 1.0, 1.25))},
            "flags": {"new.nav": self.likely(0.5), "beta": self.one_of((True, False, None))},
        }
        load = self.number(80, 2400)
        # A tracker of each age: whole milliseconds, fractions, text.
        properties["load_ms"] = self.one_of((load, load + 0.5, str(load), load, load))
        if view == 0 and self.likely(0.8):
            properties["referrer"] = self.one_of(
                ("https://www.google.com/search", "https://news.example.org/a/b?c=1", "", None)
            )
        self.send("page_view", properties)

    def signup(self, number: int) -> None:
        properties: Event = {
            "plan": _PLANS[number % 3],
            "age": self.one_of((self.number(18, 70), self.number(18, 70), str(self.number(18, 70)), "unknown", None)),
            "email": f"User.{number}@{self.one_of(('example.com', 'Mail.example.org'))}",
            "interests": [tag for tag in ("outdoor", "summer", "winter", "sale") if self.likely(0.4)],
            "score": self.one_of((1, 1.0, "1", 2, 2.5, "2.5")),
        }
        if self.likely(0.4):
            properties["invited_by"] = f"u_{self.number(0, USERS - 1):03}"
        self.send("signup", properties)

    def search(self) -> None:
        results = self.number(0, 40) if self.likely(0.8) else 0
        properties: Event = {"query": self.one_of(_SEARCHES), "results": results, "took_ms": self.number(3, 900) / 10}
        if self.likely(0.6):
            properties["filters"] = {"color": [color for color in ("red", "blue", "black") if self.likely(0.5)]}
            if self.likely(0.6):
                properties["filters"]["price"] = {"min": self.number(0, 3) * 10, "max": self.number(5, 12) * 10}
        self.send("search", properties)

    def error(self) -> None:
        code, message = self.one_of(
            (
                (404, "Not found: /old"),
                ("404", "Not found: /gone"),
                (500, "Timeout after 30 s"),
                ("E_NET", "offline"),
                (429, None),
            )
        )
        self.send("error", {"code": code, "message": message, "fatal": self.one_of((True, False, "true", "no"))})

    def buy(self) -> None:
        items: list[Event] = []
        for _ in range(self.number(1, 4)):
            sku, name, category, price, tags = self.one_of(_CATALOGUE)
            item: Event = {
                "sku": sku,
                "name": name,
                "category": category,
                "qty": self.number(1, 3),
                "price": price,
                "tags": tags,
            }
            if self.likely(0.3):
                item["discount"] = self.one_of((0.1, 0.25, 5))
            items.append(item)
            self.send(
                "add_to_cart",
                {
                    "sku": sku,
                    "qty": item["qty"],
                    "price": price if self.likely(0.8) else str(price),
                    "category": category,
                },
            )
            if self.likely(0.15):
                self.send("remove_from_cart", {"sku": sku, "qty": 1})
        total = round(sum(item["qty"] * item["price"] for item in items), 2)
        cart = {"items": items, "total": total, "count": len(items)}
        for step in range(1, self.number(1, 3) + 1):
            self.send("checkout", {"step": step, "cart": cart, "ab": {"checkout": self.one_of("AB")}})
        if self.likely(0.6):
            self.purchase(cart, total)

    def purchase(self, cart: Event, total: float) -> None:
        self.orders += 1
        order = 9_007_199_254_740_992 + self.orders
        properties: Event = {
            "order_id": order,
            "amount": total if self.likely(0.85) else str(total),
            "currency": self.one_of(("EUR", "EUR", "USD", "BRL")),
            "cart": cart,
            "gift": self.one_of((True, False, "true", None)),
            "shipped at": (self.at + timedelta(hours=self.number(5, 90))).replace(microsecond=0).isoformat()
            + self.one_of(("Z", "+02:00", "-03:00")),
            "Total": int(total),
            "tax.rate": self.one_of((0.2, 0.19, 0)),
        }
        if self.likely(0.5):
            properties["coupon"] = self.one_of(("SPRING", "spring", "WELCOME-10", None))
        self.send("purchase", properties)
        if self.likely(0.12):
            self.send(
                "refund",
                {"order_id": order, "amount": round(total / 2, 2), "reason": self.one_of(("size", "damaged", "other"))},
            )
