"""A small client of etcd for programs on hosts: its v3 JSON gateway over HTTPS, with a certificate on both sides.

What is asked of it is a compare-and-swap whose outcome is never guessed. Done, refused, certainly not sent (Unreachable) and
sent without an answer (Unknown) are four different things, and only what is harmless to repeat is sent to the next endpoint.

Limits: calls of one instance wait for each other (a lock), so give each thread that must not wait its own; a watch has a
connection of its own. An endpoint that failed is asked last for `SHUNNED_S`.
Source: https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/, https://etcd.io/docs/v3.5/learning/api/ (3.5.16).
"""

from __future__ import annotations

import base64
import http.client
import json
import select
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

Json = dict[str, Any]
T = TypeVar("T")
Endpoint = tuple[str, int]

SHUNNED_S = 5.0
# Members tell watchers each 0.5 s that there is nothing to tell (components/etcd.py); twice that and a little is a dead one.
SILENCE_S = 1.2
# Between two rounds over all endpoints when none can be watched.
ROUND_PAUSE_S = 0.1
# gRPC's codes of answers that say for certain that nothing was done. All others, "unavailable" first, leave it open.
INVALID, NOT_FOUND, EXISTS, DENIED, EXHAUSTED, PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, NOBODY = 3, 5, 6, 7, 8, 9, 11, 12, 16
NOT_DONE = frozenset({INVALID, NOT_FOUND, EXISTS, DENIED, EXHAUSTED, PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, NOBODY})


class EtcdError(Exception):
    """Something that was asked of etcd did not work."""


class Unreachable(EtcdError):
    """Nobody was given the request, so that nothing happened; or nobody answered a read."""


class Unknown(EtcdError):
    """The request was sent and not answered: it may have happened, now or in some seconds. Read again."""


class Rejected(EtcdError):
    """etcd itself said that it did not do it: its space is used up, or the request is wrong."""


@dataclass(frozen=True)
class Value:
    """What a key holds, and the revision at which it was written."""

    text: str
    mod_revision: int


@dataclass(frozen=True)
class Done:
    """The swap happened; `revision` is now the key's mod_revision."""

    revision: int


@dataclass(frozen=True)
class Refused:
    """The swap did not happen: this is what the key holds. None: there is no such key."""

    present: Value | None


Swapped = Done | Refused


@dataclass(frozen=True)
class Member:
    """One voter. `name` "" while one that was taken in later was never started.

    `is_met`: it has told the others where clients reach it, as each does once it is one of a majority.
    """

    id: int
    name: str
    peer_urls: tuple[str, ...]
    is_met: bool = True


@dataclass(frozen=True)
class Status:
    """The cluster as one member sees it. `leader`: a member's name; "" when it knows none."""

    leader: str
    members: tuple[Member, ...]
    revision: int


