"""How a MariaDB host gets its data: a copy of another's, or an empty data folder; and saving what it alone had written.

The server is stopped all the while. New data is made whole in a folder of its own inside the data folder, and thereby on the
same disk even where that is a volume of its own. One rename (to `whole`) puts it in place: before it, a crash leaves the
old data untouched; after it, the new data is whole, and `recover` finishes moving it. So call `recover` before each start.

The position goes into the files too, so that a started server knows it and nothing is left to be done: that of the binary log
through `binlog.state`, which a server without binary logs reads, that of a replica into its table, by a server that reads SQL
from its standard input only. Tried with 11.8.6: strict mode, promotion and a replica that follows all work from there.
Source: https://mariadb.com/docs/server/server-usage/backup-and-restore/mariadb-backup (prepare, binlog_info).
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nospof.onhost.agent import mariadb_log, mariadb_saved
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb_reception import DEFAULTS, Donor, Limits, gib, receive, size_of
from nospof.onhost.agent.model import Position
from nospof.onhost.agent.programs import run

# Beside the data: what mariadb-backup leaves of a copy once it is prepared.
OF_THE_BACKUP = re.compile(r"(mariadb_backup_|xtrabackup_).*|backup-my\.cnf")
# Beside the data: the package's mark of its version, and a volume's own folder.
NOT_DATA = re.compile(r"debian-.*\.flag|lost\+found")
UPGRADE_INFO = "mariadb_upgrade_info"
GTIDS = re.compile(r"\d+-\d+-\d+(,\d+-\d+-\d+)*")


@dataclass(frozen=True)
class Places:
    """Where the local server keeps its data, whose it is, and what its binary log is called."""

    data: Path = Path("/var/lib/mysql")
    user: str = "mysql"
    binlog: str = "binlog"

    @property
    def work(self) -> Path:
        return self.data / ".nospof-copy"


# --- what the agent calls ------------------------------------------------------------------------------------------------
def has_data(places: Places) -> bool:
    """Whether there is data, or on its way; what a server made that could not start, a log or two, is none."""
    if any((places.work / name).exists() for name in ("whole", "moving")):
        return True
    return (places.data / "mysql").is_dir()


def recover(places: Places) -> None:
    """Finish or forget what a crash interrupted; nothing to do otherwise, and cheap. To be called before each start.

    Raises EngineError.
    """
    with _told("the data folder"):
        if not places.work.exists():
            return
        whole, moving = places.work / "whole", places.work / "moving"
        if whole.exists():
            for entry in _data_entries(places):
                _remove(entry)
            _sync(places.data)
            whole.rename(moving)
            _sync(places.work)
        if moving.exists():
            for entry in moving.iterdir():
                target = places.data / entry.name
                if target.is_dir():
                    _remove(target)  # only somebody who started the server meanwhile can have made it
                entry.rename(target)
            _sync(places.data)
        shutil.rmtree(places.work)


def first_data(places: Places, limits: Limits = DEFAULTS) -> None:
    """Make an empty database as Debian's package does, where there is no data at all. Raises EngineError."""
    recover(places)
    if has_data(places):
        return
    with _new_folder(places) as new:
        words = ("--rpm", "--cross-bootstrap", f"--user={places.user}", "--disable-log-bin", "--skip-test-db")
        # TMPDIR: as the package's own script has it (Debian bug 1022994).
        run("mariadb-install-db", *words, f"--datadir={new}", limit_s=limits.program_s, environment={"TMPDIR": ""})
        _put_in_place(places, new)


def copy_from(places: Places, donor: Donor, progress: Callable[[str], None], limits: Limits = DEFAULTS) -> None:
    """Replace all data by a copy of the donor's, which knows its position; what was here goes only once the copy is whole.

    `progress` hears about once a second how far it is. Raises EngineError, with the data as it was before.
    """
    recover(places)
    size = size_of(donor, limits)
    _require_room(places, donor, size, limits)
    with _new_folder(places) as new:
        received = receive(donor, new, size, progress, limits)
        progress(f"all {gib(received)} GiB received, preparing them")
        run("mariadb-backup", "--prepare", f"--target-dir={new}", limit_s=limits.of_size(received))
        position, version = _told_by_backup(new)
        _tidy(places, new, version)
        _own(places, new)
        _give_position(places, new, position, limits)
        _put_in_place(places, new)
    progress(f"is a copy of {donor.host} at {position or 'its beginning'}")


def save_beyond(places: Places, keeps: Position, into: Path, limits: Limits = DEFAULTS) -> int:
    """Write all transactions that the stopped server's log has beyond `keeps` as SQL to a new file; return their number.

    A log that ends inside a transaction, of which nobody was ever told that it is written, is saved up to there, and the file
    says so. Raises EngineError.
    """
    recover(places)
    with _told("the binary log"):
        parts = mariadb_log.beyond(places.data, places.binlog, keeps)
        return mariadb_saved.save(parts, keeps, into, limits.program_s)


