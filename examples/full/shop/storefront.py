"""A small shop as a Flask application: goods, a basket, accounts, orders; JSON for drills, health for the load balancer.

Goods are shown whoever is away. The basket and who is signed in are in the session, orders in the database. What could not be
confirmed is said, never guessed: 201 means that the database acknowledged the order, 503 that nothing was written, 504 that
nobody knows; the same token may be sent again in any case.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from flask import Flask, Response, flash, jsonify, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from orders import Account, NameTaken, Order, Orders, OutcomeUnknown, Route, Unavailable
from sessions import Session, Sessions, SessionUnavailable
from werkzeug.exceptions import HTTPException
from werkzeug.security import check_password_hash, generate_password_hash

NAME = re.compile(r"[A-Za-z0-9._-]{2,40}")
CUSTOMER = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,40}")
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
MOST_OF_EACH = 20
RETRY_AFTER_S = 2
# So that a name nobody has takes as long to refuse as a wrong password.
NOBODYS_HASH = generate_password_hash(secrets.token_urlsafe(16))

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Good:
    key: str
    name: str
    about: str
    cents: int


GOODS = {
    good.key: good
    for good in (
        Good("sencha", "Sencha", "Green tea of the first harvest, 100 g", 1290),
        Good("assam", "Assam", "Strong and malty, takes milk well, 250 g", 1150),
        Good("darjeeling", "Darjeeling", "Second flush, of ripe fruit and nuts, 100 g", 1480),
        Good("oolong", "Oolong", "Half fermented, for many infusions, 100 g", 1650),
        Good("rooibos", "Rooibos", "Without caffeine, for the evening, 250 g", 790),
        Good("pot", "The small pot", "Stoneware, for two cups, with a sieve", 3900),
    )
}


class Counter(Protocol):
    def remembered(self, name: str, count: object, /) -> int: ...


@dataclass(frozen=True)
class Problem:
    status: int
    code: str
    title: str
    text: str


NOT_WRITTEN = Problem(
    503, "not-written", "Not done yet", "The database does not take it right now, so nothing was stored. Try again in a moment."
)
UNKNOWN = Problem(
    504, "outcome-unknown", "We could not confirm it",
    "It was sent, and the database did not answer in time. Send it again: the same order is never placed twice.",
)  # fmt: skip
NOT_READABLE = Problem(
    503,
    "unavailable",
    "This cannot be looked up right now",
    "The database does not answer. It works again as soon as it is back.",
)
WHO = Problem(
    503, "session-unavailable", "One moment, please",
    "Where we keep baskets and who is signed in does not answer right now. Nothing is lost: try again in a few seconds.",
)  # fmt: skip
ELSEWHERE = Problem(403, "elsewhere", "Not from here", "This was not sent by a page of this shop, so nothing was done.")


class Refused(Exception):
    """A request that ends with a problem, for the person who made it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


def create_app(environment: Mapping[str, str], orders: Orders, sessions: Sessions, counts: Counter) -> Flask:
    """Build the application. Asks nobody."""
    app = Flask(__name__)
    app.session_interface = sessions
    app.config.update(MAX_CONTENT_LENGTH=64 * 1024, SEND_FILE_MAX_AGE_DEFAULT=300)
    host_name = environment.get("HOST_NAME", "")
    _add_shop(app, orders, counts)
    _add_accounts(app, orders)
    _add_api(app, orders)
    _add_health(app, orders, sessions, environment.get("APP_NAME", "shop"), host_name)
    _add_errors(app)

    @app.template_filter("price")
    def price(cents: int) -> str:
        return f"€ {cents // 100}.{cents % 100:02}"

    @app.context_processor
    def page_values() -> dict[str, object]:
        return {
            "host_name": host_name, "web_server": request.headers.get("X-Web-Server", ""),
            "basket": _basket(), "who": session.get("name", ""), "is_unknown": _visitor().is_unknown,
        }  # fmt: skip

    @app.after_request
    def finish(response: Response) -> Response:
        try:
            sessions.keep(_visitor())
        except SessionUnavailable:
            # What the answer says of the basket is not so. An order that was placed is in the database: the basket still has
            # it under the same token, and ordering it again says so.
            _visitor().is_unknown = True
            response = app.make_response(_told(WHO))
        response.headers.update(SECURITY_HEADERS)
        response.headers["X-App-Server"] = host_name
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        if response.status_code == 503:
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response

    return app


