"""The status page: what it says of a stack in any state, to whom, and that nobody who does not answer holds it up."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html.parser
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from status_pages import START, Stage, with_status

from nospof.onhost import status_page as program
from nospof.onhost.page import changes, show
from nospof.onhost.page.config import Config, Host, config_of
from nospof.onhost.page.figures import parse
from nospof.onhost.page.judge import Level, Picture
from nospof.onhost.page.seen import Drill, Event, Now
from nospof.onhost.page.style import STYLE

WEB = 'nospof_instance_up{tier="web"}'
PRIMARY = 'nospof_database_takes_writes{tier="database"}'
READY = 'nospof_database_fit_for_promotion{tier="database"}'
VIP = 'nospof_vip_held{name="load-balancer",address="198.18.0.1"}'
TOPOLOGY = with_status()


@pytest.fixture
def stage() -> Stage:
    """A stack that is well, a while after the page began."""
    made = Stage(TOPOLOGY)
    for _ in range(4):
        made.hear()
    return made


def says(picture: Picture) -> list[str]:
    return [one.says for one in picture.sentences]


# --- what it means ---------------------------------------------------------------------------------------------------------
def test_stack_of_which_every_part_is_healthy_is_well(stage: Stage) -> None:
    picture = stage.hear()
    assert (picture.level, says(picture)) == (Level.GOOD, [])
    assert picture.vips[0].holders == ("lb1",)
    assert {part.host: part.role for part in next(view for view in picture.tiers if view.tier.name == "database").parts} == {
        "db1": "primary",
        "db2": "replica, could take over",
        "w1": "witness",
    }
    assert picture.rate is not None
    assert round(picture.rate.per_s) == 120


def test_page_that_just_began_calls_nothing_well_that_it_has_not_heard_of() -> None:
    picture = Stage(TOPOLOGY).picture()
    assert picture.level is Level.OPEN
    assert all(one.level is Level.OPEN for one in picture.sentences)
    assert all(part.level is Level.OPEN for view in picture.tiers for part in view.parts)


def test_dark_host_is_said_once_and_since_when_and_what_is_left(stage: Stage) -> None:
    stage.hosts["web2"] = None
    for _ in range(3):
        picture = stage.hear()
    without = "have 1 of 2 left, without web2 (host does not answer)."
    assert picture.level is Level.WEAK
    assert says(picture) == [
        "Host web2 does not answer since 14:20:08 UTC (no answer within 2 s).",
        f"Tiers web, app and database-router {without} If web1 is lost too, nobody does their work.",
        f"Tiers monitoring and alertmanager {without} If lb1 is lost too, nobody does their work.",
    ]
    view = next(view for view in picture.hosts if view.host.name == "web2")
    assert (view.level, view.age_s) == (Level.BAD, 6.0)


def test_one_answer_that_is_late_is_no_dark_host(stage: Stage) -> None:
    stage.hosts["web2"] = None
    assert stage.hear().level is Level.GOOD
    assert stage.hear().level is Level.GOOD


def test_tier_without_a_healthy_member_is_down(stage: Stage) -> None:
    stage.set("web1", WEB, 0)
    stage.set("web2", WEB, 0)
    picture = stage.hear()
    assert picture.level is Level.BAD
    assert says(picture)[0] == (
        "Tier web is down: none of its 2 instances is known to be healthy: web1 (not healthy), web2 (not healthy)."
    )


def test_what_is_not_measured_is_never_called_healthy(stage: Stage) -> None:
    stage.set("web1", WEB, None)
    picture = stage.hear()
    assert picture.level is Level.WEAK
    assert "without web1 (not measured)" in says(picture)[0]


def test_figures_that_stand_still_are_not_believed_for_ever(stage: Stage) -> None:
    stage.still.add("web1")
    for _ in range(30):
        picture = stage.hear()
    assert "Host web1 answers, but what runs on it is not measured any more." in says(picture)
    web = next(view for view in picture.tiers if view.tier.name == "web")
    assert [(part.host, part.level) for part in web.parts] == [("web1", Level.OPEN), ("web2", Level.GOOD)]


def test_primary_that_was_replaced_is_told_with_what_is_left(stage: Stage) -> None:
    stage.set("db1", PRIMARY, 0)
    stage.set("db1", 'nospof_instance_up{tier="database"}', 0)
    stage.set("db2", PRIMARY, 1)
    stage.set("db2", READY, 0)
    at = stage.now.at + 1
    for host in ("db1", "db2"):
        labels = 'tier="database",term="2",from="db1",to="db2",cause="crashed",loss="none"'
        stage.set(host, f"nospof_database_replaced_at_seconds{{{labels}}}", at)
    picture = stage.hear()
    assert says(picture) == [
        "Tier database has 2 of 3 left, without db1 (not healthy).",
        "In tier database nobody could take over from db2: if it is lost now, writes stop.",
    ]
    (change,) = picture.changes
    assert (change.at, change.origin, change.to) == (at, "db1", "db2")
    assert "db2 took over as primary of database from db1 (its server had ended)" in show.to_html(picture)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"db1": 0}, "Nobody takes writes in tier database."),
        ({"db2": 1}, "In tier database db1 AND db2 say that they take writes: it must be one alone."),
    ],
)
def test_anything_but_one_primary_is_bad(stage: Stage, values: dict[str, float], expected: str) -> None:
    for host, value in values.items():
        stage.set(host, PRIMARY, value)
    picture = stage.hear()
    assert (picture.level, says(picture)[0]) == (Level.BAD, expected)


@pytest.mark.parametrize(("lb1", "lb2", "who"), [(0, 0, "held by nobody"), (1, 1, "held by lb1 AND lb2")])
def test_anything_but_one_holder_of_the_vip_is_bad(stage: Stage, lb1: float, lb2: float, who: str) -> None:
    stage.set("lb1", VIP, lb1)
    stage.set("lb2", VIP, lb2)
    picture = stage.hear()
    assert picture.level is Level.BAD
    assert who in says(picture)[0]


def test_cache_tells_who_takes_writes_and_nothing_of_who_could(stage: Stage) -> None:
    """Its agents keep no record and publish no voters: nothing is concluded from figures that nobody tells."""
    for host in ("db1", "db2", "w1"):
        for figure in ("takes_writes", "fit_for_promotion", "fit_for_reads", "term", "queries_per_second"):
            stage.set(host, f'nospof_database_{figure}{{tier="database"}}', None)
        stage.set(host, 'nospof_takes_writes{tier="database"}', float(host == "db1"))
    for host in ("db2", "w1"):
        stage.set(host, 'nospof_database_lag_seconds{tier="database"}', None)
    picture = stage.hear()
    assert (picture.level, says(picture)) == (Level.GOOD, [])
    tier = next(view for view in picture.tiers if view.tier.name == "database")
    assert [part.role for part in tier.parts] == ["primary", "replica", "witness"]
    stage.set("db1", 'nospof_takes_writes{tier="database"}', 0)
    assert says(stage.hear())[0] == "Nobody takes writes in tier database."


def test_majority_is_said_before_it_is_lost_and_when_it_is(stage: Stage) -> None:
    stage.set("db1", 'nospof_instance_up{tier="etcd"}', 0)
    assert "etcd has 2 of 3 voters left" in says(stage.hear())[0]
    assert "if one more is lost, nobody can take over anything" in says(stage.hear())[0]
    stage.set("db2", 'nospof_instance_up{tier="etcd"}', 0)
    picture = stage.hear()
    assert (picture.level, "no majority" in says(picture)[0]) == (Level.BAD, True)


def test_page_that_hears_nobody_says_so_and_accuses_nobody(stage: Stage) -> None:
    for name in stage.hosts:
        stage.hosts[name] = stage.hosts[name] if name == "lb1" else None
    for _ in range(4):
        picture = stage.hear()
    assert picture.level is Level.OPEN
    assert says(picture) == [
        "This page, on lb1, hears no other host: it may be lb1 that is cut off. The page on lb2 may know more."
    ]
    assert all(view.level >= Level.OPEN for view in picture.tiers)


@pytest.mark.parametrize(
    ("figure", "value", "expected"),
    [
        ("nospof_firewall_in_force", 0.0, "The firewall of web1 is not in force"),
        (
            'nospof_certificate_ends_seconds{tier="ca",path="/etc/nospof/tls/ca.pem"}',
            START.at + 5 * 86_400,
            "A certificate on web1 ends in 5 days",
        ),
    ],
)
def test_what_a_host_says_of_itself_is_said(stage: Stage, figure: str, value: float, expected: str) -> None:
    stage.set("web1", figure, value)
    assert says(stage.hear())[0].startswith(expected)


def test_counter_that_began_anew_is_no_rate(stage: Stage) -> None:
    where = stage.config.counting[0]
    text = f'{where.figure}{{proxy="visitors",code="2xx"}} 3\n'
    stage.board.counted(where, parse(text), Now(stage.now.mono_s + 1, stage.now.at))
    assert (where.tier, where.host) not in stage.board.seen(stage.now).rates


def test_count_that_comes_late_is_a_rate_over_a_longer_while_and_an_old_one_is_none(stage: Stage) -> None:
    where = stage.config.counting[0]
    stage.hosts["lb1"] = None
    stage.hear()
    late = stage.picture()
    assert late.rate is not None, "one answer that is late hides nothing"
    stage.hear(10)
    assert (where.tier, "lb1") not in stage.board.seen(stage.now).rates
    stage.hosts["lb1"] = Stage(TOPOLOGY).hosts["lb1"]
    picture = stage.hear()
    assert picture.rate is not None
    assert round(picture.rate.per_s) == 120


def test_load_balancers_that_all_work_have_a_vip_each_and_one_takes_the_others() -> None:
    both = Stage(with_status("active-active"))
    names = [vip.name for vip in both.config.vips]
    assert len(names) == 2
    for _ in range(4):
        picture = both.hear()
    assert (picture.level, [view.holders for view in picture.vips]) == (Level.GOOD, [("lb1",), ("lb2",)])
    both.hosts["lb2"] = None
    for vip in both.config.vips:
        both.set("lb1", f'nospof_vip_held{{name="{vip.name}",address="{vip.address}"}}', 1)
    for _ in range(3):
        picture = both.hear()
    balancers = next(view for view in picture.tiers if view.tier.name == "load-balancer")
    assert [part.role for part in balancers.parts] == ["holds 2 VIPs", ""]
    assert picture.level is Level.WEAK


# --- what changed ----------------------------------------------------------------------------------------------------------
def events(stage: Stage, before: Picture, times: int = 1) -> list[str]:
    old = changes.standing(before)
    for _ in range(times):
        picture = stage.hear()
    return [event.what for event in changes.events(old, changes.standing(picture), stage.now.at)]


def test_changes_are_told_in_both_directions(stage: Stage) -> None:
    well = stage.picture()
    stage.set("web1", WEB, 0)
    assert events(stage, well) == ["web on web1 is not healthy"]
    ill = stage.picture()
    stage.set("web1", WEB, 1)
    assert events(stage, ill) == ["web on web1 is healthy again"]


def test_host_that_went_silent_is_one_change_and_not_one_for_each_part(stage: Stage) -> None:
    stage.hosts["web2"] = None
    assert events(stage, stage.picture(), times=3) == ["host web2 does not answer any more (no answer within 2 s)"]


def test_vip_that_moved_is_told(stage: Stage) -> None:
    before = stage.picture()
    stage.set("lb1", VIP, 0)
    stage.set("lb2", VIP, 1)
    assert events(stage, before) == ["lb2 holds the VIP of load-balancer"]


# --- how it looks ----------------------------------------------------------------------------------------------------------
class Outline(html.parser.HTMLParser):
    """Which elements are opened and closed, and what tries to load something."""

    VOID = frozenset({"meta", "link", "polyline", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x00'


def hostile() -> Picture:
    """A picture in which everything that comes from elsewhere is an attack."""
    made = Stage(TOPOLOGY)
    hosts = tuple(replace(host, zone=HOSTILE) for host in made.config.hosts)
    tiers = tuple(replace(tier, component=HOSTILE) for tier in made.config.tiers)
    made.config = replace(made.config, stack=HOSTILE, domain=HOSTILE, hosts=hosts, tiers=tiers)
    made.board.events.append(Event(START.at, HOSTILE, HOSTILE))
    made.board.drills = (Drill(START.at, HOSTILE, HOSTILE, HOSTILE),)
    labels = json.dumps(HOSTILE.replace("\x00", ""), ensure_ascii=False)
    made.set(
        "db1", f'nospof_database_replaced_at_seconds{{tier={labels},term="2",from={labels},to={labels},cause={labels}}}', 1.0
    )
    made.hosts["web2"] = None
    made.board.missed("web2", HOSTILE)
    made.hear()
    return made.hear(6)


def test_nothing_that_comes_from_elsewhere_is_markup() -> None:
    page = show.to_html(hostile())
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.tags.count("script") == 1
    assert "img" not in outline.tags
    assert "\u202e" not in page
    json.dumps(show.to_json(hostile()))


def test_page_is_made_of_landmarks_and_loads_nothing_from_elsewhere(stage: Stage) -> None:
    stage.hosts["web2"] = None
    for _ in range(3):
        picture = stage.hear()
    outline = Outline()
    outline.feed(show.to_html(picture))
    assert outline.open == []
    assert {"header", "main", "footer", "h1", "caption"} <= set(outline.tags)
    assert (outline.tags.count("main"), outline.tags.count("h1")) == (1, 1)
    assert all(value.startswith("data:image/svg+xml,") or value == "/status/status.json" for value in outline.loads)


def test_style_and_script_are_those_that_the_policy_allows(stage: Stage) -> None:
    page = show.to_html(stage.hear())
    for kind in ("style", "script"):
        (text,) = [piece.partition(f"</{kind}>")[0] for piece in page.split(f"<{kind}>")[1:]]
        assert f"{kind}-src 'sha256-{show._hash(text)}'" in show.POLICY


def luminance(colour: str) -> float:
    full = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(full[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(scheme: int) -> None:
    """WCAG 2.1 AA: 4.5 to 1."""
    block = STYLE.split(":root{")[scheme + 1].partition("}")[0].replace("\n", "")
    colours = dict(pair.split(":") for pair in block.split(";") if pair.startswith("--"))
    boxes = ("--paper", "--soft", "--badbox", "--weakbox", "--openbox", "--goodbox")
    pairs = [(words, box) for words in ("--text", "--muted") for box in boxes]
    pairs += [(f"--{name}", box) for name in ("bad", "weak", "open", "good") for box in (f"--{name}box", "--paper", "--soft")]
    for words, box in [*pairs, ("--link", "--paper")]:
        light, dark = sorted((luminance(colours[words]), luminance(colours[box])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (words, box)


def test_json_says_the_same_as_the_page(stage: Stage) -> None:
    stage.hosts["web2"] = None
    for _ in range(3):
        picture = stage.hear()
    document = json.loads(json.dumps(show.to_json(picture)))
    assert document["level"] == "weak"
    assert document["hosts"]["web2"] == {
        "zone": "b",
        "address": "198.18.1.5",
        "level": "bad",
        "says": "does not answer since 14:20:08 UTC",
        "age_s": 6.0,
    }
    assert document["tiers"]["database"]["members"]["db1"] == {"level": "good", "role": "primary", "says": None}
    assert [one["says"] for one in document["sentences"]] == says(picture)


# --- figures ---------------------------------------------------------------------------------------------------------------
def test_figures_are_read_as_hosts_tell_them() -> None:
    text = '# HELP a b\na 1\nb{x="1",y="a\\"b\\\\c\\n}"} 2.5e3 1795962000000\n\nc{} +Inf\n'
    figures = parse(text)
    assert (figures.one("a"), figures.one("b", x="1"), figures.one("c")) == (1.0, 2500.0, float("inf"))
    assert next(figures.all("b")).labels["y"] == 'a"b\\c\n}'
    assert figures.one("b", x="2") is None


@pytest.mark.parametrize("text", ["<html>", "a", "a b", "a{x=1} 1", 'a{x="1} 1', 'a{x="1"} 1_0', 'a{,"} 1'])
def test_what_is_no_figure_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|are no|could not"):
        parse(text)


# --- who may see it --------------------------------------------------------------------------------------------------------
@pytest.fixture
def page(tmp_path: Path) -> program.Page:
    return program.Page(config_in(tmp_path))


def config_in(folder: Path) -> Config:
    (folder / "password").write_text("Secret123\n")
    return replace(
        Stage(TOPOLOGY).config,
        password_file=str(folder / "password"),
        state_file=str(folder / "events.json"),
        drills_file=str(folder / "drills.jsonl"),
    )


def answer(page: program.Page, target: str, *headers: str, method: str = "GET") -> program.Answer:
    head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: shop.example.com", *headers, "", ""])
    return page.answer(program.parse_request(head.encode()))


def known(password: str = "Secret123", user: str = "nospof") -> str:
    return f"Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize("target", ["/status/", "/status/status.json", "/status", "/status/other", "/"])
@pytest.mark.parametrize(
    "header",
    ["X-Nothing: 1", known("Secret12"), known("Secret1234"), known(""), known(user="root"), "Authorization: Basic ???"],
)
def test_nothing_is_shown_without_the_password(page: program.Page, target: str, header: str) -> None:
    found = answer(page, target, header)
    assert found.status == 401
    assert "lb1" not in found.text
    assert dict(found.more)["WWW-Authenticate"].startswith('Basic realm="shop status"')


def test_with_the_password_there_is_the_page_and_its_json(page: program.Page) -> None:
    assert answer(page, "/status/", known()).text.startswith("<!DOCTYPE html>")
    assert json.loads(answer(page, "/status/status.json", known()).text)["stack"] == "shop"
    assert answer(page, "/status", known()).status == 308
    assert answer(page, "/status/other", known()).status == 404


def test_while_the_password_changes_both_are_taken(page: program.Page) -> None:
    Path(page.config.password_file).write_text("Another456 Secret123\n")
    page.read_password()
    for password, status in (("Another456", 200), ("Secret123", 200), ("Another456 Secret123", 401), ("", 401)):
        assert answer(page, "/status/", known(password)).status == status


def test_empty_password_lets_nobody_in(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    (tmp_path / "password").write_text("\n")
    assert answer(program.Page(config), "/status/", known("")).status == 401


def test_password_is_not_taken_over_a_way_that_can_be_read(page: program.Page) -> None:
    found = answer(page, "/status/", "X-Forwarded-Proto: http", known())
    assert (found.status, "HTTPS" in found.text, found.more) == (403, True, ())


def test_health_needs_no_password_and_tells_nothing(page: program.Page) -> None:
    assert answer(page, "/status/health") == program.Answer(200, "well\n")


def test_nothing_can_be_changed(page: program.Page) -> None:
    assert {answer(page, "/status/", known(), method=method).status for method in ("POST", "PUT", "DELETE")} == {405}


def test_head_has_no_body_and_every_answer_forbids_to_be_kept(page: program.Page) -> None:
    request = program.parse_request(b"HEAD /status/health HTTP/1.1\r\n\r\n")
    head, _, body = program.response(page.answer(request), request).partition(b"\r\n\r\n")
    assert (body, b"Content-Length: 5" in head, b"Cache-Control: no-store" in head) == (b"", True, True)


@pytest.mark.parametrize("head", [b"\r\n\r\n", b"GET\r\n\r\n", b"GET x HTTP/1.1\r\n\r\n", b"GET / SPDY/1\r\n\r\n"])
def test_nonsense_is_no_request(head: bytes) -> None:
    with pytest.raises(ValueError, match="no request"):
        program.parse_request(head)


# --- asking ----------------------------------------------------------------------------------------------------------------
async def tells(text: str) -> tuple[asyncio.Server, int]:
    """A host that tells these figures."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{text}".encode())
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1")
    return server, server.sockets[0].getsockname()[1]


