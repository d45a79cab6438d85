"""The GET load says what really happened, whatever a server does; and its history is read without flattery."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nospof.drills.workloads.http_get import History, Load, Outcome, Request, read_history, running, send

NAME = "shop.example.com"


def good(intended: float, took_s: float = 0.01, server: str = "web1") -> Request:
    return Request(intended, intended + took_s, Outcome.OK, intended, 200, servers={"app": server})


def bad(intended: float, took_s: float = 0.01, outcome: Outcome = Outcome.UNKNOWN) -> Request:
    return Request(intended, intended + took_s, outcome, intended, why="no answer")


# --- reading ---------------------------------------------------------------------------------------------------------
def test_requests_begun_from_the_moment_of_the_fault_count_as_begun_after_it() -> None:
    history = History.of([bad(3.0), good(2.0), bad(1.9)])
    assert [request.intended for request in history.between(2.0).requests] == [2.0, 3.0]
    assert [request.intended for request in history.between(2.0).bad] == [3.0]
    assert [request.intended for request in history.between(0, 2.0).requests] == [1.9]


def test_requests_in_flight_are_those_begun_and_not_ended() -> None:
    history = History.of([good(1.0, 0.5), good(1.4, 0.5), bad(1.45, 3.0), good(1.6)])
    in_flight = history.in_flight(1.5)
    assert [request.intended for request in in_flight.requests] == [1.4, 1.45]
    assert in_flight.longest_wait_s(1.5) == pytest.approx(2.95)
    assert len(in_flight.bad) == 1


def test_failed_and_unknown_are_both_bad() -> None:
    history = History.of([good(1), bad(2, outcome=Outcome.FAILED), bad(3, outcome=Outcome.UNKNOWN)])
    assert len(history.bad) == 2
    assert history.reasons() == {"no answer": 2}


def test_gap_is_between_the_ends_of_good_answers() -> None:
    history = History.of([good(1.0), good(1.1), bad(1.2), good(1.3, 0.7), good(1.9)])
    gap = history.longest_gap()
    assert gap.began == pytest.approx(1.11)
    assert gap.length_s == pytest.approx(0.8)


def test_address_that_nobody_holds_is_not_hidden_by_one_that_answers() -> None:
    history = History.of(
        [replace(good(1 + n / 10), address="198.18.0.1") for n in range(0, 20, 2)]
        + [replace((good if n in (1, 19) else bad)(1 + n / 10), address="198.18.0.2") for n in range(1, 20, 2)]
    )

    assert history.longest_gap().length_s == pytest.approx(1.8)
    assert history.reasons() == {"no answer at 198.18.0.2": 8}
    assert [len(one.requests) for one in history.by_address().values()] == [10, 10]


def test_gap_that_was_over_before_the_fault_is_not_its_doing() -> None:
    history = History.of([good(1.0), good(3.0), good(3.5), good(3.6)])
    assert history.longest_gap(3.2).length_s == pytest.approx(0.5)


def test_site_that_never_comes_back_has_a_gap_to_the_end_of_the_load() -> None:
    history = History.of([good(1.0), bad(2.0), bad(5.0, 10.0)])
    assert history.longest_gap().length_s == pytest.approx(3.99)


def test_request_that_hangs_on_when_the_load_is_over_is_no_gap() -> None:
    # A frozen load balancer seemed to be away for 5 s instead of 3: its victims hung on for so long after the load's end.
    history = History.of([good(1.0), bad(1.1, 10.0), good(3.0), good(4.0)])
    assert history.longest_gap().length_s == pytest.approx(2.0)


def test_site_that_never_answered_has_a_gap_from_begin_to_end() -> None:
    assert History.of([bad(1.0), bad(2.0), bad(4.0)]).longest_gap().length_s == pytest.approx(3.0)


def test_latency_of_what_had_no_good_answer_is_infinite() -> None:
    history = History.of([good(1, 0.1), good(2, 0.2), good(3, 0.3), bad(4, 0.001)])
    assert history.latency_s(0.5) == pytest.approx(0.2)
    assert history.latency_s(0.75) == pytest.approx(0.3)
    assert history.latency_s(0.99) == math.inf


def test_p99_of_a_hundred_is_the_last_but_one() -> None:
    history = History.of([good(number, number / 100) for number in range(1, 101)])
    assert history.latency_s(0.99) == pytest.approx(0.99)
    assert history.latency_s(1) == pytest.approx(1.0)


def test_only_good_answers_count_for_their_server() -> None:
    refused = Request(3, 3.1, Outcome.FAILED, 3, 503, servers={"app": "web2"})
    assert History.of([good(1), good(2, server="web2"), refused]).servers("app") == {"web1": 1, "web2": 1}


def test_empty_history_has_no_figures_and_no_gap() -> None:
    assert History.of([]).longest_gap().length_s == 0
    assert math.isnan(History.of([]).latency_s(0.5))
    assert History.of([]).longest_wait_s(3.0) == 0


def test_request_that_was_due_and_is_not_in_the_file_counts_as_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "history"
    line = {"index": 0, "intended": 5.0, "ended": 5.1, "outcome": "ok", "sent": 5.0, "status": 200, "why": "", "servers": {}}
    end = {"intended_count": 2, "at": 9.0, "most_late_s": 0.2}
    file.write_text("".join(json.dumps(part) + "\n" for part in ({"first": 5.0, "interval_s": 0.5}, line, end)))
    history = read_history(file)
    assert [request.outcome for request in history.requests] == [Outcome.OK, Outcome.FAILED]
    assert history.bad[0].intended == 5.5
    assert history.bad[0].why == "not sent"
    assert history.most_late_s == 0.2


@pytest.mark.parametrize(
    "text", ["", '{"first": 5.0, "interval_s": 0.5}\n', '{"first": 5.0, "interval_s": 0.5}\n{"intended_co']
)
def test_load_that_did_not_come_to_its_end_is_no_history(tmp_path: Path, text: str) -> None:
    file = tmp_path / "history"
    file.write_text(text)
    with pytest.raises(ValueError, match="did not come to its end"):
        read_history(file)


# --- the load against servers ----------------------------------------------------------------------------------------
class Answers(BaseHTTPRequestHandler):
    """/SECONDS waits, /503 refuses, /half breaks off, /quits ends each second request of a connection without an answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.count = getattr(self, "count", 0) + 1
        if self.path == "/quits" and self.count == 2:
            self.close_connection = True
            return
        if self.path.startswith("/wait"):
            time.sleep(float(self.path.removeprefix("/wait")))
        self.send_response(503 if self.path == "/503" else 200)
        self.send_header("X-App-Server", "web1")
        body = b"<b>database</b> <i>db1</i>"
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"6\r\n<b>dat\r\n14;x=y\r\n" + body[6:26] + b"\r\n0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(body) + (self.path == "/half")))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.close_connection or self.path == "/half"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as listening:
        yield listening


