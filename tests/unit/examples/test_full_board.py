"""The board of the example `full`: who may write, what is written once, and what is told when something is away."""

import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import django
import pytest
import redis
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.db import InterfaceError, OperationalError, connections
from django.test import Client

BOARD = Path(__file__).parents[3] / "examples" / "full" / "board"
SITE = "full.example.com"
PASSWORD = "a rather long word"
GIVEN = {
    "SECRET_KEY": "secret",
    "ALLOWED_HOSTS": f"{SITE} .localhost",
    "HOST_NAME": "app1",
    "PAGES_HOST": "127.0.0.1",
    "PAGES_PORT": "1",
    "SESSIONS_URL": "redis://127.0.0.1:1",
    **{f"DATABASE_{name}": "1" for name in ("HOST", "PORT", "READ_PORT", "NAME", "USER", "PASSWORD", "SSL_CA")},
}


class Sessions(LocMemCache):  # type: ignore[misc]
    """A cache that can be away, as Django's for Redis is: reading and writing raise."""

    is_away = False

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        self._refuse()
        return super().get(key, default, version)

    def set(self, key: Any, value: Any, timeout: Any = 60, version: Any = None) -> None:
        self._refuse()
        super().set(key, value, timeout, version)

    def _refuse(self) -> None:
        if type(self).is_away:
            raise redis.ConnectionError("no way to it")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The board as it is, but with two ways to one file instead of two to a database, and with caches in memory."""
    sys.path.insert(0, str(BOARD))
    with mock.patch.dict(os.environ, GIVEN):
        own = vars(import_module("board.settings"))
    file = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path_factory.mktemp("board") / "board.sqlite")}
    memory = "django.core.cache.backends.locmem.LocMemCache"
    replaced = {
        "DATABASES": {"default": file, "copy": file},
        "CACHES": {
            "default": {"BACKEND": memory, "LOCATION": "pages"},
            "sessions": {"BACKEND": f"{__name__}.Sessions", "LOCATION": "sessions"},
        },
        # One round: it is not the hash that is tried here.
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    }
    settings.configure(**{name: value for name, value in own.items() if name.isupper()} | replaced)
    django.setup()
    call_command("migrate", verbosity=0)


class Visitor:
    """A browser: it keeps cookies, and sends what stands in the forms it was given."""

    def __init__(self) -> None:
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False)

    def get(self, path: str) -> Any:
        return self.client.get(path, secure=True, headers={"Host": SITE})

    def send(self, path: str, **fields: str) -> Any:
        return self.client.post(path, fields, secure=True, headers={"Host": SITE, "Origin": f"https://{SITE}"})

    def form(self, path: str) -> dict[str, str]:
        """The hidden fields of the page's form."""
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self.get(path).content.decode())
        assert hidden, f"no form on {path}"
        return dict(hidden)

    def join(self, name: str) -> None:
        sent = {"username": name, "password1": PASSWORD, "password2": PASSWORD}
        assert self.send("/join", **self.form("/join"), **sent).status_code == 302

    def page(self) -> str:
        return str(self.get("/").content.decode())


@pytest.fixture
def visitor(application: None) -> Iterator[Visitor]:
    for cache in caches.all():
        cache.clear()
    for alias in connections:
        connections[alias].close()
    call_command("flush", interactive=False, verbosity=0)
    yield Visitor()
    Sessions.is_away = False


@pytest.fixture
def anna(visitor: Visitor) -> Visitor:
    visitor.join("anna")
    return visitor


def test_who_is_not_signed_in_is_asked_to_sign_in(visitor: Visitor) -> None:
    token = visitor.form("/join")["csrfmiddlewaretoken"]
    answer = visitor.send("/posts", csrfmiddlewaretoken=token, text="hello", token="t")
    assert (answer.status_code, answer["Location"]) == (302, "/sign-in?next=/posts")
    assert "Nobody has put anything up yet." in visitor.page()


def test_form_of_another_site_is_refused(anna: Visitor) -> None:
    assert anna.send("/posts", text="hello", token="t").status_code == 403
    assert "hello" not in anna.page()