class Etcd:
    """A cluster, reached over any of its `endpoints` (host name or address, port): the first, if it answers.

    `timeout_s` is for connecting, and again for the answer. An endpoint's certificate must have the name or address under
    which it is named here. Files are read at each new connection, so that a renewed certificate needs no restart.
    """

    def __init__(self, endpoints: Sequence[Endpoint], ca: str, certificate: str, key: str, timeout_s: float = 0.3) -> None:
        self.endpoints, self.timeout_s = tuple(endpoints), timeout_s
        self._ca, self._certificate, self._key = ca, certificate, key
        self._lock = threading.Lock()
        self._connections: dict[Endpoint, http.client.HTTPSConnection] = {}
        self._shunned_until_s: dict[Endpoint, float] = {}

    # --- reading -----------------------------------------------------------------------------------------------------
    def get(self, key: str) -> Value | None:
        """Read `key`; linearizable: what was written before this call began is seen. Raises Unreachable."""
        return _understood(lambda: _only_value(self._read("/v3/kv/range", {"key": _encoded(key)})))

    def get_prefix(self, prefix: str) -> tuple[int, dict[str, Value]]:
        """Read all keys that begin with `prefix`, and the revision at which that was so; linearizable. Raises Unreachable."""
        answer = self._read("/v3/kv/range", _range_of(prefix))
        return _understood(lambda: (_revision(answer), {_decoded(kv["key"]): _value(kv) for kv in answer.get("kvs", ())}))

    def status(self) -> Status:
        """Ask one member who leads and who is a member; answers without a majority, too. Raises Unreachable."""
        told = self._read("/v3/maintenance/status", {})
        members = self.members(is_agreed=False)
        leader = int(told.get("leader", 0))
        name = next((member.name for member in members if member.id == leader), "")
        return _understood(lambda: Status(name, members, _revision(told)))

    def members(self, *, is_agreed: bool = True) -> tuple[Member, ...]:
        """The voters, by name; `is_agreed`: as a majority knows them, else as the member that is asked does."""
        answer = self._read("/v3/cluster/member/list", {"linearizable": is_agreed})
        return _understood(lambda: tuple(sorted(map(_member, answer["members"]), key=lambda member: (member.name, member.id))))

    # --- writing -----------------------------------------------------------------------------------------------------
    def swap(self, key: str, text: str, expected_revision: int, also: Mapping[str, str] | None = None) -> Swapped:
        """Write `key`, and the keys of `also` with it, if its mod_revision is `expected_revision` (0: there is no such key).

        Raises Unknown when it was sent and no answer came, and Unreachable when it was sent to nobody.
        """
        compare = {"key": _encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(expected_revision)}
        puts = [{"request_put": _put(name, value)} for name, value in {key: text, **(also or {})}.items()]
        answer = self._write(
            "/v3/kv/txn", {"compare": [compare], "success": puts, "failure": [{"request_range": {"key": _encoded(key)}}]}
        )
        return _understood(lambda: _swapped(answer), Unknown)

    def put(self, key: str, text: str) -> int:
        """Write `key` whatever it holds; returns the revision. Raises Unknown and Unreachable as `swap` does."""
        return self._revision_of("/v3/kv/put", _put(key, text))

    def delete(self, key: str) -> int:
        """Delete `key`, if it is there; returns the revision. Raises Unknown and Unreachable as `swap` does."""
        return self._revision_of("/v3/kv/deleterange", {"key": _encoded(key)})

    def delete_prefix(self, prefix: str) -> int:
        """Delete all keys that begin with `prefix`; returns the revision. Raises Unknown and Unreachable as `swap` does."""
        return self._revision_of("/v3/kv/deleterange", _range_of(prefix))

    def delete_range(self, first: str, end: str) -> int:
        """Delete all keys from `first` to before `end`; returns the revision. Raises Unknown and Unreachable as `swap`."""
        return self._revision_of("/v3/kv/deleterange", {"key": _encoded(first), "range_end": _encoded(end)})

    def add_member(self, peer_url: str) -> None:
        """Make the one at `peer_url`, which must not run yet, a voter."""
        self._write("/v3/cluster/member/add", {"peerURLs": [peer_url]})

    def remove_member(self, member: int) -> None:
        """Take the vote from the member with this id, for ever."""
        self._write("/v3/cluster/member/remove", {"ID": str(member)})

    def _revision_of(self, path: str, body: Json) -> int:
        answer = self._write(path, body)
        return _understood(lambda: _revision(answer), Unknown)

    # --- watching ----------------------------------------------------------------------------------------------------
    def watch(
        self,
        prefix: str,
        from_revision: int,
        on_event: Callable[[str, Value | None, int], None],
        on_lost: Callable[[], int],
        stop: threading.Event,
    ) -> None:
        """Call `on_event(key, value, revision)` for each change below `prefix`, None for a deletion, until `stop`.

        Begins with changes of `from_revision` itself, and tells each once and in order, whatever breaks on the way. Blocks;
        notices `stop` within `SILENCE_S`. `on_lost` is called when missed changes are no longer kept: it reads everything anew
        and returns the revision from which to go on, that of its reading plus one. Where one of the two raises an EtcdError,
        the same is told again a moment later; any other error ends the watch.
        A dead member is left after `SILENCE_S`, one that lost the majority after about three election times.
        """
        turn = failures = 0
        while not stop.is_set():
            endpoint = self.endpoints[turn % len(self.endpoints)]
            try:
                with closing(self._stream(endpoint, prefix, from_revision)) as stream:
                    for heard in stream:
                        failures = 0
                        for key, value, revision in heard.events:
                            on_event(key, value, revision)
                        from_revision = on_lost() if heard.is_lost else max(from_revision, heard.next_revision)
                        if heard.is_lost or stop.is_set():
                            break
            except EtcdError:
                turn, failures = turn + 1, failures + 1
                if failures % len(self.endpoints) == 0:
                    stop.wait(ROUND_PAUSE_S)

    def _stream(self, endpoint: Endpoint, prefix: str, revision: int) -> Generator[_Heard, None, None]:
        """Yield what the member says, from `revision` on; Unreachable when it ends, falls silent or cannot be understood."""
        connection = self._connection(endpoint, self.timeout_s)
        try:
            connection.connect()
            connection.sock.settimeout(SILENCE_S)
            create = {**_range_of(prefix), "start_revision": str(revision), "progress_notify": True}
            # A member that hears of no leader ends the stream.
            headers = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
            connection.request("POST", "/v3/watch", json.dumps({"create_request": create}).encode(), headers)
            response = connection.getresponse()
            while line := response.readline():
                heard = _heard(json.loads(line), revision)
                revision = heard.next_revision
                yield heard
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unreachable(f"{endpoint[0]} is no longer watched: {error!r}") from error
        finally:
            connection.close()
        raise Unreachable(f"{endpoint[0]} ended the watch")

    # --- one call ----------------------------------------------------------------------------------------------------
    def _read(self, path: str, body: Json) -> Json:
        """Ask one endpoint after the other until one answers."""
        why = []
        with self._lock:
            for endpoint in self._in_order():
                try:
                    return self._ask(endpoint, path, body)
                except (Unreachable, Unknown) as error:
                    why.append(str(error))
        raise Unreachable("; ".join(why) or "there are no endpoints")

    def _write(self, path: str, body: Json) -> Json:
        """Send to the first endpoint that can be connected to, and to no other after that."""
        why = []
        with self._lock:
            for endpoint in self._in_order():
                try:
                    return self._ask(endpoint, path, body)
                except Unreachable as error:
                    why.append(str(error))
        raise Unreachable("; ".join(why) or "there are no endpoints")

    def _in_order(self) -> list[Endpoint]:
        now_s = time.monotonic()
        return sorted(self.endpoints, key=lambda endpoint: self._shunned_until_s.get(endpoint, 0.0) > now_s)

    def _ask(self, endpoint: Endpoint, path: str, body: Json) -> Json:
        """Send one request; raises Unreachable (not sent), Unknown (no answer that can be understood) or Rejected."""
        try:
            answer = self._exchange(endpoint, path, json.dumps(body).encode())
        except EtcdError as error:
            if not isinstance(error, Rejected):
                self._forget(endpoint)
                self._shunned_until_s[endpoint] = time.monotonic() + SHUNNED_S
            raise
        self._shunned_until_s.pop(endpoint, None)
        return answer

    def _exchange(self, endpoint: Endpoint, path: str, body: bytes) -> Json:
        try:
            connection = self._connected(endpoint)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{endpoint[0]}: {error or type(error).__name__}") from error
        end_s = time.monotonic() + self.timeout_s
        try:
            connection.sock.settimeout(_left_s(end_s))
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            connection.sock.settimeout(_left_s(end_s))
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unknown(f"{endpoint[0]} gave no answer: {error or type(error).__name__}") from error
        if not isinstance(answer, dict):
            raise Unknown(f"{endpoint[0]} gave an answer that is none")
        if response.status != http.client.OK:
            certain = answer.get("code") in NOT_DONE
            raise (Rejected if certain else Unknown)(f"{endpoint[0]}: {answer.get('message', response.status)}")
        return answer

    def _connected(self, endpoint: Endpoint) -> http.client.HTTPSConnection:
        """The open connection to `endpoint`, or a new one where it was closed by the other side while nobody used it."""
        known = self._connections.get(endpoint)
        if known is not None and known.sock is not None and not select.select([known.sock], [], [], 0)[0]:
            return known
        self._forget(endpoint)
        connection = self._connection(endpoint, self.timeout_s)
        connection.connect()
        self._connections[endpoint] = connection
        return connection

    def _connection(self, endpoint: Endpoint, timeout_s: float) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=self._ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._certificate, self._key)
        return http.client.HTTPSConnection(*endpoint, timeout=timeout_s, context=context)

    def _forget(self, endpoint: Endpoint) -> None:
        connection = self._connections.pop(endpoint, None)
        if connection is not None:
            with suppress(OSError):
                connection.close()


