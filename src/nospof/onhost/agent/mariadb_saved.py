"""Writing transactions of a binary log as SQL that a person can look at and run elsewhere."""

from __future__ import annotations

import filecmp
import logging
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb_log import LogFile
from nospof.onhost.agent.model import Position
from nospof.onhost.agent.programs import last_lines

# A saved transaction is another's history: it must get a number of its own where it is replayed, and no server may take it for
# a write of its own, which it would leave out.
IDENTITY = re.compile(rb"/\*M?!\d+ SET @@session\.(gtid_domain_id|server_id|gtid_seq_no)=\d+\*//\*!\*/;\n")

log = logging.getLogger("nospof")


@dataclass(frozen=True)
class Printer:
    """The product's program that prints a log as SQL, its client, and what of a printed line is kept."""

    argv: tuple[str, ...]
    client: str
    kept: Callable[[bytes], bytes]


def _without_identity(line: bytes) -> bytes:
    return b"" if IDENTITY.fullmatch(line) else line


MARIADB = Printer(("mariadb-binlog", "--no-defaults", "--verbose"), "mariadb", _without_identity)


def save(parts: tuple[LogFile, ...], keeps: Position, into: Path, limit_s: float, printer: Printer = MARIADB) -> int:
    """Write the parts' transactions to one new file in the folder and return how many they are; none, no file.

    The name and the content follow from the log, so that saving it again after a crash makes no second file. What could not be
    read is said in the file and in our log. Raises EngineError, OSError.
    """
    torn = [f"{part.path.name}: {part.torn}" for part in parts if part.torn]
    for line in torn:
        log.warning("the binary log is torn, %s", line)
    written = [one for part in parts for one in part.transactions]
    if not written:
        return 0
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    first, last = written[0], written[-1]
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(first.epoch_s))
    with tempfile.NamedTemporaryFile(dir=into, prefix=".beyond-") as file:  # readable by its owner only
        file.write(_heading(keeps, len(written), torn, printer))
        unsound = {part.path for part in parts if part.torn}
        for part in (part for part in parts if part.transactions):
            _write_sql(part, file, limit_s, printer, may_end_early=part.path in unsound)
        file.flush()
        os.fsync(file.fileno())
        _keep(Path(file.name), into, f"beyond-{when}-{first.number}-{last.number}")
    return len(written)


def _heading(keeps: Position, count: int, torn: list[str], printer: Printer) -> bytes:
    lines = [
        f"{count} transactions beyond {str(keeps) or 'the beginning'}, which this server alone had, and gave up on its return.",
        "Look at it before you use it: others may have written the same rows since.",
        f"On the primary: {printer.client} < THIS FILE",
        *(f"The log was torn, {line}" for line in torn),
    ]
    return "".join(f"-- {line}\n" for line in lines).encode()


def _write_sql(part: LogFile, into: IO[bytes], limit_s: float, printer: Printer, *, may_end_early: bool) -> None:
    """Append a log file's transactions as SQL, without the numbers they had.

    `may_end_early`: the file is torn. The printer looks beyond where it is to stop, and what a power cut left inside of a
    transaction is not seen from its length: it prints what it can, and that must do, else the server never starts again.
    """
    first, last = part.transactions[0], part.transactions[-1]
    argv = [*printer.argv, f"--start-position={first.start}", f"--stop-position={last.stop}"]
    with tempfile.TemporaryFile() as errors:
        pipe = subprocess.PIPE
        with subprocess.Popen([*argv, str(part.path)], stdin=subprocess.DEVNULL, stdout=pipe, stderr=errors) as reading:
            too_late = threading.Timer(limit_s, reading.kill)
            too_late.start()
            try:
                for line in reading.stdout or ():
                    into.write(printer.kept(line))
                code = reading.wait()
            finally:
                too_late.cancel()
                reading.kill()
        if code == 0:
            return
        what = f"{printer.argv[0]} failed with {part.path.name}: {last_lines(errors)}"
        if code < 0 or not may_end_early:
            raise EngineError(what)
        log.warning("the binary log is torn, and is saved up to there only: %s", what)
        into.write(f"-- The log could not be read on: {' '.join(what.split())}\n".encode())


def _keep(written: Path, folder: Path, stem: str) -> None:
    """Give the written file its name for good; one of that name with other content stays, and this one gets a number."""
    for suffix in ("", *(f".{number}" for number in range(2, 100))):
        name = folder / f"{stem}{suffix}.sql"
        try:
            name.hardlink_to(written)
        except FileExistsError:
            if filecmp.cmp(written, name, shallow=False):
                return
            continue
        _sync(folder)
        log.warning("saved what is beyond as %s", name)
        return
    raise EngineError(f"{folder} has a hundred files called {stem}")


def _sync(folder: Path) -> None:
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(found)
    finally:
        os.close(found)