def test_own_notice_is_seen_at_once_and_others_see_what_was_read_lately(anna: Visitor) -> None:
    other = Visitor()
    assert "Nobody has put anything up yet." in other.page()
    with mock.patch.object(caches["default"], "delete"):  # another server's cache was away
        assert anna.send("/posts", **anna.form("/"), text="Bring <b>milk</b>").status_code == 302
    assert "Bring &lt;b&gt;milk&lt;/b&gt;" in anna.page()
    assert "milk" not in other.page()
    caches["default"].clear()
    assert "milk" in other.page()


def test_notice_that_is_sent_again_is_there_once(anna: Visitor) -> None:
    from posts.models import Post

    form = anna.form("/")
    for _ in range(3):
        assert anna.send("/posts", **form, text="hello").status_code == 302
    assert [(post.text, post.attempts) for post in Post.objects.all()] == [("hello", 3)]


def test_token_of_somebody_elses_notice_changes_nothing(anna: Visitor) -> None:
    from posts.models import Post

    form = anna.form("/")
    anna.send("/posts", **form, text="hello")
    ben = Visitor()
    ben.join("ben")
    answer = ben.send("/posts", **{**ben.form("/"), "token": form["token"]}, text="mine")
    assert answer.status_code == 504
    assert [(post.text, post.author.username, post.attempts) for post in Post.objects.all()] == [("hello", "anna", 1)]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"text": " "}, 400),
        ({"text": "x" * 1001}, 400),
        ({"text": "x" * 1000}, 302),
        ({"text": "x\x00"}, 400),
        ({"text": "x", "token": ""}, 400),
        ({"text": "x", "token": "t" * 65}, 400),
    ],
)
def test_what_cannot_be_kept_is_said_so_and_given_back(anna: Visitor, fields: dict[str, str], status: int) -> None:
    assert anna.send("/posts", **{**anna.form("/"), **fields}).status_code == status


@pytest.mark.parametrize(
    ("problem", "status", "told"),
    [
        (OperationalError(1290, "running with --read-only"), 503, "no database takes writes right now"),
        (OperationalError(2013, "Lost connection to server during query"), 504, "We could not confirm it."),
        (InterfaceError(0, ""), 504, "We could not confirm it."),
    ],
)
def test_write_during_a_failover_says_what_is_known_and_keeps_the_text(
    anna: Visitor, problem: Exception, status: int, told: str
) -> None:
    from posts.models import Post

    form = anna.form("/")
    with mock.patch.object(Post, "save", side_effect=problem):
        answer = anna.send("/posts", **form, text="a long thought")
    page = answer.content.decode()
    assert answer.status_code == status
    assert told in page
    assert "a long thought" in page
    assert form["token"] in page  # so that it is never there twice


def test_copy_that_dies_while_it_is_read_is_asked_anew(anna: Visitor) -> None:
    """Incident: a drill found visitors with 503, since Django asks again over the connection that has just died."""
    copy = connections["copy"]
    copy.ensure_connection()
    copy.connection.close()
    assert Visitor().get("/").status_code == 200


def test_sessions_that_are_away_sign_nobody_out(anna: Visitor) -> None:
    """Incident: Django takes a cache that does not answer for one without a session, and has the cookie forgotten."""
    Sessions.is_away = True
    answer = anna.get("/")
    assert (answer.status_code, answer["Retry-After"], answer["Cache-Control"]) == (503, "2", "no-store")
    assert "One moment, please" in answer.content.decode()
    assert not answer.cookies
    Sessions.is_away = False
    assert "anna" in anna.page()


def test_defect_of_the_application_is_not_called_away(anna: Visitor) -> None:
    from posts import views

    with mock.patch.object(views, "_read", side_effect=KeyError("text")):
        answer = Visitor().get("/")
    assert answer.status_code == 500
    assert "Retry-After" not in answer
    assert "Something is broken here" in answer.content.decode()


def test_health_asks_nobody(visitor: Visitor) -> None:
    Sessions.is_away = True
    with mock.patch.object(type(connections["default"]), "cursor", side_effect=OperationalError(2003, "away")):
        assert visitor.get("/health").status_code == 200
        answer = visitor.get("/ready")
    assert answer.status_code == 503
    said = {"database-default": "OperationalError", "database-copy": "OperationalError", "sessions": "ConnectionError"}
    assert answer.json() == said
