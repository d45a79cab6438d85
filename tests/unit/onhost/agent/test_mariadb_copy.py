"""How a database host gets its data, and keeps what it alone had written: half of it is never taken for whole."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from certificates import Authority

from nospof.onhost import database_donor
from nospof.onhost.agent import mariadb_log
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb_copy import Places, copy_from, first_data, has_data, recover, save_beyond
from nospof.onhost.agent.mariadb_reception import Donor, Limits, Meter
from nospof.onhost.agent.model import BEGINNING, Position
from nospof.onhost.copy_stream import MIB, Kind, frame, whole

QUICK = Limits(silence_s=1.0, grace_s=20.0, program_s=2.0, slack_mib=1)
Programs = Callable[[str, str], Path]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Puts a fake program on PATH: its name, its lines of sh. Those of a copy that goes well are there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    put("mbstream", 'mkdir "$3/mysql"; cat >"$3/ibdata1"; echo backup >"$3/backup-my.cnf"')
    put("mariadb-backup", PREPARE)
    put("mariadbd", f'echo "$@" >{tmp_path}/mariadbd.argv; cat >{tmp_path}/mariadbd.stdin')
    put("mariadb-install-db", 'for word; do case $word in --datadir=*) mkdir "${word#*=}/mysql";; esac; done')
    return put


PREPARE = """\
for word; do case $word in --target-dir=*) into=${word#*=};; esac; done
printf 'binlog.000003\\t1234\\t0-1-100\\n' >"$into/mariadb_backup_binlog_info"
printf 'server_version = 11.8.6-MariaDB-0+deb13u1-log\\n' >"$into/mariadb_backup_info"
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A data folder with old data, and the package's marks."""
    data = tmp_path / "data"
    (data / "mysql").mkdir(parents=True)
    (data / "lost+found").mkdir()
    (data / "ibdata1").write_text("old")
    (data / "binlog.000001").write_text("old log")
    (data / "debian-11.8.flag").touch()
    (data / "mariadb_upgrade_info").write_text("11.8.6-MariaDB\n")
    return Places(data, getpass.getuser())


# --- donors --------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class FakeDonor:
    """Answers each question over TLS with the given bytes, then hangs or hangs up; tier and host in its certificate."""

    def __init__(self, folder: Path, authority: Authority, tier: str = "database") -> None:
        self.answers = {"/size": page(json.dumps({"data_bytes": 4})), "/copy": page(None, frame(Kind.DATA, b"new!") + whole(4))}
        self.hangs = False
        self.asked: list[str] = []
        self._held: list[ssl.SSLSocket] = []
        own, mine = authority.files(folder, "db1", tier), authority.files(folder, "db2", "database")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(own.certificate, own.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.donor = Donor("db1", "127.0.0.1", port, "database", own.ca, mine.certificate, mine.key)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
                caller = self._context.wrap_socket(plain, server_side=True)
                path = caller.recv(4096).split()[1].decode()
                self.asked.append(path)
                caller.sendall(self.answers[path])
            except (OSError, IndexError):
                continue
            if path == "/copy" and self.hangs:
                self._held.append(caller)
            else:
                caller.close()


def page(text: str | None, stream: bytes = b"") -> bytes:
    length = "" if text is None else f"Content-Length: {len(text)}\r\n"
    return f"HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n{text or ''}".encode() + stream


@pytest.fixture
def fake(tmp_path: Path, authority: Authority) -> FakeDonor:
    return FakeDonor(tmp_path, authority)


def silent(_: str) -> None:
    pass


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- a copy --------------------------------------------------------------------------------------------------------------
def test_copy_replaces_all_data_and_knows_its_position(
    places: Places, programs: Programs, fake: FakeDonor, tmp_path: Path
) -> None:
    said: list[str] = []
    copy_from(places, fake.donor, said.append, QUICK)
    assert content(places.data) == {
        "ibdata1": "new!",
        "binlog.state": "0-1-100\n",
        "debian-11.8.flag": "",
        "mariadb_upgrade_info": "11.8.6-MariaDB\n",
    }
    assert (places.data / "lost+found").is_dir()
    assert not places.work.exists()
    statements = (tmp_path / "mariadbd.stdin").read_text().splitlines()
    assert statements[0] == "DELETE FROM mysql.gtid_slave_pos;"
    assert statements[1].endswith("VALUES (0, 1, 1, 100);")
    assert "--bootstrap" in (tmp_path / "mariadbd.argv").read_text()
    assert said[-1] == "is a copy of db1 at 0-1-100"


def test_copy_of_a_donor_of_another_version_is_to_be_upgraded(places: Places, programs: Programs, fake: FakeDonor) -> None:
    programs("mariadb-backup", PREPARE.replace("11.8.6", "10.11.14"))
    copy_from(places, fake.donor, silent, QUICK)
    assert not (places.data / "mariadb_upgrade_info").exists()


def test_copy_of_a_donor_that_never_wrote_a_log_begins_at_the_beginning(
    places: Places, programs: Programs, fake: FakeDonor, tmp_path: Path
) -> None:
    programs("mariadb-backup", PREPARE.replace("\\t0-1-100", ""))
    copy_from(places, fake.donor, silent, QUICK)
    assert not (places.data / "binlog.state").exists()
    assert (tmp_path / "mariadbd.stdin").read_text() == "DELETE FROM mysql.gtid_slave_pos;\n"


def test_copy_comes_from_the_real_donor_program(
    places: Places, programs: Programs, authority: Authority, tmp_path: Path
) -> None:
    own, mine = authority.files(tmp_path, "db1", "database"), authority.files(tmp_path, "db2", "database")
    told = {"tier": "database", "host": "db1", "members": {"db1": "", "db2": ""}, "copy_port": 0}
    (tmp_path / "donor.json").write_text(json.dumps({**told, "ca": own.ca, "certificate": own.certificate, "key": own.key}))
    programs("mariadb", f"printf '{places.data}/\\t\\t\\n'")
    programs("mariadb-backup", f'case "$*" in *--stream*) head -c 3000000 /dev/zero;; *) {PREPARE}\n;; esac')
    door, listener = database_donor.Door(tmp_path / "donor.json"), socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    thread = threading.Thread(target=door.serve, args=(listener, 600.0), daemon=True)
    thread.start()
    donor = Donor("db1", "127.0.0.1", port, "database", mine.ca, mine.certificate, mine.key)
    copy_from(places, donor, silent, Limits(silence_s=5, slack_mib=4))
    assert (places.data / "ibdata1").stat().st_size == 3_000_000
    door.close()
    socket.create_connection(("127.0.0.1", port)).close()
    thread.join(10)


# --- what goes wrong -----------------------------------------------------------------------------------------------------
@pytest.fixture
def before(places: Places) -> Iterator[dict[str, str]]:
    """What must be there afterwards as before."""
    found = content(places.data)
    yield found
    assert content(places.data) == found
    assert not places.work.exists()


def fails(places: Places, donor: Donor, limits: Limits = QUICK) -> str:
    with pytest.raises(EngineError) as caught:
        copy_from(places, donor, silent, limits)
    return str(caught.value)


NEW = frame(Kind.DATA, b"new!")


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "ended before the copy was whole"),
        (NEW, "ended before the copy was whole"),
        (NEW[:-1], "ended before the copy was whole"),
        (NEW + whole(4)[:-1], "ended before the copy was whole"),
        (NEW + whole(5), "4 bytes were received, and 5 were sent"),
        (NEW + frame(Kind.FAILED, b"mariadb-backup failed with 1: no"), "mariadb-backup failed with 1: no"),
        (b"<html>hello</html>", "no copy of a database"),
        (frame(Kind.DATA, bytes(1 << 18)) * 10, "more came than was announced"),
    ],
    ids=["nothing", "no end", "half a piece", "half an end", "another length", "it failed", "a page", "far more than said"],
)
def test_stream_that_is_not_whole_leaves_the_old_data(
    places: Places, programs: Programs, fake: FakeDonor, before: dict[str, str], stream: bytes, why: str
) -> None:
    fake.answers["/copy"] = page(None, stream)
    assert why in fails(places, fake.donor)