def history_of(load: Load, folder: Path) -> History:
    """Run the load to its end, in this very process: starting one takes longer than all that is asked here."""
    file = folder / "history"
    with file.open("w") as stream:
        asyncio.run(send(load, stream))
    return read_history(file)


def load(port: int, path: str, **changes: Any) -> Load:
    few = Load(("127.0.0.1",), NAME, ca_file=None, port=port, path=path, rate=50.0, seconds=0.2)
    return replace(few, **changes)


@pytest.mark.parametrize("path", ["/", "/chunked"])
def test_whole_answer_is_good_and_names_its_servers(port: int, tmp_path: Path, path: str) -> None:
    history = history_of(load(port, path, servers_in_body="<b>([a-z]+)</b> <i>([a-z0-9]+)</i>"), tmp_path)
    assert len(history.requests) == 10
    assert not history.bad
    assert all(request.servers == {"app": "web1", "database": "db1"} for request in history.requests)
    first = history.requests[0]
    assert first.sent is not None
    assert first.intended <= first.sent <= first.ended
    assert first.answered == first.ended


@pytest.mark.parametrize("connections", [0, 2])
def test_each_address_is_asked_in_turn(port: int, tmp_path: Path, connections: int) -> None:
    """One of two that refuses is seen, and costs the other nothing."""
    history = history_of(load(port, "/", addresses=("127.0.0.1", "127.0.0.2"), connections=connections), tmp_path)

    assert {address: len(one.bad) for address, one in history.by_address().items()} == {"127.0.0.1": 0, "127.0.0.2": 5}
    assert len(history.requests) == 10


def test_times_are_those_of_the_machines_monotonic_clock(port: int, tmp_path: Path) -> None:
    before = time.monotonic()
    history = history_of(load(port, "/"), tmp_path)
    assert before < history.requests[0].intended < history.requests[-1].ended < time.monotonic()
    intervals = {round(b.intended - a.intended, 6) for a, b in zip(history.requests, history.requests[1:], strict=False)}
    assert intervals == {0.02}


def test_answer_503_is_failed_and_keeps_its_status(port: int, tmp_path: Path) -> None:
    history = history_of(load(port, "/503"), tmp_path)
    assert {(request.outcome, request.status, request.why) for request in history.requests} == {
        (Outcome.FAILED, 503, "status 503")
    }
    assert history.requests[0].answered is not None