async def says_nothing() -> tuple[asyncio.Server, int]:
    """A host that accepts and never answers: one that hangs."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1")
    return server, server.sockets[0].getsockname()[1]


def test_host_that_hangs_delays_neither_the_others_nor_the_page(tmp_path: Path) -> None:
    async def tried() -> None:
        good, good_port = await tells('nospof_instance_up{tier="web"} 1\n')
        mute, mute_port = await says_nothing()
        refusing, closed_port = await tells("")
        refusing.close()
        await refusing.wait_closed()
        ports = {"web1": good_port, "web2": mute_port, "w1": closed_port}
        config = config_in(tmp_path)
        hosts = tuple(Host(name, "a", "127.0.0.1", f"http://127.0.0.1:{port}/metrics") for name, port in ports.items())
        page = program.Page(replace(config, hosts=hosts, tiers=(), vips=(), counting=(), every_s=0.2))
        looking = asyncio.create_task(page.look())
        end = time.monotonic() + 30
        while time.monotonic() < end:
            await asyncio.sleep(0.05)
            seen = page.board.seen(program.now()).hosts
            if seen["web1"].answered and seen["web2"].why and seen["w1"].why:
                break
        begun_s = time.monotonic()
        assert answer(page, "/status/", known()).status == 200
        assert time.monotonic() - begun_s < 1
        looking.cancel()
        good.close()
        mute.close()
        assert seen["web1"].figures.one("nospof_instance_up", tier="web") == 1
        assert (seen["web2"].why, seen["web2"].answered) == ("no answer within 2 s", None)
        assert seen["w1"].why == "its figures' port is closed"

    asyncio.run(tried())


def test_looking_ends_when_it_is_told_to_just_as_an_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Incident: with Python 3.11 the end was lost in wait_for() in this moment, and looking went on for ever."""

    async def at_once(url: str) -> str:
        await asyncio.sleep(0)
        return ""

    async def tried() -> None:
        for steps in range(2, 12):
            asking = asyncio.create_task(forever())
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait({asking}, timeout=5)
            assert asking.cancelled(), f"after {steps} steps"

    async def forever() -> None:
        for _ in range(10_000):
            with contextlib.suppress(ValueError):
                await program._figures("http://127.0.0.1:1/metrics")

    monkeypatch.setattr(program, "fetch", at_once)
    asyncio.run(tried())


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n4;x=y\r\nb 2\n\r\n0\r\n\r\n"


