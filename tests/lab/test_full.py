"""The example `full` on real hosts: two applications whose visitors stay signed in, and keep what they did, whoever is lost."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest
from live_site import LiveSite

from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

FULL = Path(__file__).parents[2] / "examples" / "full"
# The site's own limit for an answer; a visitor whose request meets a failover is slow, and gets an answer.
ANSWER_S = 35.0
# So long a visit waits that a host had in hand as it went dark; one that began later waits for no failover of the database.
DARK_S = 10.0
PASSWORD = secrets.token_urlsafe(12)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    live = LiveSite(tmp_path_factory.mktemp("full"), example=FULL)
    try:
        live.nospof("up")
        assert wait_until(lambda: {live.ask("/ready")[0], live.ask("/board/ready")[0]} == {200}, 60)
        yield live
    finally:
        live.down()


class Visitor:
    """A browser, as far as the two applications need one: it keeps cookies, and says where a form was sent from."""

    def __init__(self, site: LiveSite) -> None:
        self.site, self.name = site, f"v{secrets.token_hex(4)}"
        self.cookies: dict[str, str] = {}

    def get(self, path: str) -> tuple[int, str]:
        return self._ask(path, "GET", None)

    def send(self, path: str, **fields: str) -> tuple[int, str]:
        """Send a form to `path`; for Django with the token that its pages have."""
        return self._ask(path, "POST", urlencode(fields).encode())

    def form(self, path: str, name: str) -> str:
        """The value of the hidden field `name` in the page at `path`."""
        status, page = self.get(path)
        found = re.search(rf'name="{name}" value="([^"]*)"', page)
        assert status == 200, page
        assert found, page
        return found[1]

    def _ask(self, path: str, method: str, body: bytes | None) -> tuple[int, str]:
        origin = f"https://{self.site.name}.localhost"
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin, "Referer": f"{origin}/"}
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        status, told, text = self.site.answer(path, method, body, ANSWER_S, {**headers, "Cookie": cookies})
        for line in told.get_all("Set-Cookie", []):
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}
        return status, text

    # --- what people do -----------------------------------------------------------------------------------------------
    def join(self) -> None:
        assert self.send("/sign-in", name=self.name, password=PASSWORD, do="join")[0] == 303
        token = self.form("/board/join", "csrfmiddlewaretoken")
        form = {"username": self.name, "password1": PASSWORD, "password2": PASSWORD}
        assert self.send("/board/join", csrfmiddlewaretoken=token, **form)[0] == 302

    def fill(self, good: str) -> int:
        return self.send("/basket", good=good, count="2")[0]

    def put_up(self, text: str, token: str) -> int:
        csrf = self.form("/board/", "csrfmiddlewaretoken")
        return self.send("/board/posts", csrfmiddlewaretoken=csrf, text=text, token=token)[0]

    def is_known(self) -> bool:
        """Whether both applications know who it is; both must answer."""
        (shop_status, shop), (board_status, board) = self.get("/basket"), self.get("/board/")
        assert (shop_status, board_status) == (200, 200), shop + board
        return f"Orders of {self.name}" in shop and f"<span>{self.name}</span>" in board


@pytest.fixture(scope="module")
def visitor(site: LiveSite) -> Visitor:
    made = Visitor(site)
    made.join()
    return made


def role_of(site: LiveSite, host: str) -> dict[str, object]:
    note: dict[str, object] = json.loads(site.on(host, "cat", "/run/nospof/sessions/note.json"))
    return note


def keeps_sessions(site: LiveSite, *hosts: str) -> str | None:
    """Who of `hosts` takes writes of sessions; None: nobody, or several."""
    found = [host for host in hosts if role_of(site, host).get("takes_writes")]
    return found[0] if len(found) == 1 else None


def database_primary(site: LiveSite) -> str:
    return str(json.loads(site.ask("/ready")[1])["database-write"])


def order(site: LiveSite, token: str) -> int:
    body = {"customer": "somebody", "items": {"assam": 2}, "token": token}
    return site.ask("/api/orders", json.dumps(body).encode(), timeout_s=ANSWER_S)[0]


def ordered_for_certain(site: LiveSite, token: str) -> bool:
    """Send it until the database has acknowledged it, as whoever is told 503 or 504 does."""
    return wait_until(lambda: order(site, token) in (200, 201), 60)


# --- as it is -----------------------------------------------------------------------------------------------------------
def test_both_applications_answer_and_have_all_they_need(site: LiveSite) -> None:
    for path in ("/", "/board/", "/static/shop.css"):
        assert site.ask(path)[0] == 200, path
    for path in ("/ready", "/board/ready"):
        status, said = site.ask(path)
        assert status == 200, said
        assert json.loads(said)["sessions"] == "ok"


def test_django_files_come_from_the_web_hosts_where_it_does_not_run(site: LiveSite) -> None:
    units = ("nospof-board.socket", "nospof-board.service")
    (link,) = re.findall(r'<link rel="stylesheet" href="([^"]+)">', site.ask("/board/")[1])
    try:
        for host in ("app1", "app2"):
            site.on(host, "systemctl", "stop", *units)
        status, headers, text = site.answer(link)
        assert (status, headers["Content-Type"]) == (200, "text/css")
        assert ":root" in text
        assert site.answer("/board/static/none.css")[0] == 404
    finally:
        for host in ("app1", "app2"):
            site.on(host, "systemctl", "start", *units)
    assert wait_until(lambda: site.status_of("/board/") == 200, 30)


def test_nobody_is_signed_in_by_another_sites_form_or_a_name_of_their_choice(site: LiveSite) -> None:
    other = Visitor(site)
    other.cookies = {"__Host-shop": "chosen", "__Secure-board": "c" * 32}
    form = urlencode({"good": "assam", "count": "1"}).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert site.answer("/basket", "POST", form, more={**kind, "Origin": "https://elsewhere.example"})[0] == 403
    assert site.answer("/basket", "POST", form, more=kind)[0] == 403
    assert site.answer("/board/posts", "POST", b"text=x", more=kind)[0] == 403
    assert other.fill("assam") == 303
    assert other.cookies["__Host-shop"] != "chosen"
    before = other.cookies["__Host-shop"]
    other.join()
    assert other.cookies["__Host-shop"] != before, "who knew the name before is not who signs in"
    assert "2 in it" in other.get("/")[1]


def test_order_and_notice_are_seen_by_who_has_just_written_them(visitor: Visitor) -> None:
    assert visitor.fill("sencha") == 303
    assert visitor.send("/orders")[0] == 303
    assert "2 × Sencha" in visitor.get("/orders")[1]
    text, token = f"seen at once {secrets.token_hex(4)}", secrets.token_hex(8)
    assert [visitor.put_up(text, token) for _ in range(2)] == [302, 302]
    assert visitor.get("/board/")[1].count(text) == 1


# --- losses -------------------------------------------------------------------------------------------------------------
def test_session_survives_the_loss_of_its_primary(site: LiveSite, visitor: Visitor) -> None:
    assert visitor.fill("oolong") == 303
    assert visitor.is_known()
    primary = keeps_sessions(site, "db1", "db2", "w1")
    assert primary is not None

    site.on(primary, "systemctl", "kill", "--signal=KILL", "--kill-whom=main", "valkey-server.service")

    # Whoever comes meanwhile waits, or is told to come again; nobody is signed out.
    known = [visitor.get("/basket")[0], visitor.get("/board/")[0]]
    assert set(known) <= {200, 503}
    assert wait_until(lambda: {visitor.get("/basket")[0], visitor.get("/board/")[0]} == {200}, 30)
    assert visitor.is_known()
    assert "Oolong" in visitor.get("/basket")[1]
    others = [host for host in ("db1", "db2", "w1") if host != primary]
    assert wait_until(lambda: keeps_sessions(site, *others) is not None, 30)
    assert wait_until(lambda: visitor.fill("rooibos") == 303, 30)


def test_caches_of_pages_may_all_be_lost(site: LiveSite, visitor: Visitor) -> None:
    with site.visited() as of_shop, site.visited(path="/board/") as of_board:
        for host in ("app1", "app2"):
            site.on(host, "systemctl", "stop", "memcached.service")
        try:
            assert visitor.is_known()
            assert ordered_for_certain(site, secrets.token_hex(8))
        finally:
            for host in ("app1", "app2"):
                site.on(host, "systemctl", "start", "memcached.service")
    assert of_shop == of_board == []


def test_dark_web_host_signs_nobody_out(site: LiveSite, visitor: Visitor) -> None:
    with site.visited(timeout_s=DARK_S) as failed, site.visited(path="/board/", timeout_s=DARK_S) as of_board:
        site.nospof("lab off", "lb1")
        assert visitor.is_known()
    site.nospof("lab on", "lb1")
    # Which of the two had the VIP is not known: a visit that was under way there nobody can answer any more.
    assert len(failed) <= 1, failed
    assert len(of_board) <= 1, of_board


def test_writes_survive_a_dark_database_host(site: LiveSite, visitor: Visitor) -> None:
    primary = database_primary(site)
    before, meanwhile, text = secrets.token_hex(8), secrets.token_hex(8), f"kept {secrets.token_hex(4)}"
    notice = secrets.token_hex(8)
    assert order(site, before) == 201
    assert visitor.put_up(text, notice) == 302

    site.nospof("lab off", primary)

    assert ordered_for_certain(site, meanwhile)
    assert wait_until(lambda: database_primary(site) != primary, 30)
    assert [site.ask(f"/api/orders/{token}")[0] for token in (before, meanwhile)] == [200, 200]
    assert wait_until(lambda: visitor.get("/board/")[0] == 200, 30)
    assert visitor.put_up(text, notice) == 302, "sent again it is there, and once"
    assert visitor.get("/board/")[1].count(text) == 1
    assert visitor.is_known()
    site.nospof("lab on", primary)


@pytest.mark.long
def test_drill_on_a_machine_that_is_busy_with_seven_hosts_is_valid_and_passes(site: LiveSite) -> None:
    """Incidents: visitors of three sites were more than the machine could answer, and a cache stayed away after a power cut."""
    said = site.nospof("drill", "host-off", "primary", "--reads=20", "--writes=10")
    assert "10 of 10 checks passed; the drill: passed" in said