def test_donor_that_hangs_is_given_up(places: Places, programs: Programs, fake: FakeDonor, before: dict[str, str]) -> None:
    fake.answers["/copy"], fake.hangs = page(None, NEW), True
    assert fails(places, fake.donor) == "db1 sent nothing for 1 s"


def test_donor_that_is_alive_for_ever_is_given_up(
    places: Places, programs: Programs, fake: FakeDonor, before: dict[str, str]
) -> None:
    fake.answers["/copy"] = page(None, NEW + frame(Kind.WAIT))
    assert "too slow" in fails(places, fake.donor, Limits(silence_s=1, grace_s=-10.0, slack_mib=1))


def test_host_that_does_not_answer_is_told(places: Places, programs: Programs, fake: FakeDonor, before: dict[str, str]) -> None:
    fake.answers["/size"] = b""
    assert fails(places, fake.donor).startswith("the copy from db1 failed")


def test_donor_that_is_busy_says_so(places: Places, programs: Programs, fake: FakeDonor, before: dict[str, str]) -> None:
    fake.answers["/copy"] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
    assert fails(places, fake.donor) == "db1 gives no copy: busy"


@pytest.mark.parametrize("said", ["", "[]", '{"data_bytes": "much"}', '{"data_bytes": -1}'])
def test_size_that_is_none_is_refused(
    places: Places, programs: Programs, fake: FakeDonor, before: dict[str, str], said: str
) -> None:
    fake.answers["/size"] = page(said)
    fails(places, fake.donor)
    assert fake.asked == ["/size"]


