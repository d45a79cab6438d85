"""What people are told, by whom, and that it arrives: at real small servers for HTTP and mail on the loopback."""

from __future__ import annotations

import json
import logging
import queue
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nospof.onhost.agent.hooks import Event, Hooks, Kind, Notify, Site, events, two_histories
from nospof.onhost.agent.model import BEGINNING, Cause, Cluster, Election, Member, Mode, Promotion, Rules, Sync

RULES = Rules((Member("db1"), Member("db2"), Member("w1", is_witness=True)))
WELL = Cluster(7, 3, "db1", Sync.OK, {"db2": "x/1", "w1": "y/1"})
VAIN = Election("db2", Cause.SILENT, "nothing heard of db1 for 1.0 s")
LIMIT_S = 20.0


def told(before: Cluster | None, rules: Rules = RULES, **changes: object) -> list[tuple[Kind, str]]:
    after = replace(before or WELL, revision=8, **changes)  # type: ignore[arg-type]
    return [(event.kind, event.text) for event in events(before, after, rules)]


# --- what is told --------------------------------------------------------------------------------------------------------
def test_failover_is_told_with_its_reason_and_what_is_left() -> None:
    last = Promotion("db1", BEGINNING, Cause.CRASHED, "the server on db1 ended")
    assert told(WELL, term=4, primary="db2", voters={"w1": "y/1"}, last=last) == [
        (
            Kind.FAILOVER,
            "db2 is primary now, before it was db1: the server on db1 ended. No acknowledged write was lost",
        ),
        (
            Kind.REDUNDANCY_LOST,
            "the writes of db2 are acknowledged by w1 only: the next loss may stop writing",
        ),
    ]


def test_handover_loses_nothing_and_says_so() -> None:
    last = Promotion("db1", BEGINNING, Cause.HANDOVER, "handed over by db1")
    assert told(WELL, term=4, primary="db2", voters={"db1": "z/1", "w1": "y/1"}, last=last) == [
        (Kind.HANDOVER, "db2 is primary now, before it was db1: handed over as planned, no write was lost")
    ]


def test_accepted_loss_is_never_told_as_lossless() -> None:
    last = Promotion("db1", BEGINNING, Cause.ACCEPTED_LOSS, "ann@desk accepted the loss")
    (kind, text), *_ = told(WELL, term=4, primary="db2", voters={}, sync=Sync.DEGRADED, is_new=True, last=last)
    assert kind is Kind.LOSS_ACCEPTED
    assert text == "db2 is primary now, before it was db1: ann@desk accepted the loss, so writes may be lost"


@pytest.mark.parametrize(
    ("mode", "does"), [(Mode.AVAILABLE, "takes writes alone"), (Mode.LOSSLESS, "takes no writes until a copy is back")]
)
def test_primary_without_copies_says_what_it_does_in_its_mode(mode: Mode, does: str) -> None:
    found = told(WELL, replace(RULES, mode=mode), sync=Sync.DEGRADED, voters={})
    assert found == [(Kind.DEGRADED, f"no copy acknowledges the writes of db1 any more: it {does}")]


def test_redundancy_is_restored_only_when_every_voter_there_can_be_is_back() -> None:
    alone = replace(WELL, sync=Sync.DEGRADED, voters={})
    assert told(alone, sync=Sync.JOINING, voters={"db2": "x/2"}) == []
    joining = replace(WELL, sync=Sync.JOINING, voters={"db2": "x/2"})
    assert told(joining, sync=Sync.OK) == []
    one = replace(WELL, voters={"db2": "x/2"})
    assert told(one, voters={"db2": "x/2", "w1": "y/1"}) == [
        (Kind.REDUNDANCY_RESTORED, "each write of db1 is acknowledged by db2 and w1: redundancy is restored")
    ]


def test_other_lines_a_person_understands() -> None:
    assert told(WELL, term=4) == [
        (Kind.RESTARTED, "db1 is primary again after its server ended; no other host took over"),
    ]
    assert told(replace(WELL, election=VAIN), election=None) == [
        (
            Kind.IN_VAIN,
            "db1 was to be replaced (nothing heard of db1 for 1.0 s), and nobody took over; look at nospof status",
        ),
    ]
    paused = replace(WELL, paused_until=1_800_000_000.0, paused_by="ann@desk")
    assert told(WELL, paused_until=1_800_000_000.0, paused_by="ann@desk") == [
        (Kind.PAUSED, "nobody takes over by itself until 2027-01-15 08:00:00 UTC: paused by ann@desk"),
    ]
    assert told(paused, paused_until=0.0) == [
        (Kind.RESUMED, "the pause is ended: a lost primary is replaced by itself again"),
    ]
    assert "db2 and w1" in two_histories(WELL).text


def test_nothing_is_told_of_what_was_before_or_is_the_same() -> None:
    assert told(None) == []
    assert told(WELL) == []
    assert told(replace(WELL, primary="", term=0), term=1, primary="db1") == []
    assert list(events(replace(WELL, revision=8), replace(WELL, term=4), RULES)) == []


