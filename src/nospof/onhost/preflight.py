"""Whether a server that nospof never worked on can become a host of a stack: looked up, all of it at once, nothing changed.

Nothing that is not ours is adopted or overwritten: ports that others hold, data that others wrote, another stack's host are
failures here, before anything is begun.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nospof.onhost import facts, units
from nospof.onhost.compare import missing_packages
from nospof.onhost.receipt import begun_by, read_receipt

OK, WARN, FAIL = "OK", "WARN", "FAIL"
LEAST_DISK_MIB, LITTLE_DISK_MIB, LITTLE_MEMORY_MIB = 1500, 5000, 900
# A certificate made a moment ago is not valid yet for a clock that is behind; logs of two hosts no longer fit together.
CLOCK_OFF_S, CLOCK_WRONG_S = 5.0, 60.0
MIRROR_S, APT_S = 60, 60


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `fix` is "" where nothing is to be done."""

    verdict: str
    name: str
    what: str
    fix: str = ""


def look(request: Mapping[str, Any]) -> list[Check]:
    """All checks; a check that itself fails is a WARN that says so, never an OK.

    `request`: address, debian ("13", or "" for any), ports [[wire, port, tier]], packages, stores [folder], vips, ssh_port,
    admin [network], stack_id, now (seconds since the epoch).
    """
    found: list[Check] = []
    for check in (_debian, _stack, _address, _ssh, _clock, _room, _ports, _data, _vips, _other_firewalls, _packages):
        try:
            found += check(request)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            found.append(Check(WARN, check.__name__.strip("_"), f"could not be looked at: {error}"))
    return found


def _debian(request: Mapping[str, Any]) -> Iterator[Check]:
    try:
        version = Path("/etc/debian_version").read_text().strip()
    except FileNotFoundError:
        yield Check(FAIL, "Debian", "this is not a Debian", f"install Debian {request['debian']}")
        return
    is_right = request["debian"] in ("", version.split(".")[0])
    yield Check(
        OK if is_right else FAIL,
        "Debian",
        f"Debian {version}" + ("" if is_right else f", and the stack's packages are those of Debian {request['debian']}"),
        "" if is_right else f"install Debian {request['debian']}, or upgrade to it",
    )
    if Path("/proc/1/comm").read_text().strip() != "systemd":
        yield Check(FAIL, "systemd", "process 1 is not systemd", "boot it with systemd: nospof's services are its units")


def _stack(request: Mapping[str, Any]) -> Iterator[Check]:
    known, begun = read_receipt(), begun_by()
    if known.stack_id and known.stack_id != request["stack_id"]:
        what = f"belongs to stack {known.stack} ({known.stack_id}), applied {known.finished_at} by {known.finished_by}"
    elif begun and begun != request["stack_id"]:
        what = f"another stack ({begun}) was begun on it and not finished"
    else:
        what = ""
    if what:
        fix = "`nospof down` for that stack first; or, if it is this one, put its .nospof/ folder back beside the file"
        yield Check(FAIL, "stack", what, fix)
    else:
        yield Check(OK, "stack", "no other stack is on it")


def _address(request: Mapping[str, Any]) -> Iterator[Check]:
    interface, _ = facts.interface_of(request["address"])
    if interface:
        yield Check(OK, "address", f"{request['address']} on {interface}")
        return
    has = ", ".join(entry["local"] for link in facts.addresses() for entry in link["addr_info"] if entry["scope"] == "global")
    what = f"no interface has {request['address']}; this host has {has or 'none'}"
    yield Check(FAIL, "address", what, "correct `address:`; the hosts reach each other by it")


def _ssh(request: Mapping[str, Any]) -> Iterator[Check]:
    """The firewall must go on letting in whoever came in now."""
    came = re.fullmatch(r"(\S+) \d+ \S+ (\d+)", os.environ.get("SSH_CONNECTION", ""))
    if came is None:
        return
    source, port = came[1], int(came[2])
    if port != request["ssh_port"]:
        what = f"sshd answers on port {port}, and the stack's firewall would leave {request['ssh_port']} open only"
        yield Check(FAIL, "SSH", what, f"`port: {port}` at this host in the stack file")
    elif not _is_within(source, request["admin"]):
        what = f"you come from {source}, and `admin:` has {', '.join(request['admin'])} only"
        yield Check(FAIL, "SSH", what, f"add {source} or its network to `admin:`")
    else:
        yield Check(OK, "SSH", f"port {port} stays open to {source}")


def _is_within(address: str, networks: list[str]) -> bool:
    import ipaddress  # a fifth of the time this program needs to start

    return any(ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False) for network in networks)


def _clock(request: Mapping[str, Any]) -> Iterator[Check]:
    off_s = time.time() - request["now"]
    said = f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} the machine you sit at"
    if abs(off_s) <= CLOCK_OFF_S:
        yield Check(OK, "clock", "is right within some seconds")
    else:
        verdict = FAIL if abs(off_s) > CLOCK_WRONG_S else WARN
        yield Check(verdict, "clock", said, "set it: timedatectl set-ntp true")