def test_refused_connection_is_failed_for_it_was_not_sent(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        history = history_of(load(unused.getsockname()[1], "/"), tmp_path)
    assert {(request.outcome, request.sent) for request in history.requests} == {(Outcome.FAILED, None)}
    assert history.reasons() == {"no connection: ConnectionRefusedError": 10}


def test_request_without_an_answer_in_time_is_unknown(port: int, tmp_path: Path) -> None:
    history = history_of(load(port, "/wait5", timeout_s=0.3), tmp_path)
    assert {(request.outcome, request.status, request.answered) for request in history.requests} == {
        (Outcome.UNKNOWN, None, None)
    }
    assert history.reasons() == {"no answer: TimeoutError": 10}


def test_half_an_answer_is_unknown(port: int, tmp_path: Path) -> None:
    history = history_of(load(port, "/half"), tmp_path)
    assert history.reasons() == {"half an answer: IncompleteReadError": 10}
    assert {request.outcome for request in history.requests} == {Outcome.UNKNOWN}


def test_slow_answers_do_not_slow_the_load(port: int, tmp_path: Path) -> None:
    history = history_of(load(port, "/wait0.5"), tmp_path)
    begun = [request.intended for request in history.requests]
    assert len(begun) == 10
    # All were under way before the first was answered: open loop.
    assert history.in_flight(begun[-1] + 0.001).requests == history.requests
    assert history.latency_s(0.5) >= 0.5


def test_kept_connections_are_used_again(port: int, tmp_path: Path) -> None:
    # A connection that is used a second time is at its end: so many are bad as are reused.
    history = history_of(load(port, "/quits", connections=2), tmp_path)
    assert history.reasons() == {"no answer: IncompleteReadError": len(history.bad)}
    assert 0 < len(history.bad) < len(history.requests)


def test_client_that_sends_again_like_a_browser_fails_nothing_when_a_kept_connection_ends(port: int, tmp_path: Path) -> None:
    assert not history_of(load(port, "/quits", connections=2, sends_again=True), tmp_path).bad


def test_load_ends_when_told_and_returns_what_was_begun(port: int, tmp_path: Path) -> None:
    with running(load(port, "/", seconds=60.0), tmp_path / "history") as run:
        history = run.finish()
    assert 0 < len(history.requests) < 1000
    assert not history.bad


def test_load_that_was_killed_is_no_history(port: int, tmp_path: Path) -> None:
    with running(load(port, "/", seconds=60.0), tmp_path / "history") as run:
        run.process.kill()
        with pytest.raises(ValueError, match="did not come to its end"):
            run.finish()


# --- TLS -------------------------------------------------------------------------------------------------------------
def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the files of a certificate for `name`, signed by itself, and of its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    signed = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False).sign(key, hashes.SHA256())
    crt, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    crt.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return crt, key_file


@pytest.mark.parametrize(("name", "is_right"), [(NAME, True), ("other.example.com", False)])
def test_server_must_prove_the_name_that_is_asked_for(tmp_path: Path, name: str, is_right: bool) -> None:
    crt, key = certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    with serving(context) as port:
        history = history_of(load(port, "/", ca_file=crt), tmp_path)
    assert len(history.bad) == (0 if is_right else 10)
    assert is_right or history.reasons() == {"no connection: SSLCertVerificationError": 10}


def test_server_that_asks_who_calls_is_shown_a_certificate(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path, NAME)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    context.load_verify_locations(crt)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(context) as port:
        shown = history_of(load(port, "/", ca_file=crt, certificate=crt, key=key), tmp_path)
        none = history_of(load(port, "/", ca_file=crt), tmp_path)
    assert shown.bad == ()
    assert len(none.bad) == 10


def test_name_that_is_proven_may_be_another_than_the_one_asked_for(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path, "web1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    with serving(context) as port:
        assert history_of(load(port, "/", ca_file=crt, tls_name="web1"), tmp_path).bad == ()


def test_load_in_a_process_of_its_own_is_told_all_that_it_needs(tmp_path: Path) -> None:
    asked = load(1, "/", ca_file=tmp_path / "ca", certificate=tmp_path / "c", key=tmp_path / "k", tls_name="web1")

    argv = asked.argv(tmp_path / "history")

    assert {f"--certificate={tmp_path}/c", f"--key={tmp_path}/k", "--tls-name=web1"} <= set(argv)
    assert not any("--certificate" in word or "--tls-name" in word for word in load(1, "/").argv(tmp_path / "history"))