# --- who tells -----------------------------------------------------------------------------------------------------------
class Listening(Hooks):
    """Keeps what it would tell."""

    def __init__(self, host: str) -> None:
        super().__init__(Notify(), Site("shop", "database", host))
        self.told: list[Kind] = []

    def tell(self, event: Event, cluster: Cluster) -> None:
        self.told.append(event.kind)


def tellers(before: Cluster, after: Cluster, rule: str = "") -> list[str]:
    """Who tells something, once for each event."""
    hosts = {host: Listening(host) for host in ("db1", "db2", "w1")}
    for hooks in hosts.values():
        hooks.see(before, after, RULES, rule)
    return [host for host, hooks in hosts.items() for _ in hooks.told]


def test_one_host_tells_and_it_is_the_new_primary() -> None:
    assert tellers(WELL, replace(WELL, revision=8, term=4, primary="db2", voters=WELL.voters)) == ["db2"]


def test_whoever_opened_an_election_in_vain_tells_since_the_primary_may_be_gone() -> None:
    assert tellers(replace(WELL, election=VAIN), replace(WELL, revision=8)) == ["db2"]
    assert tellers(WELL, replace(WELL, revision=8, election=VAIN), "stops_at_two_histories") == ["db2"]


def test_election_in_vain_that_is_opened_every_two_seconds_is_told_once() -> None:
    hooks = Listening("db2")
    for revision in range(10, 20, 2):
        opened = replace(WELL, revision=revision, election=VAIN)
        hooks.see(None, opened, RULES)
        hooks.see(opened, replace(WELL, revision=revision + 1), RULES)
    assert hooks.told == [Kind.IN_VAIN]


# --- that it arrives -----------------------------------------------------------------------------------------------------
class Web:
    """A receiver of webhooks that refuses the first `refuses`."""

    def __init__(self, refuses: int) -> None:
        self.got: queue.Queue[dict[str, object]] = queue.Queue()
        web, left = self, [refuses]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_refused = left[0] > 0
                left[0] -= 1
                self.send_response(503 if is_refused else 204)
                self.end_headers()
                if not is_refused:
                    web.got.put({"path": self.path, "type": self.headers["Content-Type"], **json.loads(body)})

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?key=s3cret"


class Relay:
    """A mail server that takes everything."""

    def __init__(self) -> None:
        self.got: queue.Queue[str] = queue.Queue()
        relay = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 relay\r\n")
                for line in self.rfile:
                    verb = line.split()[0].upper() if line.split() else b""
                    if verb == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        mail = []
                        while (part := self.rfile.readline()) != b".\r\n":
                            mail.append(part.decode())
                        relay.got.put("".join(mail).replace("\r\n", "\n"))
                    self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = self.server.server_address[1]


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


SITE = Site("shop", "database", "db2")
FAILED_OVER = Event(Kind.FAILOVER, "db2 is primary now")
AFTER = replace(WELL, revision=8, term=4, primary="db2")


def test_webhook_gets_a_document_after_it_refused_twice(stop: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    web = Web(refuses=2)
    hooks = Hooks(Notify.read({"webhook": web.url, "mail": None, "smtp": None}), SITE, again_after_s=(0.01, 0.01, 0.01))
    with caplog.at_level(logging.DEBUG):
        hooks.start(stop)
        hooks.tell(FAILED_OVER, AFTER)
        got = web.got.get(timeout=LIMIT_S)
    assert got.pop("at")
    assert got == {
        "path": "/hook?key=s3cret",
        "type": "application/json",
        "event": "failover",
        "text": "db2 is primary now",
        "stack": "shop",
        "tier": "database",
        "told_by": "db2",
        "primary": "db2",
        "term": 4,
        "sync": "ok",
        "voters": ["db2", "w1"],
    }
    assert "webhook: not taken: HTTP 503" in caplog.text
    assert "s3cret" not in caplog.text
    web.server.shutdown()


def test_mail_arrives_though_the_webhook_is_dead(stop: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    relay, dead = Relay(), Web(refuses=0)
    dead.server.shutdown()
    dead.server.server_close()
    told = {"webhook": dead.url, "mail": "ops@shop.example", "smtp": f"127.0.0.1:{relay.port}"}
    hooks = Hooks(Notify.read(told), SITE, again_after_s=(30.0,))
    with caplog.at_level(logging.DEBUG):
        hooks.start(stop)
        hooks.tell(FAILED_OVER, AFTER)
        mail = relay.got.get(timeout=LIMIT_S)
    assert "Subject: [shop/database] failover: primary is db2\n" in mail
    assert "To: ops@shop.example\n" in mail
    assert "\n\ndb2 is primary now\n" in mail
    assert "s3cret" not in caplog.text
    relay.server.shutdown()


def test_full_queue_holds_nobody_up() -> None:
    hooks = Hooks(Notify(webhook="http://127.0.0.1:9/"), SITE)  # never started: nothing leaves the queue
    for _ in range(300):
        hooks.tell(FAILED_OVER, AFTER)


@pytest.mark.parametrize("webhook", ["file:///etc/passwd", "ftp://x/", "shop.example/hook"])
def test_only_http_is_posted_to(webhook: str) -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        Notify.read({"webhook": webhook, "mail": None, "smtp": None})