# --- folders -------------------------------------------------------------------------------------------------------------
def _data_entries(places: Places) -> Iterator[Path]:
    """What a copy replaces."""
    for entry in places.data.iterdir():
        if entry != places.work and not NOT_DATA.fullmatch(entry.name):
            yield entry


@contextmanager
def _new_folder(places: Places) -> Iterator[Path]:
    """Make the folder for new data; what is not put in place by the end is removed.

    It has a name of its own, so that a program which outlived a killed agent cannot write into the next one's.
    """
    with _told("the data folder"):
        places.data.mkdir(mode=0o755, parents=True, exist_ok=True)
        places.work.mkdir(mode=0o700)
        try:
            new = Path(tempfile.mkdtemp(prefix="new-", dir=places.work))
            shutil.chown(places.data, places.user)
            shutil.chown(places.work, places.user)
            yield new
        except BaseException:
            if not (places.work / "whole").exists() and not (places.work / "moving").exists():
                shutil.rmtree(places.work, ignore_errors=True)
            raise


def _put_in_place(places: Places, new: Path) -> None:
    """Make the new data the data. The rename is the moment: from then on there is no way back, and `recover` goes on."""
    _own(places, new)
    _sync_disk(places.work)
    new.rename(places.work / "whole")
    _sync(places.work)
    recover(places)


def _own(places: Places, new: Path) -> None:
    """Give the folder to the server's user, who alone may look into it."""
    for folder, _, names in os.walk(new):
        shutil.chown(folder, places.user, places.user)
        for name in names:
            path = Path(folder) / name
            shutil.chown(path, places.user, places.user)
            path.chmod(0o660)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync(folder: Path) -> None:
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(found)
    finally:
        os.close(found)


def _sync_disk(folder: Path) -> None:
    """Bring everything on the folder's file system to the disk: the programs that wrote the files did not."""
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(found) != 0:
            raise OSError(ctypes.get_errno(), "could not bring the new data to the disk")
    finally:
        os.close(found)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, LookupError) as error:
        raise EngineError(f"{what}: {error}") from error


# --- room ----------------------------------------------------------------------------------------------------------------
def _require_room(places: Places, donor: Donor, size: int, limits: Limits) -> None:
    with _told(f"cannot see how much is free in {places.data}"):
        free = shutil.disk_usage(places.data if places.data.exists() else places.data.parent).free
    if limits.most(size) > free:
        raise EngineError(
            f"no room for a copy of {donor.host}: its {gib(size)} GiB and what is needed to prepare them take "
            f"{gib(limits.most(size))} GiB, and {gib(free)} GiB are free in {places.data}; "
            "the old data stays until the new is whole"
        )


# --- what a copy must know -----------------------------------------------------------------------------------------------
def _told_by_backup(new: Path) -> tuple[str, str]:
    """The position of a prepared copy, "" for a donor that never wrote a log, and the version of the donor's server."""
    names = ("mariadb_backup_binlog_info", "xtrabackup_binlog_info")
    found = next((new / name for name in names if (new / name).exists()), None)
    if found is None:
        raise EngineError("the copy does not say at which position it is: the donor writes no binary log")
    words = found.read_text().split()
    position = words[2] if len(words) > 2 else ""
    if position and not GTIDS.fullmatch(position):
        raise EngineError(f"the copy names a position that is none: {position!r}")
    infos = [new / name for name in ("mariadb_backup_info", "xtrabackup_info")]
    text = "".join(info.read_text(errors="replace") for info in infos if info.exists())
    version = re.search(r"^server_version = (\S+)", text, re.MULTILINE)
    return position, version.group(1) if version else ""


def _tidy(places: Places, new: Path, version: str) -> None:
    """Remove what only mariadb-backup needs; keep our mark of the last upgrade if the donor's tables are of that version."""
    for entry in new.iterdir():
        if OF_THE_BACKUP.fullmatch(entry.name):
            _remove(entry)
    mark = places.data / UPGRADE_INFO
    with suppress(FileNotFoundError):
        known = mark.read_text().strip()
        if known and version.startswith(known):
            shutil.copyfile(mark, new / UPGRADE_INFO)


def _give_position(places: Places, new: Path, position: str, limits: Limits) -> None:
    """Write the position where the server will look for it, as what it has written and as what it has applied."""
    gtids = position.split(",") if position else []
    if gtids:
        (new / f"{places.binlog}.state").write_text("".join(f"{gtid}\n" for gtid in gtids))
    rows = ", ".join(_row(gtid, number) for number, gtid in enumerate(gtids, start=1))
    # One statement per line; the server ends at the end of its input, and at once at an error.
    statements = "DELETE FROM mysql.gtid_slave_pos;\n"
    if rows:
        statements += f"INSERT INTO mysql.gtid_slave_pos (domain_id, sub_id, server_id, seq_no) VALUES {rows};\n"
    words = (f"--datadir={new}", f"--user={places.user}", "--skip-log-bin")
    run("mariadbd", *words, "--bootstrap", limit_s=limits.program_s, stdin=statements.encode())


def _row(gtid: str, number: int) -> str:
    domain, server, sequence = gtid.split("-")
    return f"({domain}, {number}, {server}, {sequence})"