def test_copy_that_does_not_fit_is_refused_with_the_figures(
    places: Places, programs: Programs, fake: FakeDonor, before: dict[str, str]
) -> None:
    fake.answers["/size"] = page(json.dumps({"data_bytes": 1 << 60}))
    why = fails(places, fake.donor)
    assert "its 1073741824.0 GiB and what is needed to prepare them take 1181116006.4 GiB" in why
    assert fake.asked == ["/size"]


def test_donor_with_a_certificate_of_another_tier_is_not_believed(
    places: Places, programs: Programs, authority: Authority, before: dict[str, str], tmp_path: Path
) -> None:
    assert "not of tier database" in fails(places, FakeDonor(tmp_path, authority, tier="web").donor)


@pytest.mark.parametrize(
    ("program", "script", "why"),
    [
        ("mbstream", "cat >/dev/null; echo disk full; exit 1", "mbstream failed: disk full"),
        ("mbstream", "exec sleep 600", "mbstream did not end within 1 s"),
        ("mariadb-backup", "echo bad redo log; exit 1", "mariadb-backup failed with 1: bad redo log"),
        ("mariadb-backup", ":", "does not say at which position"),
        ("mariadb-backup", PREPARE.replace("0-1-100", "0-1-1;DROP"), "a position that is none"),
        ("mariadbd", "cat >/dev/null; exit 1", "mariadbd failed with 1"),
        ("mariadbd", "exec sleep 600", "mariadbd did not end within 2 s"),
    ],
)
def test_program_that_fails_or_hangs_leaves_the_old_data(
    places: Places, programs: Programs, fake: FakeDonor, before: dict[str, str], program: str, script: str, why: str
) -> None:
    programs(program, script)
    assert why in fails(places, fake.donor)


def test_copy_larger_than_a_pipe_to_an_unpacker_that_died_is_an_error(
    places: Places, programs: Programs, fake: FakeDonor, before: dict[str, str]
) -> None:
    programs("mbstream", "echo cannot create a file; exit 1")
    fake.answers["/size"] = page(json.dumps({"data_bytes": 10 * MIB}))
    fake.answers["/copy"] = page(None, frame(Kind.DATA, bytes(1 << 18)) * 40 + whole(10 * MIB))
    assert fails(places, fake.donor) == "mbstream ended: cannot create a file"


# --- crashes -------------------------------------------------------------------------------------------------------------
KILLED = """\
import sys
from pathlib import Path
from nospof.onhost.agent.mariadb_copy import Donor, Places, copy_from
host, address, port, *rest = sys.argv[3:]
copy_from(Places(Path(sys.argv[1]), sys.argv[2]), Donor(host, address, int(port), *rest), print)
"""


@pytest.mark.parametrize("program", ["mbstream", "mariadb-backup", "mariadbd"])
def test_copy_that_was_killed_is_forgotten_and_made_anew(
    places: Places, programs: Programs, fake: FakeDonor, tmp_path: Path, program: str
) -> None:
    old = content(places.data)
    path = tmp_path / "bin" / program
    good = path.read_text()
    programs(program, "kill -9 $PPID")
    d = fake.donor
    words = [str(places.data), places.user, d.host, d.address, str(d.port), d.tier, d.ca, d.certificate, d.key]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert places.work.exists()

    assert {name: text for name, text in content(places.data).items() if not name.startswith(places.work.name)} == old
    path.write_text(good)
    copy_from(places, fake.donor, silent, QUICK)
    assert content(places.data)["ibdata1"] == "new!"
    assert not places.work.exists()