@dataclass(frozen=True)
class _Heard:
    """One message of a watch. `is_lost`: changes were missed that are no longer kept."""

    events: tuple[tuple[str, Value | None, int], ...] = ()
    next_revision: int = 0
    is_lost: bool = False


def _heard(message: Json, from_revision: int) -> _Heard:
    """Read one line of a watch: all of it or, with an error, nothing. Changes before `from_revision` were told already.

    All changes of one revision come in one message: it is asked for without fragments.
    """
    if "result" not in message:
        raise ValueError(message.get("error"))
    result = message["result"]
    if result.get("compact_revision"):
        return _Heard(next_revision=from_revision, is_lost=True)
    if result.get("canceled"):
        raise ValueError(result.get("cancel_reason"))
    events = [_event(event) for event in result.get("events", ())]
    new = tuple(event for event in events if event[2] >= from_revision)
    return _Heard(new, max([from_revision, *(revision + 1 for _, _, revision in events)]))


def _event(event: Json) -> tuple[str, Value | None, int]:
    kv = event["kv"]
    is_deleted = event.get("type") == "DELETE"
    return _decoded(kv["key"]), None if is_deleted else _value(kv), int(kv["mod_revision"])


def _understood(read: Callable[[], T], otherwise: type[EtcdError] = Unreachable) -> T:
    """What `read` makes of an answer; `otherwise` when it is not what etcd would say."""
    try:
        return read()
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise otherwise(f"an answer that cannot be understood: {error!r}") from error