def _room(request: Mapping[str, Any]) -> Iterator[Check]:
    free = shutil.disk_usage("/var").free >> 20
    verdict = FAIL if free < LEAST_DISK_MIB else WARN if free < LITTLE_DISK_MIB else OK
    fix = "" if verdict == OK else "make room, or give it a larger disk"
    yield Check(verdict, "disk", f"{free / 1024:.1f} GiB are free below /var", fix)
    memory = facts.memory_mib()
    verdict = WARN if memory < LITTLE_MEMORY_MIB else OK
    fix = "" if verdict == OK else "a database beside other services needs 1 GiB"
    yield Check(verdict, "memory", f"{memory / 1024:.1f} GiB", fix)


def _ports(request: Mapping[str, Any]) -> Iterator[Check]:
    taken: dict[tuple[str, int], str] = {}
    for wire, flag in (("tcp", "-lt"), ("udp", "-lu")):
        for line in units.run(["ss", "-Hnp", flag], timeout_s=10).stdout.splitlines():
            held = re.search(r'\("([^"]+)",pid=(\d+)', line)
            port = int(line.split()[3].rpartition(":")[2])
            taken[wire, port] = f"{held[1]} (process {held[2]})" if held else "somebody"
    clashes = [(port, wire, tier, taken[wire, port]) for wire, port, tier in request["ports"] if (wire, port) in taken]
    if begun_by():  # ours: the daemons that an `up` which did not end has started already
        return
    for port, wire, tier, holder in clashes:
        fix = f"stop and disable it; or give tier {tier} another `port:`, where it has one"
        yield Check(FAIL, "ports", f"{wire} port {port}, which tier {tier} needs, is held by {holder}", fix)
    if not clashes:
        yield Check(OK, "ports", f"all {len(request['ports'])} are free")


def _data(request: Mapping[str, Any]) -> Iterator[Check]:
    if begun_by():
        return
    for folder in request["stores"]:
        if os.path.isdir(folder) and os.listdir(folder):
            fix = f"nospof touches no data that is not its own: move it away, mv {folder} {folder}.before"
            yield Check(FAIL, "data", f"{folder} holds data that is not this stack's", fix)


def _vips(request: Mapping[str, Any]) -> Iterator[Check]:
    if begun_by():
        return
    for vip in request["vips"]:
        if not shutil.which("ping"):
            yield Check(WARN, "VIP", f"nobody looked whether {vip} is free", "apt-get install iputils-ping")
        elif units.run(["ping", "-q", "-c", "1", "-W", "1", vip], timeout_s=5).returncode == 0:
            yield Check(FAIL, "VIP", f"{vip} is somebody's already: it answers", "choose a free address for `vip:`")
        else:
            yield Check(OK, "VIP", f"nobody answers on {vip} yet")


def _other_firewalls(request: Mapping[str, Any]) -> Iterator[Check]:
    if not shutil.which("nft"):
        return
    tables = [line.removeprefix("table ") for line in units.run(["nft", "list", "tables"], timeout_s=10).stdout.splitlines()]
    others = [table for table in tables if "nospof" not in table]
    rules = "".join(units.run(["nft", "list", "table", *table.split()], timeout_s=10).stdout for table in others)
    if "hook input" in rules:
        what = f"another firewall decides too ({', '.join(others)}): what it drops stays closed, whatever the stack needs"
        yield Check(WARN, "firewall", what, "let it allow the stack's ports, or turn it off: nospof's own is on")


def _packages(request: Mapping[str, Any]) -> Iterator[Check]:
    missing = missing_packages(tuple(request["packages"]))
    if not missing:
        yield Check(OK, "packages", "all are installed")
        return
    argv = ["apt-get", "--quiet", "--yes", "--no-install-recommends"]
    planned = units.run([*argv, "--print-uris", "install", *missing], timeout_s=APT_S)
    if planned.returncode != 0 or any(line.startswith("'") for line in planned.stdout.splitlines()):
        # Some must be fetched: is there a way to where they are?
        limit = ["-o", "Acquire::http::Timeout=10", "-o", "Acquire::https::Timeout=10", "-o", "Acquire::Retries=0"]
        updated = units.run(["apt-get", "--quiet", "update", "-o", "APT::Update::Error-Mode=any", *limit], timeout_s=MIRROR_S)
        if updated.returncode != 0:
            said = [line for line in updated.stderr.splitlines() if line.startswith(("E:", "W:", "Err:"))]
            what = f"{len(missing)} must be fetched, and there is no way to a mirror: {said[0] if said else 'no answer'}"
            yield Check(FAIL, "packages", what, "give the host a way to a Debian mirror; apt-get update must work")
            return
        planned = units.run([*argv, "--simulate", "install", *missing], timeout_s=APT_S)
    if planned.returncode != 0:
        said = [line for line in planned.stderr.splitlines() if line.startswith("E:")] or [planned.stderr.strip()]
        yield Check(FAIL, "packages", f"cannot be installed: {said[0]}", f"apt-get install {' '.join(missing)} tells more")
    else:
        yield Check(OK, "packages", f"{len(missing)} will be installed: {' '.join(missing)}")