@pytest.mark.parametrize("moved", [(), ("ibdata1",), ("ibdata1", "mysql"), ("ibdata1", "mysql", "binlog.state")])
def test_crash_while_new_data_is_moved_in_leaves_the_new_data_whole(places: Places, moved: Sequence[str]) -> None:
    moving = places.work / "moving"
    (moving / "mysql").mkdir(parents=True)
    (moving / "mysql" / "user.frm").write_text("new")
    (moving / "ibdata1").write_text("new")
    (moving / "binlog.state").write_text("0-1-7\n")
    for entry in places.data.iterdir():
        if entry.name in ("ibdata1", "binlog.000001", "mariadb_upgrade_info"):
            entry.unlink()
    (places.data / "mysql").rmdir()
    for name in moved:
        (moving / name).rename(places.data / name)

    assert has_data(places)
    recover(places)
    expected = {"ibdata1": "new", "mysql/user.frm": "new", "binlog.state": "0-1-7\n", "debian-11.8.flag": ""}
    assert content(places.data) == expected
    assert not places.work.exists()


def test_crash_once_the_new_data_is_whole_gives_up_the_old(places: Places) -> None:
    new = places.work / "whole"
    new.mkdir(parents=True)
    (new / "ibdata1").write_text("new")
    recover(places)
    assert content(places.data) == {"ibdata1": "new", "debian-11.8.flag": ""}


def test_nothing_was_interrupted_and_nothing_is_changed(places: Places) -> None:
    old = content(places.data)
    recover(places)
    assert content(places.data) == old


# --- the first data ------------------------------------------------------------------------------------------------------
def test_first_data_is_made_where_there_is_none(tmp_path: Path, programs: Programs) -> None:
    places = Places(tmp_path / "none", getpass.getuser())
    assert not has_data(places)
    first_data(places, QUICK)
    assert has_data(places)
    assert [entry.name for entry in places.data.iterdir()] == ["mysql"]


def test_first_data_never_touches_data(places: Places, programs: Programs, tmp_path: Path) -> None:
    programs("mariadb-install-db", f"touch {tmp_path}/ran")
    old = content(places.data)
    first_data(places, QUICK)
    assert content(places.data) == old
    assert not (tmp_path / "ran").exists()


def test_first_data_that_failed_is_made_by_the_next_call(tmp_path: Path, programs: Programs) -> None:
    places = Places(tmp_path / "none", getpass.getuser())
    good = programs("mariadb-install-db", "exit 1").parent / "mariadb-install-db"
    with pytest.raises(EngineError, match="mariadb-install-db failed with 1"):
        first_data(places, QUICK)
    assert not has_data(places)
    good.write_text('#!/bin/sh\nfor word; do case $word in --datadir=*) mkdir "${word#*=}/mysql";; esac; done\n')
    first_data(places, QUICK)
    assert has_data(places)


def test_packages_marks_alone_are_no_data(tmp_path: Path) -> None:
    for name in ("debian-11.8.flag", "mariadb_upgrade_info"):
        (tmp_path / name).touch()
    assert not has_data(Places(tmp_path))


# --- progress ------------------------------------------------------------------------------------------------------------
def test_progress_says_how_much_how_fast_and_how_long_once_a_second() -> None:
    times = iter([0.0, 0.5, 10.0, 10.5, 20.0])
    said: list[str] = []
    meter = Meter(20 << 30, said.append, lambda: next(times))
    for received in (1 << 30, 5 << 30, 6 << 30, 20 << 30):
        meter.show(received)
    assert said == ["5.0 of 20.0 GiB, 512 MiB/s, about 30 s left", "20.0 of 20.0 GiB, 1024 MiB/s, nearly all"]


