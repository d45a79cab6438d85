"""What people are told: one mail for all of a moment, by one of those that watch, and kept until it was taken."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from nospof.onhost import nagios_mail as mail
from nospof.onhost.nagios_mail import Notice, Told

AT = 1_800_000_000.0
WEB = Notice(AT, "PROBLEM", "stack.shop", "tier web", "WARNING", "tier web has 1 of 2 healthy, without web2")
DARK = Notice(AT + 1, "PROBLEM", "web2", "", "DOWN", "web2 does not answer: timed out")
OVER = Notice(AT + 2, "RECOVERY", "stack.shop", "tier web", "OK", "all 2 are healthy")


# --- when ------------------------------------------------------------------------------------------------------------
def test_what_is_new_waits_for_what_comes_with_it() -> None:
    assert mail.due([WEB, DARK], is_anothers=False, now=AT + 4.9) == (False, [])
    assert mail.due([WEB, DARK], is_anothers=False, now=AT + 5) == (True, [])
    assert mail.due([], is_anothers=False, now=AT) == (False, [])


def test_what_another_tells_is_forgotten_only_when_it_surely_has() -> None:
    """The other may die before it has told: then this one still has it."""
    assert mail.due([WEB], is_anothers=True, now=AT + 39) == (False, [])
    assert mail.due([WEB], is_anothers=False, now=AT + 39) == (True, [])
    assert mail.due([WEB, DARK], is_anothers=True, now=AT + 40.5) == (False, [WEB])


def test_notices_are_kept_until_they_are_taken_or_nobody_needs_them(tmp_path: Path) -> None:
    folder = tmp_path / "notices"
    for notice in (DARK, WEB):
        mail.keep(folder, notice)
    (folder / "broken.json").write_text("{")
    assert list(mail.kept(folder, AT + 10).values()) == [WEB, DARK]
    assert not (folder / "broken.json").exists()
    assert list(mail.kept(folder, AT + 86_400.5).values()) == [DARK]
    assert list(mail.kept(folder, AT + 86_402).values()) == []
    assert list(folder.iterdir()) == []


# --- what ------------------------------------------------------------------------------------------------------------
def test_subject_says_the_worst_first_and_how_many_there_are() -> None:
    assert mail.subject("shop", [WEB]) == "[shop] tier web has 1 of 2 healthy, without web2"
    assert mail.subject("shop", [WEB, DARK, OVER]) == "[shop] 2 alerts: web2 does not answer: timed out"
    assert mail.subject("shop", [OVER]) == "[shop] over: all 2 are healthy"


def test_mail_says_what_it_means_and_what_to_do() -> None:
    text = mail.text("shop", [WEB, DARK, OVER])
    assert text.index("CRITICAL: web2 does not answer") < text.index("tier web has 1 of 2") < text.index("over: all 2")
    assert "since 2027-01-15 08:00:00 UTC (stack.shop: tier web)" in text
    assert text.count("What it means: ") == text.count("What to do: ") == 2
    assert text.endswith("Stack shop. How it is now: nospof status\n")


def test_there_is_a_text_for_everything_that_is_told() -> None:
    for means, do in mail.TEXTS.values():
        assert means.endswith(".")
        assert do.endswith((".", "?"))


# --- sending ---------------------------------------------------------------------------------------------------------
@contextmanager
def receiver(status: int) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A web server that answers with `status`; its URL, and what it got."""
    taken: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret-path", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_urls_get_one_document_of_all() -> None:
    with receiver(200) as (url, taken):
        assert mail.send(Told(webhooks=[url]), "shop", [WEB, DARK]) == []
        assert mail.beat(Told(heartbeats=[url])) == []
    assert [alert["says"] for alert in taken[0]["alerts"]] == [WEB.says, DARK.says]  # type: ignore[attr-defined]
    assert taken[1] == {}


def test_what_was_not_taken_is_said_without_the_address() -> None:
    with receiver(500) as (url, _):
        told = Told(emails=["a@example.com"], smtp="127.0.0.1:1", sender="nospof@example.com", webhooks=[url])
        failures = mail.send(told, "shop", [WEB])
    assert failures[0].startswith("mail server 127.0.0.1:1: ")
    assert failures[1] == "webhook 1: HTTP 500"
    assert "secret" not in "".join(failures) + repr(told)


class FakeServer:
    """Takes the place of smtplib.SMTP, which speaks to a socket; what it was asked to do, in order."""

    asked: list[object] = []

    def __init__(self, host: str, port: int, timeout: float) -> None:
        FakeServer.asked = [(host, port)]

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def starttls(self, context: object) -> None:
        self.asked.append("encrypts")

    def login(self, user: str, password: str) -> None:
        self.asked.append((user, password))

    def send_message(self, message: object) -> None:
        self.asked.append(message)


@pytest.mark.parametrize("smtp_tls", [True, False])
def test_mail_server_gets_the_password_only_as_the_file_says(smtp_tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtplib.SMTP", FakeServer)
    told = Told(["a@example.com", "b@example.com"], "mail.example.com:587", "n@example.com", "user", "word", smtp_tls)
    assert mail.send(told, "shop", [WEB]) == []
    *before, message = FakeServer.asked
    assert before == [("mail.example.com", 587), *(["encrypts"] if smtp_tls else []), ("user", "word")]
    assert message["To"] == "a@example.com, b@example.com"  # type: ignore[index]
    assert message["Subject"] == mail.subject("shop", [WEB])  # type: ignore[index]


def test_port_465_is_encrypted_from_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    class Encrypted(FakeServer):
        def __init__(self, host: str, port: int, timeout: float, context: object) -> None:
            super().__init__(host, port, timeout)
            self.asked.append("encrypted")

    monkeypatch.setattr("smtplib.SMTP_SSL", Encrypted)
    assert mail.send(Told(["a@example.com"], "mail.example.com:465", "n@example.com"), "shop", [WEB]) == []
    assert FakeServer.asked[:2] == [("mail.example.com", 465), "encrypted"]
    assert "encrypts" not in FakeServer.asked
