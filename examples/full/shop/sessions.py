"""Sessions in Valkey: the visitor's browser has a random name, everything else is kept here, the same on every server.

A visitor who has put nothing into it has no session, and costs the cache nothing. One whose session cannot be read right now is
not a visitor without one: they are told to come back in a moment, and keep their cookie. Under which key a session is kept
tells nobody its name, so that whoever reads the cache's keys can take over none.

Limit: as with every session kept whole, of two requests at once that change it the later one's change stays.
"""

import hashlib
import hmac
import json
import logging
import secrets
import time
from typing import Any, Protocol, Self

from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin

COOKIE = "__Host-shop"
# Anybody can have a session made by putting something into a basket: those live for a short time only.
SIGNED_IN_S, LIFETIME_S = 14 * 24 * 3600, 24 * 3600
# A session that is only read is written again this often, so that it lives on while its visitor comes.
KEPT_ALIVE_S = 3600
# While another server takes the primary's place, attempts are made again: each waits for a second at most.
ATTEMPTS, FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 0.05, 0.5
LONGEST_NAME = 64
# Paths where nobody asks who the visitor is.
FOR_ANYBODY = ("/static/", "/api/", "/health", "/ready")

log = logging.getLogger("shop")


class SessionUnavailable(Exception):
    """The cache did not answer, so that nobody knows who the visitor is."""


class Store(Protocol):
    def get(self, key: str, /) -> bytes | None: ...
    def set(self, key: str, value: bytes, /, *, ex: int) -> object: ...
    def delete(self, key: str, /) -> object: ...


class Session(dict[str, Any], SessionMixin):
    """What is known of a visitor. `is_unknown`: it could not be read; whoever needs it must say so."""

    def __init__(self, known: dict[str, Any] | None = None, name: str = "", is_unknown: bool = False) -> None:
        super().__init__(known or {})
        self.name, self.is_unknown = name, is_unknown
        self.before = json.dumps(self, sort_keys=True)
        self.old_name, self.is_kept = "", False

    @property
    def lifetime_s(self) -> int:
        return SIGNED_IN_S if "account" in self else LIFETIME_S

    @property
    def is_changed(self) -> bool:
        return bool(self.old_name) or json.dumps(self, sort_keys=True) != self.before

    def rename(self) -> None:
        """Give it another name: who knew the old one, as an attacker may, is not who signs in now."""
        self.old_name, self.name = self.old_name or self.name, ""


class Sessions(SessionInterface):
    def __init__(self, store: Store, away: tuple[type[Exception], ...], secret: str) -> None:
        """`away`: what `store` raises when it cannot be asked."""
        self._store, self._away, self._secret = store, away, secret.encode()

    @classmethod
    def at(cls, url: str, secret: str) -> Self:
        """Sessions in the Valkey at `url`, whose timeouts it has."""
        import redis
        from redis.backoff import ExponentialBackoff
        from redis.retry import Retry

        retry = Retry(ExponentialBackoff(cap=LONGEST_PAUSE_S, base=FIRST_PAUSE_S), ATTEMPTS - 1)
        store = redis.Redis.from_url(url, retry=retry, retry_on_error=[redis.ReadOnlyError], health_check_interval=5)
        return cls(store, (redis.RedisError, OSError), secret)

    def probe(self) -> None:
        """Raise SessionUnavailable where sessions can neither be read nor written."""
        self._ask("set", "shop:probe", b"", ex=60)

    def open_session(self, app: Flask, request: Request) -> Session:
        name = request.cookies.get(COOKIE, "")
        if request.path.startswith(FOR_ANYBODY) or not 0 < len(name) <= LONGEST_NAME:
            return Session()
        try:
            found = self._ask("get", self._key(name))
        except SessionUnavailable:
            return Session(name=name, is_unknown=True)
        # A name that nobody is kept under is not taken: it may be an attacker's choice.
        return Session(json.loads(found), name) if found else Session()

    def keep(self, session: Session) -> None:
        """Write what has changed; raises SessionUnavailable, and then nothing or all of it is kept."""
        is_due = bool(session.name) and time.time() - session.get("kept_at", 0) > KEPT_ALIVE_S
        if session.is_unknown or not (session.is_changed or is_due):
            return
        name = session.name or secrets.token_urlsafe(32)
        known = {**session, "kept_at": int(time.time())}
        try:
            self._ask("set", self._key(name), json.dumps(known).encode(), ex=session.lifetime_s)
            if session.old_name:
                self._ask("delete", self._key(session.old_name))
        except SessionUnavailable:
            if session.is_changed:
                raise
        session.name, session.is_kept = name, True

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Tell the browser the name of what `keep` has kept."""
        assert isinstance(session, Session)  # noqa: S101 - open_session made it
        response.vary.add("Cookie")
        if session.is_kept:
            response.set_cookie(COOKIE, session.name, session.lifetime_s, path="/", secure=True, httponly=True, samesite="Lax")

    def _key(self, name: str) -> str:
        return "shop:session:" + hmac.digest(self._secret, name.encode(), hashlib.sha256).hex()

    def _ask(self, what: str, *values: object, **more: object) -> Any:
        try:
            return getattr(self._store, what)(*values, **more)
        except self._away as problem:
            log.warning("sessions: %s", problem)
            raise SessionUnavailable(str(problem)) from problem
