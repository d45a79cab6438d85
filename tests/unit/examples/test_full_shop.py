"""The shop of the example `full`: whose session it is, and what is told when the session's cache or the database is away."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

SHOP = Path(__file__).parents[3] / "examples" / "full" / "shop"
MODULES = ("storefront", "sessions", "orders")
SITE = "https://full.example.com"
PASSWORD = "a long password"


class Away(Exception):
    """The cache does not answer."""


@dataclass
class FakeCache:
    kept: dict[str, bytes] = field(default_factory=dict)
    lives_s: dict[str, int] = field(default_factory=dict)
    is_away: bool = False
    asked: int = 0

    def _asked(self) -> None:
        self.asked += 1
        if self.is_away:
            raise Away

    def get(self, key: str) -> bytes | None:
        self._asked()
        return self.kept.get(key)

    def set(self, key: str, value: bytes, *, ex: int) -> None:
        self._asked()
        self.kept[key], self.lives_s[key] = value, ex

    def delete(self, key: str) -> None:
        self._asked()
        self.kept.pop(key, None)


@dataclass
class FakeOrders:
    module: Any
    placed: dict[str, Any] = field(default_factory=dict)
    accounts: dict[str, Any] = field(default_factory=dict)
    problem: Exception | None = None

    def place(self, order: Any) -> tuple[int, bool]:
        if self.problem:
            raise self.problem
        is_new = order.token not in self.placed
        self.placed.setdefault(order.token, order)
        return list(self.placed).index(order.token) + 1, is_new

    def add_account(self, name: str, password_hash: str) -> Any:
        if name in self.accounts:
            raise self.module.NameTaken(name)
        self.accounts[name] = self.module.Account(len(self.accounts) + 1, name, password_hash)
        return self.accounts[name]

    def account(self, name: str) -> Any:
        return self.accounts.get(name)

    def of_account(self, account_id: int) -> list[Any]:
        return [one for one in self.placed.values() if one.account_id == account_id]

    def find(self, token: str) -> Any:
        return self.placed.get(token)

    def count(self) -> int:
        if self.problem:
            raise self.problem
        return len(self.placed)


class Counts:
    def remembered(self, _name: str, count: Callable[[], int]) -> int:
        return count()


@dataclass
class Shop:
    cache: FakeCache
    orders: FakeOrders
    app: Any
    client: FlaskClient

    def send(self, path: str, origin: str = SITE, **fields: str) -> TestResponse:
        return self.client.post(path, data=fields, base_url=SITE, headers={"Origin": origin})

    def get(self, path: str) -> TestResponse:
        return self.client.get(path, base_url=SITE)

    def cookie(self) -> str:
        found = self.client.get_cookie("__Host-shop", domain="full.example.com")
        return found.value if found else ""

    def join(self) -> TestResponse:
        return self.send("/sign-in", name="anna", password=PASSWORD, do="join")


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.syspath_prepend(str(SHOP))
    try:
        orders, sessions, storefront = (import_module(name) for name in ("orders", "sessions", "storefront"))
        cache, fake = FakeCache(), FakeOrders(orders)
        app = storefront.create_app({"HOST_NAME": "app1"}, fake, sessions.Sessions(cache, (Away,), "secret"), Counts())
        yield Shop(cache, fake, app, app.test_client())
    finally:
        for name in MODULES:
            sys.modules.pop(name, None)


def test_who_only_looks_has_no_session_and_costs_the_cache_nothing(shop: Shop) -> None:
    for path in ("/", "/basket", "/sign-in", "/health"):
        answer = shop.get(path)
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
    assert shop.cache.asked == 0


def test_basket_lies_in_the_cache_under_a_key_that_tells_not_the_cookie(shop: Shop) -> None:
    assert shop.send("/basket", good="assam", count="2").status_code == 303
    assert "Assam" in shop.get("/basket").text
    (key,) = shop.cache.kept
    assert shop.cookie()
    assert shop.cookie() not in key
    assert shop.cache.lives_s[key] == 24 * 3600


def test_session_gets_another_name_when_its_visitor_signs_in_and_the_old_one_is_gone(shop: Shop) -> None:
    shop.send("/basket", good="assam", count="2")
    before = shop.cookie()
    assert shop.join().status_code == 303
    assert shop.cookie() != before
    assert len(shop.cache.kept) == 1
    assert list(shop.cache.lives_s.values())[-1] == 14 * 24 * 3600
    assert "Orders of anna" in shop.get("/basket").text
    shop.client.set_cookie("__Host-shop", before, domain="full.example.com")
    assert "anna" not in shop.get("/basket").text


def test_name_of_a_session_that_nobody_was_given_is_not_taken(shop: Shop) -> None:
    shop.client.set_cookie("__Host-shop", "chosen", domain="full.example.com")
    assert shop.send("/basket", good="assam", count="1").status_code == 303
    assert shop.cookie() != "chosen"


def test_form_of_another_site_does_nothing(shop: Shop) -> None:
    for origin in ("https://elsewhere.example", "null", ""):
        assert shop.send("/basket", origin, good="assam", count="1").status_code == 403
    assert shop.cache.asked == 0


def test_nobody_is_signed_out_while_sessions_cannot_be_read(shop: Shop) -> None:
    shop.join()
    cookie = shop.cookie()
    shop.cache.is_away = True

    front, basket, filled = shop.get("/"), shop.get("/basket"), shop.send("/basket", good="pot", count="1")

    assert front.status_code == 200
    assert "cannot be looked up for a moment" in front.text
    assert [basket.status_code, filled.status_code] == [503, 503]
    assert basket.headers["Retry-After"]
    assert not any("Set-Cookie" in answer.headers for answer in (front, basket, filled))
    shop.cache.is_away = False
    assert shop.cookie() == cookie
    assert "Orders of anna" in shop.get("/basket").text


def test_session_that_was_not_kept_is_not_told_of_as_kept(shop: Shop) -> None:
    shop.cache.is_away = True
    answer = shop.send("/basket", good="pot", count="1")
    assert answer.status_code == 503
    assert "Set-Cookie" not in answer.headers


def test_basket_is_ordered_once_though_the_session_could_not_be_emptied(shop: Shop) -> None:
    shop.join()
    shop.send("/basket", good="pot", count="1")
    place = shop.orders.place

    def place_and_lose_the_cache(order: Any) -> tuple[int, bool]:
        shop.cache.is_away = True
        return place(order)

    shop.orders.place = place_and_lose_the_cache  # type: ignore[method-assign]
    assert shop.send("/orders").status_code == 503
    shop.cache.is_away, shop.orders.place = False, place  # type: ignore[method-assign]

    assert shop.send("/orders").status_code == 303

    assert len(shop.orders.placed) == 1
    assert "Order 1 is placed" in shop.get("/orders").text


@pytest.mark.parametrize(("problem", "status"), [("Unavailable", 503), ("OutcomeUnknown", 504)])
def test_what_the_database_did_not_confirm_is_told_as_it_is(shop: Shop, problem: str, status: int) -> None:
    shop.join()
    shop.send("/basket", good="pot", count="1")
    shop.orders.problem = getattr(shop.orders.module, problem)()
    order = {"customer": "drill", "items": {"sencha": 1}, "token": "t1"}

    assert shop.send("/orders").status_code == status
    assert shop.client.post("/api/orders", json=order, base_url=SITE).status_code == status
    assert "1 in it" in shop.get("/").text or problem == "OutcomeUnknown"

    shop.orders.problem = None
    assert shop.send("/orders").status_code == 303
    assert [shop.client.post("/api/orders", json=order, base_url=SITE).status_code for _ in range(2)] == [201, 200]
    assert len(shop.orders.placed) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"customer": ""}, {"customer": 1}, {"token": "a b"}, {"items": {}}, {"items": {"gold": 1}},
        {"items": {"sencha": 0}}, {"items": {"sencha": True}}, {"items": {"sencha": 21}},
    ],
)  # fmt: skip
def test_order_that_makes_no_sense_is_refused(shop: Shop, change: dict[str, object]) -> None:
    order = {"customer": "drill", "items": {"sencha": 1}, "token": "t1", **change}
    answer = shop.client.post("/api/orders", json=order, base_url=SITE)
    assert answer.status_code == 400
    assert answer.get_json()["error"] == "invalid"
    assert not shop.orders.placed
    assert shop.client.post("/api/orders", json=[1], base_url=SITE).status_code == 400


def test_wrong_password_and_unknown_name_are_told_alike(shop: Shop) -> None:
    shop.join()
    shop.send("/sign-out")
    wrong = shop.send("/sign-in", name="anna", password="another password", do="sign-in")
    unknown = shop.send("/sign-in", name="nobody", password=PASSWORD, do="sign-in")
    taken = shop.send("/sign-in", name="anna", password=PASSWORD, do="join")
    assert [wrong.status_code, unknown.status_code, taken.status_code] == [400, 400, 400]
    assert "is not right" in wrong.text
    assert "is not right" in unknown.text
    assert shop.send("/sign-in", name="anna", password=PASSWORD, do="sign-in").status_code == 303
