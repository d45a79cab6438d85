"""What Nagios runs: one look at the whole stack, and what it does with what it wants people to know.

    nagios --config FILE look                          ask every host and the site; hand Nagios a result for each service
    nagios --config FILE told KIND HOST STATE SERVICE  keep a notification, which the next look sends with the others
    nagios --config FILE well                          exit 0 while looks are made, and what is to be told can be

One look is one process, however many services there are: a plugin of its own for each of fifty services would take twenty times
as much of the host that watches. The results go where Nagios reads those of its own workers. If no look is made any more,
Nagios finds its results too old and says `unknown`.
Source: https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/passivechecks.html, …/freshness.html; the files in
check_result_path are those that Nagios' event brokers write: c and six characters, and the same name with .ok once complete.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import socket
import ssl
import string
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nospof.onhost import nagios_mail as mail
from nospof.onhost.nagios_checks import Figures, Page, Result, State, Watched, parse, results

ASK_S, PAGE_S = 3.0, 5.0
MOST_AT_ONCE = 32
MOST_BYTES = 4 * 1024 * 1024
# Looks come every few seconds; without one for so long nobody looks any more.
LOOKED_WITHIN_S = 60.0
UNTOLD_S = 30.0
BEAT_EVERY_S = 120.0
HOST_UP, HOST_DOWN = 0, 1


@dataclass(frozen=True)
class Entrance:
    """Where a site is asked for, as a visitor would; `ca` "" = it is not encrypted."""

    address: str
    port: int
    domain: str
    path: str
    ca: str


@dataclass(frozen=True)
class Config:
    """`earlier`: instances of this tier that tell people before this one does. `folder`: where it keeps what it knows."""

    stack: str
    tier: str
    watched: Watched
    figures: Mapping[str, tuple[str, int, str]]
    """Host → address, port and path where it tells figures."""
    entrances: Mapping[str, Entrance]
    """Service → where it is asked for."""
    earlier: Sequence[str]
    told: mail.Told
    results_folder: Path
    folder: Path

    @property
    def state_file(self) -> Path:
        return self.folder / "look.json"

    @property
    def notices(self) -> Path:
        return self.folder / "notices"


def read_config(path: Path) -> Config:
    """Raises OSError, KeyError, TypeError or ValueError."""
    told = json.loads(path.read_text())
    return Config(
        stack=told["stack"],
        tier=told["tier"],
        watched=Watched(**told["watched"]),
        figures={host: (address, port, path) for host, (address, port, path) in told["figures"].items()},
        entrances={name: Entrance(**entry) for name, entry in told["entrances"].items()},
        earlier=told["earlier"],
        told=mail.told_of(told["told"]),
        results_folder=Path(told["results_folder"]),
        folder=Path(told["folder"]),
    )


def main(argv: list[str]) -> int:
    """Exit as a plugin does: 0 done, 3 not possible; `well` 0 or 1."""
    parser = argparse.ArgumentParser(prog="nagios")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("do", choices=("look", "told", "well"))
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args(argv)
    try:
        config = read_config(arguments.config)
        if arguments.do == "look":
            return look(config)
        if arguments.do == "told":
            return _keep(config, *arguments.words)
        return well(config, time.time())
    except (OSError, KeyError, TypeError, ValueError) as error:
        sys.stdout.write(f"{arguments.do} is not possible: {type(error).__name__}: {error}\n")
        return int(State.UNKNOWN)


# --- a look --------------------------------------------------------------------------------------------------------------
def look(config: Config) -> int:
    """Ask everybody, tell Nagios, then send what people are to know. One line says how it went."""
    begun = time.time()
    seen, pages = _ask(config)
    found = results(config.watched, seen, pages, time.time())
    submit(config.results_folder, found, begun, time.time())
    before = _state(config)
    failures = _deliver(config, seen, time.time())
    beaten = _beat(config, seen, before, failures)
    untold = before.get("untold_since") or time.time()
    state = {
        "at": time.time(),
        "says": {f"{result.host};{result.service}": result.says for result in found},
        "beaten_at": beaten,
        "untold_since": untold if failures else None,
        "failures": failures,
    }
    _write(config.state_file, state)
    answered = sum(figures.samples is not None for figures in seen.values())
    told = f"; not told: {', '.join(failures)}" if failures else ""
    sys.stdout.write(f"{answered} of {len(seen)} hosts answered, {time.time() - begun:.1f} s{told}\n")
    return int(State.WARNING if failures else State.OK)


def _ask(config: Config) -> tuple[dict[str, Figures], dict[str, Page]]:
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        figures = {host: pool.submit(ask_figures, *where) for host, where in sorted(config.figures.items())}
        pages = {name: pool.submit(ask_page, entrance) for name, entrance in sorted(config.entrances.items())}
        return {host: one.result() for host, one in figures.items()}, {name: one.result() for name, one in pages.items()}


def ask_figures(address: str, port: int, path: str) -> Figures:
    """What a host tells; why it does not. Never raises for what the network or the host does."""
    connection = http.client.HTTPConnection(address, port, timeout=ASK_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            return Figures(None, f"its figures are answered with {answer.status}")
        return parse(answer.read(MOST_BYTES).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        return Figures(None, str(error) or type(error).__name__)
    finally:
        connection.close()


def ask_page(entrance: Entrance) -> Page:
    """Ask for the page as a visitor would, at this address. Never raises for what the network or the site does."""
    begun = time.monotonic()
    try:
        with socket.create_connection((entrance.address, entrance.port), PAGE_S) as plain:
            connection = http.client.HTTPConnection(entrance.domain, entrance.port, timeout=PAGE_S)
            connection.sock = (
                _context(entrance.ca).wrap_socket(plain, server_hostname=entrance.domain) if entrance.ca else plain
            )
            connection.request("GET", entrance.path, headers={"Host": entrance.domain, "User-Agent": "nospof-nagios"})
            status = connection.getresponse().status
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        return Page(None, time.monotonic() - begun, str(error) or type(error).__name__)
    return Page(status, time.monotonic() - begun)


def _context(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    # Python 3.13 demands fields of a certificate that neither OpenSSL nor the servers miss.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def submit(folder: Path, found: Sequence[Result], begun: float, ended: float) -> None:
    """Leave the results for Nagios, all in one file, complete before it is looked at. Raises OSError."""
    name = "c" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(6))
    path = folder / name
    path.write_text(f"file_time={begun:.0f}\n\n" + "\n".join(_result(result, begun, ended) for result in found))
    (folder / f"{name}.ok").touch()


def _result(result: Result, begun: float, ended: float) -> str:
    # A host has states of its own. 2 would be "unreachable", which nobody is told of.
    code = int(result.state) if result.service else HOST_UP if result.state is State.OK else HOST_DOWN
    lines = [f"host_name={result.host}", *([f"service_description={result.service}"] if result.service else [])]
    # 1: not made by one of Nagios' own workers.
    lines += ["check_type=1", "check_options=0", "scheduled_check=0", "reschedule_check=0", "latency=0.0"]
    lines += [f"start_time={begun:.6f}", f"finish_time={ended:.6f}", "early_timeout=0", "exited_ok=1"]
    return "\n".join([*lines, f"return_code={code}", f"output={_one_line(result.says)}\\n", ""])


def _one_line(says: str) -> str:
    """What a server's error says may have anything in it."""
    return "".join(char if char.isprintable() and char not in "\\|" else " " for char in says)[:500]