def _swapped(answer: Json) -> Swapped:
    if answer.get("succeeded", False):
        return Done(_revision(answer))
    return Refused(_only_value(answer["responses"][0]["response_range"]))


def _only_value(answer: Json) -> Value | None:
    _revision(answer)
    kvs = answer.get("kvs", ())
    return _value(kvs[0]) if kvs else None


def _value(kv: Json) -> Value:
    return Value(_decoded(kv.get("value", "")), int(kv["mod_revision"]))


def _member(told: Json) -> Member:
    return Member(int(told["ID"]), told.get("name", ""), tuple(told.get("peerURLs", ())), bool(told.get("clientURLs")))


def _revision(answer: Json) -> int:
    return int(answer["header"]["revision"])


def _put(key: str, text: str) -> Json:
    return {"key": _encoded(key), "value": _encoded(text)}


def _range_of(prefix: str) -> Json:
    """The keys from `prefix` to the first that does not begin with it, which is the prefix with its last byte one higher."""
    first = prefix.encode()
    end = first[:-1] + bytes([first[-1] + 1])
    return {"key": _encoded(prefix), "range_end": base64.b64encode(end).decode()}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _left_s(end_s: float) -> float:
    """Seconds until `end_s`; never 0, which would mean not to wait at all in another way."""
    return max(end_s - time.monotonic(), 0.001)