def _add_shop(app: Flask, orders: Orders, counts: Counter) -> None:
    @app.get("/")
    def index() -> ResponseReturnValue:
        try:
            placed: int | None = counts.remembered("orders", orders.count)
        except Unavailable:
            placed = None
        return render_template("index.html", goods=GOODS.values(), placed=placed)

    @app.post("/basket")
    def fill() -> ResponseReturnValue:
        _checked()
        key, wanted = request.form.get("good", ""), request.form.get("count", "")
        if key not in GOODS or not re.fullmatch(r"[0-9]{1,2}", wanted):
            raise Refused(Problem(400, "invalid", "There is no such thing here", "Choose one of what is on the shelf."))
        basket = {**_basket(), key: min(int(wanted), MOST_OF_EACH)}
        session["basket"] = {name: count for name, count in basket.items() if count}
        # Sent twice, or again after "we could not confirm it", this basket is one order.
        session["token"] = secrets.token_urlsafe(18)
        return redirect(url_for("basket" if request.form.get("from") == "basket" else "index"), 303)

    @app.get("/basket")
    def basket() -> ResponseReturnValue:
        _known()
        return render_template("basket.html", goods=GOODS, cents=_cents(_basket()))

    @app.post("/orders")
    def order() -> ResponseReturnValue:
        _checked()
        if "account" not in session:
            return redirect(url_for("sign_in"), 303)
        items = _basket()
        if not items:
            raise Refused(Problem(400, "invalid", "Nothing to order", "The basket is empty."))
        made = Order(session["token"], session["name"], items, _cents(items), session["account"])
        number, _ = _written(orders, made)
        session["basket"] = {}
        flash(f"Order {number} is placed. The database has acknowledged it, and a copy has it too.")
        return redirect(url_for("own_orders"), 303)

    @app.get("/orders")
    def own_orders() -> ResponseReturnValue:
        _known()
        if "account" not in session:
            return redirect(url_for("sign_in"), 303)
        try:
            found = orders.of_account(session["account"])
        except Unavailable:
            raise Refused(NOT_READABLE) from None
        return render_template("orders.html", orders=found, goods=GOODS)


def _add_accounts(app: Flask, orders: Orders) -> None:
    @app.get("/sign-in")
    def sign_in() -> ResponseReturnValue:
        _known()
        return render_template("sign-in.html", name="", wrong="")

    @app.post("/sign-in")
    def signed_in() -> ResponseReturnValue:
        _checked()
        name, password = request.form.get("name", "").strip(), request.form.get("password", "")
        is_new = request.form.get("do") == "join"
        if not NAME.fullmatch(name) or not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            wrong = f"A name of 2 to 40 letters, digits, . _ - and a password of at least {SHORTEST_PASSWORD} characters."
            return render_template("sign-in.html", name=name, wrong=wrong), 400
        try:
            account = _joined(orders, name, password) if is_new else _recognised(orders, name, password)
        except NameTaken:
            return render_template("sign-in.html", name=name, wrong="That name is taken."), 400
        if account is None:
            return render_template("sign-in.html", name=name, wrong="Name or password is not right."), 400
        _visitor().rename()
        session.update(account=account.id, name=account.name)
        flash(f"Welcome, {account.name}.")
        return redirect(url_for("basket" if _basket() else "index"), 303)

    @app.post("/sign-out")
    def sign_out() -> ResponseReturnValue:
        _checked()
        _visitor().rename()
        session.clear()
        return redirect(url_for("index"), 303)


def _joined(orders: Orders, name: str, password: str) -> Account:
    try:
        return orders.add_account(name, generate_password_hash(password))
    except Unavailable:
        raise Refused(NOT_WRITTEN) from None
    except OutcomeUnknown:
        text = "It was sent, and the database did not answer in time. Try to sign in; if that does not work, create it again."
        raise Refused(Problem(504, UNKNOWN.code, UNKNOWN.title, text)) from None


def _recognised(orders: Orders, name: str, password: str) -> Account | None:
    try:
        account = orders.account(name)
    except Unavailable:
        raise Refused(NOT_READABLE) from None
    is_right = check_password_hash(account.password_hash if account else NOBODYS_HASH, password)
    return account if account and is_right else None


