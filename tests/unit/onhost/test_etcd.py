"""The client of etcd against servers that hang, die after they were told, lie, and cut a stream in the middle."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nospof.onhost import etcd
from nospof.onhost.etcd import Done, Etcd, EtcdError, Refused, Rejected, Unknown, Unreachable, Value

Json = dict[str, Any]
LIMIT_S = 10.0


# --- certificates --------------------------------------------------------------------------------------------------------
def make_certificate(folder: Path, stem: str, name: str) -> None:
    """A certificate that is its own CA, for `name` and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / f"{stem}.crt").write_bytes(pem)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{stem}.key").write_bytes(private)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder, "one", "localhost")
    make_certificate(folder, "stranger", "localhost")
    return folder


# --- a member that does what it is told ----------------------------------------------------------------------------------
class Member:
    """An HTTPS server; `does` is what it does with each request, `told` all it was sent: (path, body)."""

    def __init__(self, tls: Path, does: Callable[[Request], None], certificate: str = "one") -> None:
        self.told: list[tuple[str, Json]] = []
        self.is_over = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / f"{certificate}.crt", tls / f"{certificate}.key")
        context.load_verify_locations(tls / "one.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        member = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                member.told.append((self.path, body))
                does(Request(self, body, member))

            def log_message(self, format: str, *args: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None: ...

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def endpoint(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_address[1]

    def stop(self) -> None:
        self.is_over.set()
        self.server.shutdown()
        self.server.server_close()


class Request:
    """One request to a member, and what can be done with it."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: Json, member: Member) -> None:
        self.handler, self.body, self.member = handler, body, member

    def answer(self, document: object, status: int = 200) -> None:
        self.answer_bytes(json.dumps(document).encode(), status)

    def answer_bytes(self, content: bytes, status: int = 200) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Length", str(len(content)))
        self.handler.end_headers()
        self.handler.wfile.write(content)

    def hang(self) -> None:
        self.member.is_over.wait(LIMIT_S)
        self.die()

    def die(self) -> None:
        self.handler.close_connection = True
        with suppress(OSError):
            self.handler.connection.shutdown(socket.SHUT_RDWR)

    def begin_stream(self) -> None:
        self.handler.send_response(200)
        self.handler.send_header("Transfer-Encoding", "chunked")
        self.handler.end_headers()

    def send(self, document: object) -> None:
        self.send_bytes(json.dumps(document).encode() + b"\n")

    def send_bytes(self, content: bytes) -> None:
        self.handler.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.handler.wfile.flush()


Make = Callable[..., Member]


@pytest.fixture
def member(tls: Path) -> Iterator[Make]:
    """Make members that are gone after the test."""
    made: list[Member] = []

    def make(does: Callable[[Request], None], certificate: str = "one") -> Member:
        made.append(Member(tls, does, certificate))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def client(tls: Path) -> Callable[..., Etcd]:
    def make(*members: Member | tuple[str, int], timeout_s: float = 0.3) -> Etcd:
        endpoints = [one.endpoint if isinstance(one, Member) else one for one in members]
        return Etcd(endpoints, str(tls / "one.crt"), str(tls / "one.crt"), str(tls / "one.key"), timeout_s)

    return make


Client = Callable[..., Etcd]


def free_port() -> tuple[str, int]:
    """Where nobody listens."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        return "127.0.0.1", once.getsockname()[1]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def kv(key: str, text: str, revision: int) -> Json:
    return {"key": encoded(key), "value": encoded(text), "mod_revision": str(revision)}


def found(*kvs: Json, revision: int = 9) -> Json:
    return {"header": {"revision": str(revision)}, "kvs": list(kvs)}


SWAPPED = {"header": {"revision": "10"}, "succeeded": True, "responses": [{}]}


def says(document: object, status: int = 200) -> Callable[[Request], None]:
    return lambda request: request.answer(document, status)


# --- reads ---------------------------------------------------------------------------------------------------------------
def test_key_is_read_with_the_revision_it_was_written_at(member: Make, client: Client) -> None:
    one = member(says(found(kv("a/b", "grün", 7))))
    assert client(one).get("a/b") == Value("grün", 7)
    assert one.told == [("/v3/kv/range", {"key": encoded("a/b")})]


def test_key_that_is_not_there_is_none(member: Make, client: Client) -> None:
    assert client(member(says({"header": {"revision": "9"}}))).get("a") is None


def test_empty_value_is_a_value(member: Make, client: Client) -> None:
    """The gateway leaves out what is empty."""
    answer = found({"key": encoded("a"), "mod_revision": "3"})
    assert client(member(says(answer))).get("a") == Value("", 3)


def test_prefix_is_read_to_the_first_key_that_does_not_begin_with_it(member: Make, client: Client) -> None:
    one = member(says(found(kv("v/1", "x", 4), kv("v/2", "y", 5))))
    assert client(one).get_prefix("v/") == (9, {"v/1": Value("x", 4), "v/2": Value("y", 5)})
    assert one.told[0][1] == {"key": encoded("v/"), "range_end": encoded("v0")}


def test_read_goes_to_the_next_member_when_one_hangs(member: Make, client: Client) -> None:
    hanging, living = member(Request.hang), member(says(found(kv("a", "x", 4))))
    assert client(hanging, living).get("a") == Value("x", 4)


@pytest.mark.parametrize(
    "lie", [b"", b"<html>", b"[]", b"{}", b'{"header": {}}', b'{"header": {"revision": "1"}, "kvs": [{}]}']
)
def test_answer_that_cannot_be_understood_is_no_value(member: Make, client: Client, lie: bytes) -> None:
    """Nor is it the absence of one."""
    with pytest.raises(Unreachable):
        client(member(lambda request: request.answer_bytes(lie))).get("a")


def test_member_without_a_leader_is_not_believed(member: Make, client: Client) -> None:
    without = member(says({"code": 14, "message": "etcdserver: no leader"}, 503))
    assert client(without, member(says(found(kv("a", "x", 4))))).get("a") == Value("x", 4)


def test_member_that_failed_is_asked_last_for_a_while(member: Make, client: Client) -> None:
    hanging, living = member(Request.hang), member(says(found()))
    both = client(hanging, living)
    both.get("a")
    both.get("a")
    assert (len(hanging.told), len(living.told)) == (1, 2)


def test_nobody_there_is_unreachable(client: Client) -> None:
    with pytest.raises(Unreachable):
        client(free_port(), free_port()).get("a")


def test_connection_is_kept(member: Make, client: Client) -> None:
    callers = []

    def answer(request: Request) -> None:
        callers.append(request.handler.client_address)
        request.answer(found())

    one = client(member(answer))
    one.get("a")
    one.get("a")
    assert len(set(callers)) == 1


# --- swaps ---------------------------------------------------------------------------------------------------------------
def test_swap_compares_the_revision_and_writes_all_keys_at_once(member: Make, client: Client) -> None:
    one = member(says(SWAPPED))
    assert client(one).swap("a", "new", 7, also={"b": "too"}) == Done(10)
    [(path, body)] = one.told
    assert path == "/v3/kv/txn"
    assert body["compare"] == [{"key": encoded("a"), "target": "MOD", "result": "EQUAL", "mod_revision": "7"}]
    assert [put["request_put"]["key"] for put in body["success"]] == [encoded("a"), encoded("b")]


@pytest.mark.parametrize(("kvs", "present"), [([], None), ([kv("a", "other", 8)], Value("other", 8))])
def test_refused_swap_tells_what_is_there(member: Make, client: Client, kvs: list[Json], present: Value | None) -> None:
    answer = {"header": {"revision": "9"}, "responses": [{"response_range": found(*kvs)}]}
    assert client(member(says(answer))).swap("a", "new", 7) == Refused(present)


@pytest.mark.parametrize("fate", [Request.hang, Request.die], ids=["hangs", "dies"])
def test_swap_that_was_sent_and_not_answered_is_unknown_and_sent_to_nobody_else(
    member: Make, client: Client, fate: Callable[[Request], None]
) -> None:
    first, second = member(fate), member(says(SWAPPED))
    with pytest.raises(Unknown):
        client(first, second).swap("a", "new", 7)
    assert (len(first.told), len(second.told)) == (1, 0)


@pytest.mark.parametrize("lie", [b"", b"<html>", b"[]", b"{}", b'{"succeeded": true}', b'{"responses": []}'])
def test_swap_answered_with_what_cannot_be_understood_is_unknown(member: Make, client: Client, lie: bytes) -> None:
    first, second = member(lambda request: request.answer_bytes(lie)), member(says(SWAPPED))
    with pytest.raises(Unknown):
        client(first, second).swap("a", "new", 7)
    assert second.told == []


@pytest.mark.parametrize("code", [1, 2, 4, 13, 14])
def test_swap_on_which_etcd_itself_gave_up_waiting_is_unknown(member: Make, client: Client, code: int) -> None:
    """It was proposed to the others, and may be agreed on later."""
    with pytest.raises(Unknown):
        client(member(says({"code": code, "message": "etcdserver: request timed out"}, 503))).swap("a", "new", 7)


def test_swap_that_etcd_says_it_did_not_do_is_rejected(member: Make, client: Client) -> None:
    with pytest.raises(Rejected, match="space"):
        client(member(says({"code": 8, "message": "etcdserver: mvcc: database space exceeded"}, 429))).swap("a", "new", 7)


def test_swap_goes_to_the_next_member_when_the_first_cannot_be_connected_to(member: Make, client: Client) -> None:
    assert client(free_port(), member(says(SWAPPED))).swap("a", "new", 7) == Done(10)


def test_swap_sent_to_nobody_is_unreachable(client: Client) -> None:
    with pytest.raises(Unreachable):
        client(free_port()).swap("a", "new", 7)


def test_connection_closed_while_nobody_used_it_leaves_no_swap_unknown(member: Make, client: Client) -> None:
    """A member that was restarted: the first swap after that goes over a new connection."""
    is_closed = threading.Event()

    def answer_once(request: Request) -> None:
        request.answer(SWAPPED)
        request.die()
        is_closed.set()

    one = member(answer_once)
    swapper = client(one)
    assert swapper.swap("a", "new", 7) == Done(10)
    assert is_closed.wait(LIMIT_S)
    assert swapper.swap("a", "newer", 10) == Done(10)
    assert len(one.told) == 2


def test_put_and_deletes_tell_their_revision(member: Make, client: Client) -> None:
    one = member(says({"header": {"revision": "12"}}))
    writer = client(one)
    assert (writer.put("a", "x"), writer.delete("a")) == (12, 12)
    assert (writer.delete_prefix("a/"), writer.delete_range("a/1", "a/7")) == (12, 12)
    assert [path for path, _ in one.told] == ["/v3/kv/put", *3 * ["/v3/kv/deleterange"]]
    assert one.told[2][1] == {"key": encoded("a/"), "range_end": encoded("a0")}
    assert one.told[3][1] == {"key": encoded("a/1"), "range_end": encoded("a/7")}


# --- certificates --------------------------------------------------------------------------------------------------------
def test_member_with_a_certificate_of_another_ca_is_told_nothing(member: Make, client: Client) -> None:
    stranger = member(says(SWAPPED), certificate="stranger")
    with pytest.raises(Unreachable):
        client(stranger).swap("a", "new", 7)
    assert stranger.told == []


def test_name_of_the_endpoint_must_be_in_the_certificate(
    member: Make, client: Client, tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = member(says(SWAPPED))
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more))
    with pytest.raises(Unreachable):
        client(("another", one.endpoint[1])).swap("a", "new", 7)
    assert one.told == []


# --- who leads -----------------------------------------------------------------------------------------------------------
def test_status_names_the_leader(member: Make, client: Client) -> None:
    members = [{"ID": "5", "name": "db1", "peerURLs": ["https://a"]}, {"ID": "6", "peerURLs": ["https://b"]}]

    def answer(request: Request) -> None:
        is_list = request.handler.path.endswith("list")
        request.answer({"header": {"revision": "3"}, "members": members} if is_list else {**found(revision=3), "leader": "5"})

    told = client(member(answer)).status()
    assert (told.leader, told.revision, [one.name for one in told.members]) == ("db1", 3, ["", "db1"])


# --- watches -------------------------------------------------------------------------------------------------------------
class Watcher:
    """A thread that watches `v/` from revision 5 and keeps what it hears."""

    def __init__(self, etcd: Etcd, on_event: Callable[[str], None] = lambda key: None) -> None:
        self.heard: list[tuple[str, Value | None, int]] = []
        self.lost = 0
        self.stop, self.changed = threading.Event(), threading.Condition()
        self._on_event = on_event
        self.thread = threading.Thread(target=etcd.watch, args=("v/", 5, self._event, self._lost, self.stop), daemon=True)
        self.thread.start()

    def _event(self, key: str, value: Value | None, revision: int) -> None:
        self._on_event(key)
        with self.changed:
            self.heard.append((key, value, revision))
            self.changed.notify_all()

    def _lost(self) -> int:
        with self.changed:
            self.lost += 1
            self.changed.notify_all()
        return 50

    def until(self, is_so: Callable[[], bool]) -> bool:
        with self.changed:
            return self.changed.wait_for(is_so, LIMIT_S)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def watching() -> Iterator[Callable[..., Watcher]]:
    made: list[Watcher] = []

    def make(etcd: Etcd, on_event: Callable[[str], None] = lambda key: None) -> Watcher:
        made.append(Watcher(etcd, on_event))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(autouse=True)
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd, "SILENCE_S", 0.2)
    monkeypatch.setattr(etcd, "ROUND_PAUSE_S", 0.01)


Watching = Callable[..., Watcher]


def change(key: str, text: str | None, revision: int) -> Json:
    if text is None:
        return {"type": "DELETE", "kv": {"key": encoded(key), "mod_revision": str(revision)}}
    return {"kv": kv(key, text, revision)}


def message(*changes: Json) -> Json:
    return {"result": {"header": {"revision": "9"}, "events": list(changes)}}


def start_revisions(member: Member) -> list[int]:
    return [int(body["create_request"]["start_revision"]) for _, body in member.told]


def stream(*messages: object, then: Callable[[Request], None] = Request.hang) -> Callable[[Request], None]:
    def does(request: Request) -> None:
        request.begin_stream()
        for one in messages:
            if isinstance(one, bytes):
                request.send_bytes(one)
            else:
                request.send(one)
        then(request)

    return does


def test_watch_tells_changes_and_deletions(member: Make, client: Client, watching: Watching) -> None:
    one = member(stream({"result": {"created": True}}, message(change("v/a", "x", 6), change("v/b", None, 7))))
    watcher = watching(client(one))
    assert watcher.until(lambda: len(watcher.heard) == 2)
    assert watcher.heard == [("v/a", Value("x", 6), 6), ("v/b", None, 7)]
    assert start_revisions(one)[0] == 5


@pytest.mark.parametrize("fate", [Request.hang, Request.die], ids=["falls silent", "dies"])
def test_watch_goes_on_at_the_next_member_after_what_it_has_told(
    member: Make, client: Client, watching: Watching, fate: Callable[[Request], None]
) -> None:
    first = member(stream(message(change("v/a", "x", 6)), then=fate))
    second = member(stream(message(change("v/a", "y", 8))))
    watcher = watching(client(first, second))
    assert watcher.until(lambda: len(watcher.heard) == 2)
    assert [revision for _, _, revision in watcher.heard] == [6, 8]
    assert start_revisions(second)[0] == 7


@pytest.mark.parametrize(
    "cut", [b'{"result": {"events": [{"kv": {"ke', b"nonsense\n", b'{"result": {"events": [{"kv": {}}]}}\n'], ids=str
)
def test_message_cut_in_the_middle_is_not_told_in_part(member: Make, client: Client, watching: Watching, cut: bytes) -> None:
    first = member(stream(cut, then=Request.die))
    second = member(stream(message(change("v/a", "x", 6))))
    watcher = watching(client(first, second))
    assert watcher.until(lambda: bool(watcher.heard))
    assert watcher.heard == [("v/a", Value("x", 6), 6)]
    assert start_revisions(second)[0] == 5


def test_change_that_was_told_is_not_told_again(member: Make, client: Client, watching: Watching) -> None:
    again = message(change("v/a", "x", 6))
    watcher = watching(client(member(stream(again, again, message(change("v/b", "y", 7))))))
    assert watcher.until(lambda: len(watcher.heard) == 2)
    assert [revision for _, _, revision in watcher.heard] == [6, 7]


def test_watch_leaves_a_member_without_a_leader(member: Make, client: Client, watching: Watching) -> None:
    first = member(stream({"error": {"grpc_code": 14, "message": "etcdserver: no leader"}}))
    watcher = watching(client(first, member(stream(message(change("v/a", "x", 6))))))
    assert watcher.until(lambda: bool(watcher.heard))


def test_watch_of_what_is_no_longer_kept_has_everything_read_anew(member: Make, client: Client, watching: Watching) -> None:
    def does(request: Request) -> None:
        is_new = request.body["create_request"]["start_revision"] == "50"
        lost = {"result": {"canceled": True, "compact_revision": "40"}}
        stream(message(change("v/a", "x", 51)) if is_new else lost)(request)

    watcher = watching(client(member(does)))
    assert watcher.until(lambda: bool(watcher.heard))
    assert watcher.lost == 1
    assert watcher.heard == [("v/a", Value("x", 51), 51)]


def test_change_that_could_not_be_taken_is_told_again(member: Make, client: Client, watching: Watching) -> None:
    fails = iter([True])

    def unreachable_once(key: str) -> None:
        if next(fails, False):
            raise EtcdError("no second answer")

    watcher = watching(client(member(stream(message(change("v/a", "x", 6))))), unreachable_once)
    assert watcher.until(lambda: bool(watcher.heard))


def test_watch_of_nobody_ends_when_told_to(client: Client, watching: Watching) -> None:
    watching(client(free_port())).end()