# --- what the log has beyond a position ----------------------------------------------------------------------------------
class Log:
    """Writes the files of a binary log, event by event, as the server does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number, self.written = folder, 0, b""

    def file(self, *before: tuple[int, int, int]) -> Log:
        """Begin a file; `before`: (domain, server, number) of what had been written."""
        self.number, self.written = self.number + 1, mariadb_log.MAGIC
        self._add(mariadb_log.FORMAT, bytes(80) + b"\x01")
        return self._add(mariadb_log.GTID_LIST, struct.pack("<I", len(before)) + b"".join(map(_gtid_entry, before)))

    def begin(self, number: int, flags: int = 0) -> Log:
        return self._add(mariadb_log.GTID, struct.pack("<QIB", number, 0, flags) + bytes(6))

    def rows(self) -> Log:
        return self._add(23, b"rows")

    def query(self, text: str) -> Log:
        return self._add(mariadb_log.QUERY, struct.pack("<IIBHH", 1, 0, 4, 0, 3) + b"var" + b"shop\0" + text.encode())

    def commit(self) -> Log:
        return self._add(mariadb_log.XID, bytes(8))

    def transactions(self, *numbers: int) -> Log:
        for number in numbers:
            self.begin(number).rows().commit()
        return self

    def end(self, cut: int = 0, more: bytes = b"") -> Path:
        """Write the file, without its last `cut` bytes, and with `more`."""
        path = self.folder / f"binlog.{self.number:06d}"
        path.write_bytes(self.written[: len(self.written) - cut] + more)
        return path

    def _add(self, kind: int, body: bytes) -> Log:
        length = mariadb_log.HEADER.size + len(body) + 4
        event = mariadb_log.HEADER.pack(1_795_249_839, kind, 1, length, len(self.written) + length, 0) + body
        self.written += event + struct.pack("<I", zlib.crc32(event))
        return self


def _gtid_entry(gtid: tuple[int, int, int]) -> bytes:
    return struct.pack("<IIQ", *gtid)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    (tmp_path / "log").mkdir()
    return Log(tmp_path / "log")


def at(number: int) -> Position:
    return Position((("0", number),), "1")


def numbers(log: Log, keeps: Position) -> list[int]:
    return [one.number for part in mariadb_log.beyond(log.folder, "binlog", keeps) for one in part.transactions]


def torn(log: Log, keeps: Position) -> list[str]:
    return [part.torn for part in mariadb_log.beyond(log.folder, "binlog", keeps) if part.torn]


def test_all_beyond_the_position_is_found_in_all_files(log: Log) -> None:
    log.file().transactions(1, 2).end()
    log.file((0, 1, 2)).transactions(3, 4).end()
    log.file((0, 1, 4)).transactions(5).end()
    assert [numbers(log, at(number)) for number in (1, 2, 3, 4, 5, 6)] == [[2, 3, 4, 5], [3, 4, 5], [4, 5], [5], [], []]
    assert numbers(log, BEGINNING) == [1, 2, 3, 4, 5]


def test_files_older_than_the_position_are_not_read(log: Log) -> None:
    (log.folder / "binlog.000001").write_bytes(b"nothing that could be read")
    log.number = 1
    log.file((0, 1, 2)).transactions(3).end()
    assert (numbers(log, at(2)), torn(log, at(2))) == ([3], [])
    assert torn(log, at(1)), "the older file may have what is beyond 1"


def test_transaction_counts_by_where_its_bytes_are(log: Log) -> None:
    path = log.file().transactions(1, 2, 3).end()
    (part,) = mariadb_log.beyond(log.folder, "binlog", at(1))
    assert part.transactions[-1].stop == path.stat().st_size
    assert part.transactions[0].stop == part.transactions[1].start


def test_statements_without_commit_and_with_one_are_both_whole(log: Log) -> None:
    log.file().begin(1, mariadb_log.IS_ONE_STATEMENT).query("CREATE TABLE a (b INT)")
    log.begin(2).query("BEGIN").query("INSERT INTO a VALUES ('COMMIT')").query("COMMIT").end()
    assert (numbers(log, BEGINNING), torn(log, BEGINNING)) == ([1, 2], [])


def test_transaction_without_its_end_is_not_whole_and_said(log: Log) -> None:
    log.file().transactions(1, 2).begin(3).rows().end()
    assert numbers(log, at(1)) == [2]
    assert torn(log, at(1)) == ["transaction 3 is not whole"]


def test_every_cut_leaves_exactly_the_whole_transactions(log: Log) -> None:
    log.file().transactions(1)
    first = len(log.written)
    log.transactions(2)
    second = len(log.written)
    for cut in range(second - first + 1):
        log.end(cut)
        assert numbers(log, BEGINNING) == ([1, 2] if cut == 0 else [1])
        assert bool(torn(log, BEGINNING)) is (0 < cut < second - first)


@pytest.mark.parametrize("more", [bytes(100), b"\xff" * 100, bytes(5)], ids=["zeros", "ones", "few"])
def test_what_a_power_cut_left_behind_the_end_is_not_read(log: Log, more: bytes) -> None:
    log.file().transactions(1).end(more=more)
    assert numbers(log, BEGINNING) == [1]
    assert torn(log, BEGINNING)


def test_event_with_a_wrong_checksum_ends_the_file_but_not_the_search(log: Log) -> None:
    log.file().transactions(1)
    good = len(log.written)
    path = log.transactions(2).end()
    changed = bytearray(path.read_bytes())
    changed[good + 30] ^= 1
    path.write_bytes(changed)
    log.file((0, 1, 2)).transactions(3).end()
    assert numbers(log, BEGINNING) == [1, 3]
    assert "checksum" in torn(log, BEGINNING)[0]


def test_empty_and_missing_files_have_nothing(log: Log) -> None:
    assert numbers(log, BEGINNING) == []
    (log.folder / "binlog.000001").touch()
    assert numbers(log, BEGINNING) == []


def test_files_are_ordered_by_number_not_by_letters(log: Log) -> None:
    log.number = 999_998
    log.file().transactions(1).end()
    log.file((0, 1, 1)).transactions(2).end()
    (log.folder / "binlog.index").touch()
    assert [path.name for path in mariadb_log.files(log.folder, "binlog")] == ["binlog.999999", "binlog.1000000"]
    assert numbers(log, BEGINNING) == [1, 2]


# --- saving it -----------------------------------------------------------------------------------------------------------
SQL = """\
echo "# $4 $5"
echo '/*M!100001 SET @@session.gtid_domain_id=0*//*!*/;'
echo '/*M!100001 SET @@session.server_id=1*//*!*/;'
echo '/*M!100001 SET @@session.gtid_seq_no=12*//*!*/;'
echo 'COMMIT/*!*/;'
"""


@pytest.fixture
def stopped(log: Log, programs: Programs) -> Places:
    programs("mariadb-binlog", SQL.replace("$4 $5", "$3 $4"))
    return Places(log.folder, getpass.getuser())


def test_nothing_beyond_makes_no_file(log: Log, stopped: Places, tmp_path: Path) -> None:
    log.file().transactions(1).end()
    assert save_beyond(stopped, at(1), tmp_path / "saved") == 0
    assert not (tmp_path / "saved").exists()


def test_what_is_beyond_is_saved_without_its_numbers_for_its_owner_only(log: Log, stopped: Places, tmp_path: Path) -> None:
    log.file().transactions(1)
    start = len(log.written)
    log.transactions(2, 3).end()
    assert save_beyond(stopped, at(1), tmp_path / "saved") == 2
    (saved,) = (tmp_path / "saved").iterdir()
    assert saved.name == "beyond-20261121T083039Z-2-3.sql"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    lines = saved.read_text().splitlines()
    assert lines[0].startswith("-- 2 transactions beyond 0:1@1,")
    assert lines[-2:] == [f"# --start-position={start} --stop-position={len(log.written)}", "COMMIT/*!*/;"]


def test_saving_again_makes_no_second_file(log: Log, stopped: Places, tmp_path: Path) -> None:
    log.file().transactions(1, 2).end()
    counts = [save_beyond(stopped, at(1), tmp_path / "saved") for _ in range(3)]
    assert (counts, len(list((tmp_path / "saved").iterdir()))) == ([1, 1, 1], 1)


def test_file_of_the_same_name_with_other_content_is_kept(log: Log, stopped: Places, tmp_path: Path) -> None:
    log.file().transactions(1, 2).end()
    (tmp_path / "saved").mkdir()
    other = tmp_path / "saved" / "beyond-20261121T083039Z-2-2.sql"
    other.write_text("other")
    assert save_beyond(stopped, at(1), tmp_path / "saved") == 1
    assert other.read_text() == "other"
    assert (tmp_path / "saved" / "beyond-20261121T083039Z-2-2.2.sql").read_text().startswith("-- 1 transactions")


def test_torn_log_is_no_failure_and_the_file_says_so(log: Log, stopped: Places, tmp_path: Path) -> None:
    log.file().transactions(1, 2, 3).end(cut=3)
    assert save_beyond(stopped, at(1), tmp_path / "saved") == 1
    (saved,) = (tmp_path / "saved").iterdir()
    assert "-- The log was torn, binlog.000001: transaction 3 is not whole" in saved.read_text()


@pytest.mark.parametrize("script", ["echo COMMIT; exit 1", "echo COMMIT; exec sleep 600"])
def test_reader_that_fails_or_hangs_is_an_error_and_leaves_no_file(
    log: Log, stopped: Places, programs: Programs, tmp_path: Path, script: str
) -> None:
    programs("mariadb-binlog", script)
    log.file().transactions(1, 2).end()
    with pytest.raises(EngineError, match=r"mariadb-binlog failed with binlog\.000001"):
        save_beyond(stopped, at(1), tmp_path / "saved", Limits(program_s=1.0))
    assert list((tmp_path / "saved").iterdir()) == []