# --- telling people ------------------------------------------------------------------------------------------------------
def _keep(config: Config, kind: str, host: str, state: str, service: str = "") -> int:
    """Keep what Nagios wants people to know, with what the last look says of it."""
    says = _state(config).get("says", {}).get(f"{host};{service}") or f"{service or host} is {state}"
    mail.keep(config.notices, mail.Notice(time.time(), kind, host, service, state, says))
    return 0


def _deliver(config: Config, seen: Mapping[str, Figures], now: float) -> list[str]:
    """Send what waits, if it is this instance's turn; returns what did not work."""
    waiting = mail.kept(config.notices, now)
    is_now, forgotten = mail.due(list(waiting.values()), is_anothers(config, seen, now), now)
    failures = mail.send(config.told, config.stack, list(waiting.values())) if is_now else []
    for path, notice in waiting.items():
        if notice in forgotten or (is_now and not failures):
            path.unlink(missing_ok=True)
    return failures


def is_anothers(config: Config, seen: Mapping[str, Figures], now: float) -> bool:
    """Whether an instance before this one is well, as its host says: then that one tells people."""
    hosts = [seen[host] for host in config.earlier if host in seen]
    return any(one.is_known(now) and one.value("nospof_instance_up", tier=config.tier) == 1 for one in hosts)


def _beat(config: Config, seen: Mapping[str, Figures], before: Mapping[str, Any], failures: list[str]) -> float:
    """Give a sign of life outside when it is time, and nothing is known to be in the way of a mail; when it last was."""
    last, now = float(before.get("beaten_at", 0.0)), time.time()
    if failures or now - last < BEAT_EVERY_S or is_anothers(config, seen, now):
        return last
    failures += mail.beat(config.told)
    return now


# --- what the next one must know -----------------------------------------------------------------------------------------
def well(config: Config, now: float) -> int:
    """Exit code 0 while looks are made, and nothing waits in vain to be told."""
    state = _state(config)
    if now - float(state.get("at", 0.0)) > LOOKED_WITHIN_S:
        sys.stdout.write("no look was made for a minute\n")
        return 1
    untold_since = state.get("untold_since")
    if untold_since and now - float(untold_since) > UNTOLD_S:
        sys.stdout.write(f"people cannot be told: {', '.join(state.get('failures', []))}\n")
        return 1
    return 0


def _state(config: Config) -> dict[str, Any]:
    try:
        return dict(json.loads(config.state_file.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _write(path: Path, state: Mapping[str, Any]) -> None:
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(state))
    new.rename(path)
