"""How a MySQL host gets its data: a clone of another's, or an empty data folder; and saving what it alone had written.

The server is stopped all the while. A server of its own, which nobody reaches, has the clone plugin fetch another host's data
into a new folder inside the data folder; how that is put in place, and what a crash meanwhile leaves, is as with MariaDB. A
clone knows its position, has its donor's accounts, and no identity: the server makes itself a new UUID, so that no number which
it once gave to a transaction that was given up is ever given to another one.
Source: https://dev.mysql.com/doc/refman/9.7/en/clone-plugin-remote.html (named directory, TLS, donor list).
"""

from __future__ import annotations

import base64
import logging
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pymysql

from nospof.onhost.agent import mysql_log
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb_copy import Places, _new_folder, _put_in_place, _told, has_data, recover
from nospof.onhost.agent.mariadb_reception import DEFAULTS, Limits, gib
from nospof.onhost.agent.mariadb_saved import Printer, save
from nospof.onhost.agent.mariadb_seen import Settings
from nospof.onhost.agent.model import Position
from nospof.onhost.agent.programs import run
from nospof.onhost.mariadb_server import Server as Sql
from nospof.onhost.mariadb_server import quoted

IN_USE = b"# Warning: this binlog is either in use"
# A line of an event as mysqlbinlog prints it; of its first one, bytes that say what it is.
BASE64 = re.compile(rb"[A-Za-z0-9+/]{76}\n")
KIND_AT, FLAGS_AT, FORMAT, VERSIONS_AT = 4, 17, 15, 19
# Behind its header: the log's version, and the server's as text. Rows may look like the rest by chance.
VERSIONS = re.compile(rb"\x04\x00\d+\.\d+\.\d+[ -~]*\x00*")
# A server that serves nobody needs no keys, which take time to make.
SMALL = (
    "--innodb-redo-log-capacity=8M",
    "--auto-generate-certs=OFF",
    "--caching-sha2-password-auto-generate-rsa-keys=OFF",
)
START_S = 60.0
OF_US = "nospof-has-its-uuid"
# Folders of a data folder in which nobody has anything.
SYSTEM = {"mysql", "performance_schema", "sys", "#innodb_redo", "#innodb_temp", "lost+found"}
ITS_OWN = ("auto.cnf", "binlog.*", "relay.*", "*.pem", "debian-*.flag", "lost+found", OF_US)
FIRST_ACCOUNT = """\
INSTALL PLUGIN auth_socket SONAME 'auth_socket.so';
ALTER USER 'root'@'localhost' IDENTIFIED WITH auth_socket;
"""
PROGRESS = """\
SELECT COALESCE(SUM(data), 0) AS done, COALESCE(SUM(estimate), 0) AS whole FROM performance_schema.clone_progress
"""

log = logging.getLogger("nospof")


def _as_if_closed(line: bytes) -> bytes:
    """Without the mark of a log that is in use, which the next start takes away: saved again, it must be the same."""
    if line.startswith(IN_USE):
        return b""
    if not BASE64.fullmatch(line):
        return line
    event = bytearray(base64.b64decode(line))
    if event[KIND_AT] != FORMAT or not VERSIONS.fullmatch(event, VERSIONS_AT):
        return line
    event[FLAGS_AT] &= ~1 & 0xFF
    return base64.b64encode(event) + b"\n"


# Without the numbers they had: they get new ones where they are replayed.
PRINTER = Printer(("mysqlbinlog", "--no-defaults", "--verbose", "--skip-gtids"), "mysql", _as_if_closed)


def be_somebody(places: Places, keep: Path, limits: Limits = DEFAULTS) -> None:
    """Have the server make itself a UUID, unless it did under us: what a package or an image brought may be on all hosts.

    What the package made is kept as the empty database that a copy begins with; `keep` as `copy_from` says.
    """
    mark = places.data / OF_US
    with _told("the data folder"):
        if not mark.exists():
            kept = _kept(keep)
            if not kept.exists() and not {one.name for one in places.data.iterdir() if one.is_dir()} - SYSTEM:
                _pack(places.data, kept, limits)
            (places.data / "auto.cnf").unlink(missing_ok=True)
            mark.touch()


def first_data(places: Places, keep: Path, limits: Limits = DEFAULTS) -> None:
    """Make an empty database as Debian's package does, where there is no data at all; `keep` as `copy_from` says.

    Raises EngineError.
    """
    recover(places)
    if has_data(places):
        return
    with _new_folder(places) as work:
        new = work / "data"
        _give(places, work)
        _make_empty(places, new, keep, limits)
        _put_in_place(places, new)


def copy_from(
    places: Places, node: str, settings: Settings, keep: Path, progress: Callable[[str], None], limits: Limits = DEFAULTS
) -> None:
    """Replace all data by a clone of `node`'s, which knows its position; what was here goes only once the clone is whole.

    `keep`: a folder for what the next clone need not make again. `progress` hears about once a second how far it is. Raises
    EngineError, with the data as it was before.
    """
    recover(places)
    with _new_folder(places) as work, _told("the new data"):
        seed, new = work / "seed", work / "data"
        _give(places, work)
        progress(f"prepares to clone {node}")
        _make_empty(places, seed, keep, limits)
        with _server(places, seed, node, settings, _kept(keep)) as sql:
            _clone(sql, new, node, settings, progress, limits)
        _put_in_place(places, new)
    progress(f"is a clone of {node}")


def save_beyond(places: Places, keeps: Position, into: Path, limits: Limits = DEFAULTS) -> int:
    """Write all transactions that the stopped server's log has beyond `keeps` as SQL to a new file; return their number.

    Raises EngineError.
    """
    recover(places)
    with _told("the binary log"):
        return save(mysql_log.beyond(places.data, places.binlog, keeps), keeps, into, limits.program_s, PRINTER)