def _add_api(app: Flask, orders: Orders) -> None:
    @app.post("/api/orders")
    def api_order() -> ResponseReturnValue:
        # Only JSON, and no session: another site's form cannot send it, so that no CSRF token is needed here.
        order = _guests_order(request.get_json())
        number, is_new = _written(orders, order)
        return jsonify(id=number, token=order.token, cents=order.cents), 201 if is_new else 200

    @app.get("/api/orders/<token>")
    def api_found(token: str) -> ResponseReturnValue:
        # Whoever has the token placed the order.
        try:
            found = orders.find(token) if TOKEN.fullmatch(token) else None
        except Unavailable:
            raise Refused(NOT_READABLE) from None
        if found is None:
            return jsonify(error="absent"), 404
        return jsonify(id=found.id, token=found.token, customer=found.customer, items=found.items, cents=found.cents)


def _add_health(app: Flask, orders: Orders, sessions: Sessions, app_name: str, host_name: str) -> None:
    @app.get("/health")
    def health() -> ResponseReturnValue:
        # Asks nobody: while the database or the cache fails over, the load balancers must not take out every server.
        return jsonify(status="ok", instance=f"{app_name}@{host_name}")

    @app.get("/ready")
    def ready() -> ResponseReturnValue:
        said: dict[str, str] = {}
        failed = False
        for route in Route:
            try:
                said[f"database-{route}"] = orders.probe(route)
            except Unavailable as problem:
                said[f"database-{route}"], failed = str(problem), True
        try:
            sessions.probe()
            said["sessions"] = "ok"
        except SessionUnavailable as problem:
            said["sessions"], failed = str(problem), True
        return jsonify(said), 503 if failed else 200


def _add_errors(app: Flask) -> None:
    @app.errorhandler(Refused)
    def refused(error: Refused) -> ResponseReturnValue:
        return _told(error.problem)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> ResponseReturnValue:
        body, status = _told(Problem(error.code or 500, "http", error.name, error.description or ""))
        # The error's own headers tell what is allowed (Allow, for 405).
        return body, status, [header for header in error.get_headers() if header[0] != "Content-Type"]


def _told(problem: Problem) -> tuple[str | Response, int]:
    if request.path.startswith("/api/"):
        return jsonify(error=problem.code, text=problem.text), problem.status
    return render_template("problem.html", problem=problem), problem.status


def _written(orders: Orders, order: Order) -> tuple[int, bool]:
    try:
        return orders.place(order)
    except Unavailable:
        raise Refused(NOT_WRITTEN) from None
    except OutcomeUnknown:
        raise Refused(UNKNOWN) from None


def _guests_order(body: object) -> Order:
    fields = body if isinstance(body, dict) else {}
    customer, items, token = (fields.get(key) for key in ("customer", "items", "token"))
    if not (isinstance(customer, str) and CUSTOMER.fullmatch(customer) and isinstance(token, str) and TOKEN.fullmatch(token)):
        raise Refused(
            Problem(400, "invalid", "Invalid", "customer (1 to 40 characters) and token (letters, digits, - _) are needed.")
        )
    if not (isinstance(items, dict) and items and all(_is_wanted(key, count) for key, count in items.items())):
        raise Refused(Problem(400, "invalid", "Invalid", f"items: 1 to {MOST_OF_EACH} of {', '.join(GOODS)}."))
    return Order(token, customer, items, _cents(items))


def _is_wanted(key: str, count: object) -> bool:
    return key in GOODS and type(count) is int and 1 <= count <= MOST_OF_EACH


def _visitor() -> Session:
    visitor = session._get_current_object()  # type: ignore[attr-defined]
    assert isinstance(visitor, Session)  # noqa: S101 - our own interface made it
    return visitor


def _known() -> None:
    """End the request with "one moment" where it cannot be known whose it is."""
    if _visitor().is_unknown:
        raise Refused(WHO)


def _checked() -> None:
    """End the request where it cannot be known whose it is, or where a page of somebody else's may have sent it."""
    # Browsers say of each POST which site's page it is from, and no page can make them say something else. A token in the
    # session would need a session for everybody who only looks.
    if urlsplit(request.headers.get("Origin", "")).netloc != request.host:
        raise Refused(ELSEWHERE)
    _known()


def _basket() -> dict[str, int]:
    """What lies in it and is still sold."""
    return {key: count for key, count in session.get("basket", {}).items() if key in GOODS}


def _cents(items: Mapping[str, int]) -> int:
    return sum(GOODS[key].cents * count for key, count in items.items())