def test_answer_is_read_whole_however_it_is_sent() -> None:
    """Incident: nobody knew how much visitors asked, since HAProxy sends its figures in chunks, also to HTTP/1.0."""
    assert program.body_of(CHUNKED) == "a 1\nb 2\n"
    assert program.body_of(b"HTTP/1.0 200 OK\r\n\r\na 1\n") == "a 1\n"


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED[:-20],
        CHUNKED.replace(b"4\r\na", b"-4\r\na"),
        b"",
        b"HTTP/1.1 503 Service Unavailable\r\n\r\na 1\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na 1\n",
    ],
)
def test_answer_that_is_cut_off_or_no_good_is_none(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|answers|invalid literal"):
        program.body_of(answer)


# --- what is kept ----------------------------------------------------------------------------------------------------------
def test_events_outlive_the_process(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    first = program.Page(config)
    first.board.events.append(Event(5.0, "weak", "host web2 does not answer any more"))
    first.save()
    assert list(program.Page(config).board.events) == [Event(5.0, "weak", "host web2 does not answer any more")]


def test_file_of_events_that_is_damaged_keeps_nobody_from_looking(tmp_path: Path) -> None:
    (tmp_path / "events.json").write_text('[{"at": "x"')
    assert list(program.Page(config_in(tmp_path)).board.events) == []


def test_drills_are_read_the_newest_first_and_broken_lines_are_left_out() -> None:
    lines = [json.dumps({"at": at, "level": "good", "name": f"drill {at}", "says": "passed"}) for at in (1, 3, 2)]
    assert [drill.name for drill in program.read_drills("\n".join([*lines, "{", "[]", '{"at": 9}']))] == [
        "drill 3",
        "drill 2",
        "drill 1",
    ]


def test_configuration_is_read_as_the_component_writes_it() -> None:
    config = Stage(TOPOLOGY).config
    assert [tier.name for tier in config.tiers if not tier.is_implied] == [
        "load-balancer",
        "status",
        "web",
        "app",
        "database",
        "monitoring",
    ]
    assert {host.ask for host in config.hosts} == {
        f"http://{host.address}:9100/metrics?collect[]=textfile" for host in TOPOLOGY.hosts
    }
    with pytest.raises(TypeError):
        config_of({"hosts": [], "tiers": [], "vips": [], "counting": [], "pages": [], "other": 1})