def _give(places: Places, *paths: Path) -> None:
    """MySQL's programs do all they do as the server's user."""
    for path in paths:
        shutil.chown(path, places.user)


def _make_empty(places: Places, new: Path, keep: Path, limits: Limits) -> None:
    """Make the data of an empty server, or unpack what this host's server made before.

    Who comes back after a crash waits for it: it takes the server 4 s, and 7 on a busy host; to unpack it, a half.
    """
    kept = _kept(keep)
    if kept.exists():
        new.mkdir()
        try:
            run("tar", "--extract", "--gzip", f"--file={kept}", f"--directory={new}", limit_s=limits.program_s)
        except EngineError as error:
            log.warning("makes an empty database anew: %s", error)
            kept.unlink(missing_ok=True)
            shutil.rmtree(new)
        else:
            return
    first = new.with_name("first.sql")
    first.write_text(FIRST_ACCOUNT)
    _give(places, first)
    words = ("--initialize-insecure", f"--user={places.user}", f"--datadir={new}", f"--init-file={first}", *SMALL)
    run("mysqld", "--no-defaults", *words, limit_s=limits.program_s)
    _pack(new, kept, limits)


def _pack(made: Path, kept: Path, limits: Limits) -> None:
    """Keep the data of an empty server, without what is the server's own; where that fails it is made when it is needed."""
    try:
        kept.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for old in (*kept.parent.glob("empty-*"), *kept.parent.glob(".empty-*")):
            old.unlink()
        with tempfile.NamedTemporaryFile(dir=kept.parent, prefix=".empty-") as packed:  # readable by root only
            without = (f"--exclude=./{name}" for name in ITS_OWN)
            words = ("--create", "--gzip", f"--file={packed.name}", f"--directory={made}", *without, ".")
            run("tar", *words, limit_s=limits.program_s)
            os.link(packed.name, kept)
    except (EngineError, OSError) as error:
        log.warning("what an empty database is made of is not kept: %s", error)


def _kept(keep: Path) -> Path:
    """Where the data of an empty server is kept. The name tells which server is installed: what another one made is not its."""
    program = shutil.which("mysqld")
    if program is None:
        raise EngineError("mysqld is not installed")
    seen = Path(program).stat()
    return keep / f"empty-{seen.st_size}-{seen.st_mtime_ns}.tar.gz"


@contextmanager
def _server(places: Places, data: Path, node: str, settings: Settings, kept: Path) -> Iterator[Sql]:
    """A server that fetches and serves nobody: only root can reach its socket. Where it does not start, `kept` is no good."""
    socket, log = data.parent / "socket", data.parent / "log"
    argv = [
        *("mysqld", "--no-defaults", f"--user={places.user}", f"--datadir={data}", *SMALL, f"--socket={socket}"),
        *("--skip-networking", "--mysqlx=OFF", "--skip-log-bin", f"--pid-file={data.parent / 'pid'}", f"--log-error={log}"),
        *("--plugin-load-add=mysql_clone.so", f"--clone-valid-donor-list={settings.members[node]}:{settings.port}"),
        *(f"--clone-ssl-ca={settings.ca}", f"--clone-ssl-cert={settings.certificate}", f"--clone-ssl-key={settings.key}"),
    ]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield _answering(running, socket, log, kept)
        finally:
            running.kill()


def _answering(running: subprocess.Popen[bytes], socket: Path, log: Path, kept: Path) -> Sql:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and running.poll() is None:
        sql = Sql(str(socket), None)
        try:
            sql.rows("DO 0")
        except (pymysql.Error, OSError):
            sql.forget()
            time.sleep(0.1)
        else:
            return sql
    kept.unlink(missing_ok=True)
    raise EngineError(f"the server that is to fetch the copy does not start: {_end_of(log)}")


def _clone(sql: Sql, new: Path, node: str, settings: Settings, progress: Callable[[str], None], limits: Limits) -> None:
    errors: list[str] = []
    statement = (
        f"CLONE INSTANCE FROM {quoted(settings.user)}@{quoted(settings.members[node])}:{settings.port} "
        f"IDENTIFIED BY {quoted(settings.password)} DATA DIRECTORY = {quoted(str(new))} REQUIRE SSL"
    )

    def fetch() -> None:
        try:
            sql.rows(statement)
        except (pymysql.Error, OSError) as error:
            errors.append(str(error.args[-1] if error.args else type(error).__name__))

    fetching = threading.Thread(target=fetch, daemon=True)
    fetching.start()
    _watch(fetching, Sql(sql.path), progress, limits)
    if errors:
        raise EngineError(f"cannot clone {node}: {errors[0]}")


def _watch(fetching: threading.Thread, sql: Sql, progress: Callable[[str], None], limits: Limits) -> None:
    """Tell how far it is, until it ends. Raises EngineError when nothing comes for too long; the server's end ends it then."""
    before, changed_s = -1, time.monotonic()
    while fetching.is_alive():
        fetching.join(1.0)
        with suppress(pymysql.Error, OSError):
            seen = sql.rows(PROGRESS)[0]
            done, whole = int(seen["done"]), int(seen["whole"])
            if done != before:
                before, changed_s = done, time.monotonic()
                progress(f"{gib(done)} of {gib(whole)} GiB")
        if fetching.is_alive() and time.monotonic() - changed_s > limits.silence_s:
            raise EngineError(f"the clone stands still since {limits.silence_s:.0f} s")
    sql.forget()


def _end_of(log: Path) -> str:
    try:
        return " | ".join(log.read_text(errors="replace").splitlines()[-3:])
    except OSError:
        return "it has no log"
