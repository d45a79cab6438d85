"""What a lab is to be, and the record of it on the disk: written before anything of the lab is made."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nospof.errors import Failed, WrongInput
from nospof.lab.image import SUITE
from nospof.lab.places import CLIENT, CLIENT_ADDRESS, CLIENT_ZONE, NETWORK, TRUNK_ADDRESS, Places

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ZONE_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_FORMAT = 1


@dataclass(frozen=True)
class LabHost:
    """One host to make; `address` is in 198.18.0.0/16 and stays the host's for as long as the lab lives."""

    name: str
    zone: str
    address: str


@dataclass(frozen=True)
class LabPlan:
    """A lab to make. `forward_to`: where the forwarder leads, in turn (the VIPs and their port); () for no forwarder."""

    name: str
    hosts: tuple[LabHost, ...]
    packages: tuple[str, ...]
    forward_to: tuple[tuple[str, int], ...]
    suite: str = SUITE
    """Debian's suite that the hosts are made from."""
    at_hand: tuple[str, ...] = ()
    """Packages that are not installed and can be, though a lab has no way out: its hosts then are as bought servers are."""

    def with_client(self) -> tuple[LabHost, ...]:
        """Return all hosts and the client, from which load is made and goals are measured."""
        return (*self.hosts, LabHost(CLIENT, CLIENT_ZONE, CLIENT_ADDRESS))


@dataclass(frozen=True)
class LabRecord:
    """What is written down of a lab: the plan, the image under its disks, the forwarder's port once it has one."""

    plan: LabPlan
    image: Path
    port: int | None = None


def check_plan(plan: LabPlan) -> None:
    """Raise WrongInput if the plan cannot be made."""
    Places(plan.name)
    names = [host.name for host in plan.with_client()]
    addresses = [*(host.address for host in plan.with_client()), TRUNK_ADDRESS]
    for values, what in ((names, "name"), (addresses, "address")):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise WrongInput(f"lab {plan.name}: the {what} {twice[0]} is given twice, or is the lab's own")
    for host in plan.hosts:
        _check_host(plan.name, host)


def write_record(places: Places, record: LabRecord) -> None:
    """Write the record so that a reader sees the old one or the new one, whole, even after a power cut."""
    places.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the disks hold secrets
    draft = places.record.with_suffix(".draft")
    with draft.open("w") as file:
        json.dump(_to_json(record), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(places.record)


def read_record(places: Places) -> LabRecord | None:
    """Read the record, None if there is none. Raises Failed if it cannot be understood."""
    try:
        text = places.record.read_text()
    except FileNotFoundError:
        return None
    try:
        return _from_json(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(f"{places.record} cannot be understood: {error!r}", fix="nospof down") from None


def _check_host(lab: str, host: LabHost) -> None:
    if not _HOST_NAME.fullmatch(host.name):
        raise WrongInput(f"lab {lab}: {host.name!r} cannot name a host", fix="use a-z, 0-9 and, inside, '-'")
    if not _ZONE_NAME.fullmatch(host.zone):
        raise WrongInput(f"lab {lab}: {host.zone!r} cannot name a zone", fix="use letters, digits, '-' and '_'")
    try:
        is_inside = ipaddress.IPv4Address(host.address) in NETWORK
    except ValueError:
        is_inside = False
    if not is_inside:
        raise WrongInput(f"lab {lab}: {host.name} has the address {host.address}", fix=f"use one of {NETWORK}")


def _to_json(record: LabRecord) -> dict[str, object]:
    plan = record.plan
    return {
        "format": _FORMAT,
        "name": plan.name,
        "hosts": [{"name": host.name, "zone": host.zone, "address": host.address} for host in plan.hosts],
        "packages": list(plan.packages),
        "suite": plan.suite,
        "at_hand": list(plan.at_hand),
        "forward_to": [list(target) for target in plan.forward_to],
        "image": str(record.image),
        "port": record.port,
    }


def _from_json(said: dict[str, Any]) -> LabRecord:  # Any: JSON, checked here and nowhere else
    if said["format"] != _FORMAT:
        raise ValueError(f"format {said['format']}, this nospof knows {_FORMAT}")
    hosts = tuple(LabHost(host["name"], host["zone"], host["address"]) for host in said["hosts"])
    forward_to = _targets(said["forward_to"])
    at_hand = tuple(said.get("at_hand", ()))
    plan = LabPlan(said["name"], hosts, tuple(said["packages"]), forward_to, said.get("suite", SUITE), at_hand)
    return LabRecord(plan, Path(said["image"]), said["port"])


def _targets(said: list[Any] | None) -> tuple[tuple[str, int], ...]:
    """Where the forwarder leads; labs that were made before there could be several have one address and port, or null."""
    several = [said] if said and isinstance(said[0], str) else said or []
    return tuple((str(address), int(port)) for address, port in several)
