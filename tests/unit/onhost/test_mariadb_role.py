"""The role of a MariaDB server: what is done about it, and what is told of it and for how long."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pymysql
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nospof.onhost import mariadb_role as role
from nospof.onhost.mariadb_server import Observed, Server, Source, quoted

PASSWORD = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"
PRIMARY = role.Config(
    tier="database",
    host="db1",
    is_witness=False,
    members={"db1": "127.0.0.1", "db2": "198.18.1.3", "w1": "198.18.1.4"},
    port=3306,
    role_port=0,
    read_lag_limit_s=10,
    first_primary="db1",
    replication_user="nospof_replication",
    replication_password=PASSWORD,
    ca="/etc/nospof/tls/ca.pem",
    certificate="/etc/nospof/tls/database.crt",
    key="/etc/nospof/tls/database.key",
)
REPLICA = replace(PRIMARY, host="db2")
WITNESS = replace(PRIMARY, host="w1", is_witness=True)
FRESH = Observed(
    is_read_only=True,
    waits_for_voters=False,
    acknowledges=False,
    is_semi_sync=False,
    voters=0,
    gtid_binlog_pos="",
    gtid_slave_pos="",
)
WRITABLE = replace(FRESH, is_read_only=False, waits_for_voters=True, is_semi_sync=True, voters=2, gtid_binlog_pos="0-1-7")
LINK = Source(
    address="127.0.0.1",
    port=3306,
    user="nospof_replication",
    ca="/etc/nospof/tls/ca.pem",
    is_verified=True,
    uses_gtid=True,
    is_receiving=True,
    is_asking=True,
    is_applying=True,
    lag_s=0.0,
)
FOLLOWING = replace(FRESH, acknowledges=True, gtid_binlog_pos="0-1-7", gtid_slave_pos="0-1-7", source=LINK)


def statements(observed: Observed, config: role.Config) -> list[str]:
    return [statement for action in role.next_actions(observed, config) for statement in action.statements]


# --- what is done ---------------------------------------------------------------------------------------------------------
def test_primary_waits_for_its_replicas_before_it_takes_the_first_write() -> None:
    assert statements(FRESH, PRIMARY) == ["SET GLOBAL rpl_semi_sync_master_enabled = ON", "SET GLOBAL read_only = OFF"]
    assert role.next_actions(WRITABLE, PRIMARY) == ()


def test_a_primary_without_replicas_waits_for_nobody() -> None:
    alone = replace(PRIMARY, members={"db1": "127.0.0.1"})
    assert statements(FRESH, alone) == ["SET GLOBAL read_only = OFF"]
    assert statements(WRITABLE, alone) == ["SET GLOBAL rpl_semi_sync_master_enabled = OFF"]


def test_a_chosen_primary_that_follows_somebody_stays_read_only() -> None:
    (action,) = role.next_actions(replace(FOLLOWING, source=replace(LINK, address="198.18.1.3")), PRIMARY)
    assert action.statements == ()
    assert "198.18.1.3" in action.says


def test_a_fresh_replica_acknowledges_before_it_follows() -> None:
    done = statements(FRESH, REPLICA)
    assert done[0] == "SET GLOBAL rpl_semi_sync_slave_enabled = ON"
    assert done[1:3] == ["STOP ALL REPLICAS", "RESET REPLICA ALL"]
    assert done[-1] == "START REPLICA"
    change = done[3]
    for wanted in ("MASTER_HOST = '127.0.0.1'", "MASTER_USE_GTID = slave_pos", "MASTER_SSL_VERIFY_SERVER_CERT = 1"):
        assert wanted in change
    assert role.next_actions(FOLLOWING, REPLICA) == ()


def test_a_replica_never_stays_writable() -> None:
    assert statements(replace(FOLLOWING, is_read_only=False), REPLICA)[0] == "SET GLOBAL read_only = ON"


def test_a_server_with_writes_of_its_own_follows_nobody() -> None:
    *_, last = role.next_actions(replace(FRESH, gtid_binlog_pos="0-2-1"), REPLICA)
    assert last.statements == ()
    assert "0-2-1" in last.says


def test_a_restarted_replica_starts_again_where_it_was() -> None:
    stopped = replace(
        FOLLOWING, acknowledges=False, source=replace(LINK, is_receiving=False, is_asking=False, is_applying=False)
    )
    assert statements(stopped, REPLICA) == ["SET GLOBAL rpl_semi_sync_slave_enabled = ON", "START REPLICA"]


def test_acknowledging_is_switched_on_with_the_receiving_thread_stopped() -> None:
    """The server reads the switch only when the thread starts."""
    done = statements(replace(FOLLOWING, acknowledges=False), REPLICA)
    assert done == ["STOP REPLICA IO_THREAD", "SET GLOBAL rpl_semi_sync_slave_enabled = ON", "START REPLICA"]


@pytest.mark.parametrize(
    "wrong", [{"address": "198.18.9.9"}, {"port": 1}, {"user": "x"}, {"is_verified": False}, {"uses_gtid": False}]
)
def test_a_replica_of_the_wrong_source_is_pointed_to_the_right_one(wrong: dict[str, Any]) -> None:
    assert "RESET REPLICA ALL" in statements(replace(FOLLOWING, source=replace(LINK, **wrong)), REPLICA)


def test_a_replica_that_is_refused_takes_the_present_password_and_one_that_is_cut_off_just_waits() -> None:
    waiting = replace(LINK, is_receiving=False, receive_errno=1045, receive_error="Access denied")
    assert any("MASTER_PASSWORD" in statement for statement in statements(replace(FOLLOWING, source=waiting), REPLICA))
    cut_off = replace(LINK, is_receiving=False, receive_errno=2003, receive_error="Can't connect")
    assert statements(replace(FOLLOWING, source=cut_off), REPLICA) == []


def test_no_password_is_said_or_shown() -> None:
    for action in role.next_actions(FRESH, REPLICA):
        assert PASSWORD not in action.says + repr(action)
    assert PASSWORD not in repr(REPLICA)


@pytest.mark.parametrize("text", ["it's", 'a"b', "a\\b", "a\nb", "a`b", "a\0b"])
def test_what_could_end_a_string_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        quoted(text)
    assert quoted(PASSWORD) == f"'{PASSWORD}'"


# --- what is told ---------------------------------------------------------------------------------------------------------
def told(observed: Observed, config: role.Config, *, cut_off_s: float = 0, running_s: float = 60) -> dict[str, int]:
    note = role.note_of(observed, config, seen_at_s=100, cut_off_s=cut_off_s, running_s=running_s)
    return {path: role.answer(path, note, 100.1)[0] for path in ("/primary", "/replica", "/health")}


def test_only_the_chosen_and_writable_server_is_primary() -> None:
    assert told(WRITABLE, PRIMARY) == {"/primary": 200, "/replica": 503, "/health": 200}
    assert told(FRESH, PRIMARY) == {"/primary": 503, "/replica": 503, "/health": 503}
    # Writable, but not the one that was chosen: two of them must never be told.
    assert told(WRITABLE, REPLICA)["/primary"] == 503


def test_a_replica_serves_reads_while_it_is_near_and_a_witness_never() -> None:
    assert told(FOLLOWING, REPLICA) == {"/primary": 503, "/replica": 200, "/health": 200}
    assert told(FOLLOWING, WITNESS) == {"/primary": 503, "/replica": 503, "/health": 200}
    assert told(replace(FOLLOWING, source=replace(LINK, lag_s=11.0)), REPLICA)["/replica"] == 503
    assert told(replace(FOLLOWING, source=replace(LINK, is_applying=False)), REPLICA) == {
        "/primary": 503,
        "/replica": 503,
        "/health": 503,
    }


def test_time_without_the_primary_counts_as_lag() -> None:
    """MariaDB says 0 seconds behind while it is cut off and has applied all it has."""
    cut_off = replace(FOLLOWING, source=replace(LINK, is_receiving=False))
    assert told(cut_off, REPLICA, cut_off_s=2) == {"/primary": 503, "/replica": 200, "/health": 503}
    assert told(cut_off, REPLICA, cut_off_s=11)["/replica"] == 503


def test_replication_that_just_started_is_not_believed() -> None:
    """Incident: a replica that failed at the same transaction again and again answered 200 for a moment each time."""
    assert told(FOLLOWING, REPLICA, running_s=0.5) == {"/primary": 503, "/replica": 503, "/health": 503}


def test_an_old_note_answers_no_whatever_it_says() -> None:
    note = role.note_of(WRITABLE, PRIMARY, seen_at_s=100, cut_off_s=0, running_s=60)
    for path in ("/", "/primary", "/health"):
        assert role.answer(path, note, 100.9)[0] == 200
        assert role.answer(path, note, 101.1)[0] == 503
    assert role.answer("/primary", role.UNKNOWN, 0.0001)[0] == 503


def test_unknown_paths_are_not_found() -> None:
    assert role.answer("/etc/passwd", role.UNKNOWN, -1)[0] == 404


# --- the loop -------------------------------------------------------------------------------------------------------------
class FakeServer(Server):
    """Obeys the statements the program sends, or fails as told."""

    def __init__(self, observed: Observed) -> None:
        super().__init__("/nowhere")
        self.observed = observed
        self.sent: list[str] = []
        self.fails: Exception | None = None
        self.refuses: dict[str, Exception] = {}

    def look(self) -> Observed:
        if self.fails:
            raise self.fails
        return self.observed

    def rows(self, statement: str) -> list[dict[str, Any]]:
        self.sent.append(statement)
        for beginning, refusal in self.refuses.items():
            if statement.startswith(beginning):
                raise refusal
        if statement == "SET GLOBAL read_only = OFF":
            self.observed = replace(self.observed, is_read_only=False)
        elif statement == "SET GLOBAL rpl_semi_sync_master_enabled = ON":
            self.observed = replace(self.observed, waits_for_voters=True)
        elif statement == "SET GLOBAL rpl_semi_sync_slave_enabled = ON":
            self.observed = replace(self.observed, acknowledges=True)
        elif statement.startswith("CHANGE MASTER"):
            self.observed = replace(self.observed, source=LINK)
        return []


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def keeper_of(observed: Observed, config: role.Config) -> tuple[role.Keeper, FakeServer, Clock]:
    server, clock = FakeServer(observed), Clock()
    return role.Keeper(server, config, clock), server, clock


def test_the_loop_brings_a_booted_server_to_its_role_and_then_leaves_it_alone() -> None:
    keeper, server, clock = keeper_of(FRESH, PRIMARY)
    keeper.step()
    assert server.sent == ["FLUSH LOCAL SSL", "SET GLOBAL rpl_semi_sync_master_enabled = ON", "SET GLOBAL read_only = OFF"]
    clock.now_s += 1
    keeper.step()
    assert len(server.sent) == 3
    assert role.answer("/primary", keeper.note, clock.now_s)[0] == 200


def test_a_restarted_server_gets_its_role_again() -> None:
    keeper, server, clock = keeper_of(WRITABLE, PRIMARY)
    keeper.step()
    server.fails = pymysql.OperationalError(2013, "Lost connection")
    clock.now_s += 0.1
    keeper.step()
    assert role.answer("/primary", keeper.note, clock.now_s)[0] == 503
    server.fails, server.observed = None, FRESH
    clock.now_s += 0.1
    keeper.step()
    assert server.sent[-1] == "SET GLOBAL read_only = OFF"


def test_what_does_not_help_is_tried_ever_more_slowly() -> None:
    keeper, server, clock = keeper_of(FRESH, REPLICA)
    server.refuses["CHANGE MASTER"] = pymysql.OperationalError(1200, "no")
    began_s, tries = clock.now_s, 0
    while clock.now_s < began_s + 60:
        keeper.step()
        tries = server.sent.count("START REPLICA") + sum(statement.startswith("CHANGE") for statement in server.sent)
        clock.now_s += 0.1
    assert 10 <= tries <= 20


def test_torn_replication_files_are_made_anew() -> None:
    """Incident: after a power cut START REPLICA failed for ever with error 1201."""
    stopped = replace(FOLLOWING, source=replace(LINK, is_receiving=False, is_asking=False, is_applying=False))
    keeper, server, clock = keeper_of(stopped, REPLICA)
    server.refuses["START"] = pymysql.OperationalError(1201, "Could not initialize master info structure")
    keeper.step()
    del server.refuses["START"]
    clock.now_s += 10
    keeper.step()
    assert server.sent[-4:-2] == ["STOP ALL REPLICAS", "RESET REPLICA ALL"]


def test_a_replica_that_never_heard_its_primary_serves_no_reads() -> None:
    keeper, _, clock = keeper_of(replace(FOLLOWING, source=replace(LINK, is_receiving=False)), REPLICA)
    for _ in range(50):
        clock.now_s += 0.1
        keeper.step()
    assert role.answer("/replica", keeper.note, clock.now_s)[0] == 503
    assert json.loads(role.answer("/", keeper.note, clock.now_s)[1])["lag_s"] is None


def test_each_change_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "nospof")
    keeper, server, clock = keeper_of(FRESH, PRIMARY)
    for _ in range(20):
        clock.now_s += 0.1
        keeper.step()
    server.fails = OSError("gone")
    for _ in range(20):
        clock.now_s += 0.1
        keeper.step()
    assert caplog.messages == [
        "db1: waits for a replica with every write",
        "db1: takes writes: is primary",
        "db1: is primary",
        "db1: server does not answer: gone",
    ]


# --- over the wire --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + pem)
    return path


@pytest.fixture
def door(certificate: Path) -> Iterator[role.Door]:
    keeper, _, clock = keeper_of(WRITABLE, PRIMARY)
    clock.now_s += 0.1
    keeper.step()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with role.Door(keeper, context) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


def get(door: role.Door, path: str, certificate: Path) -> tuple[int, str]:
    context = ssl.create_default_context(cafile=str(certificate))
    try:
        with urllib.request.urlopen(
            f"https://127.0.0.1:{door.server_address[1]}{path}", context=context, timeout=5
        ) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_answers_over_https(door: role.Door, certificate: Path) -> None:
    assert get(door, "/primary", certificate) == (200, "primary\n")
    assert get(door, "/replica?x=1", certificate) == (503, "primary\n")
    assert get(door, "/other", certificate)[0] == 404
    assert json.loads(get(door, "/", certificate)[1])["voters"] == 2


def test_a_loop_that_hangs_turns_answers_into_no(door: role.Door, certificate: Path) -> None:
    clock = door.keeper.clock
    assert isinstance(clock, Clock)
    clock.now_s += 2
    assert get(door, "/primary", certificate)[0] == 503


def test_configuration_without_a_member_for_the_seed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seed").write_text("db9\n")
    (tmp_path / "accounts").write_text(json.dumps({"replication": {"user": "r", "password": "p"}}))
    wrong = {"first_primary_file": str(tmp_path / "seed"), "accounts_file": str(tmp_path / "accounts")}
    (tmp_path / "role.json").write_text(json.dumps({**wrong, "members": {"db1": "127.0.0.1"}, "tier": "database"}))
    assert role.main(["--config", str(tmp_path / "role.json")]) == 1
