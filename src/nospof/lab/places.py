"""Where everything of a lab lives: each name and path is derived here from the lab's name, and from nothing else.

So a lab is found again whatever process made it, and `down` knows what to look for after any crash. Names join lab
and host with a dot, which neither may contain: lab `a-b` with host `c` never meets lab `a` with host `b-c`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from nospof.errors import WrongInput

LABS = Path("/var/lib/nospof/labs")
LOCKS = Path("/run/nospof")
NAMESPACES = Path("/run/netns")
NETWORK = ipaddress.ip_network("198.18.0.0/16")  # RFC 2544, for benchmarking: never a user's LAN
PREFIX_LENGTH = NETWORK.prefixlen
TRUNK_ADDRESS = "198.18.255.254"  # the lab's own namespace, where the forwarder calls from
CLIENT, CLIENT_ADDRESS, CLIENT_ZONE = "client", "198.18.255.1", "outside"

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_INTERFACE_LIMIT = 15  # IFNAMSIZ - 1, linux/if.h


@dataclass(frozen=True)
class Places:
    """The places of one lab."""

    lab: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.lab):
            raise WrongInput(f"{self.lab!r} cannot name a lab", fix="use 1 to 40 of a-z, 0-9 and '-'")

    @property
    def folder(self) -> Path:
        return LABS / self.lab

    @property
    def record(self) -> Path:
        return self.folder / "lab.json"

    @property
    def hosts_folder(self) -> Path:
        return self.folder / "hosts"

    @property
    def forwarder_log(self) -> Path:
        return self.folder / "forwarder.log"

    @property
    def namespace(self) -> str:
        """The network namespace that holds the bridges."""
        return f"nospof-{self.lab}"

    @property
    def lock(self) -> Path:
        return LOCKS / f"{self.lab}.lock"

    def host(self, name: str) -> HostPlaces:
        return HostPlaces(self, name)

    def host_lock(self, name: str) -> Path:
        return LOCKS / f"{self.lab}.{name}.lock"


@dataclass(frozen=True)
class HostPlaces:
    """The places of one host of a lab."""

    of: Places
    name: str

    @property
    def folder(self) -> Path:
        return self.of.hosts_folder / self.name

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def disk_mount(self) -> Path:
        """Where the disk is mounted, in the host's private mount namespace only."""
        return self.folder / "disk"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def cut_mark(self) -> Path:
        """Is there from the moment the host's power was cut until it boots."""
        return self.folder / "cut"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def namespace(self) -> str:
        return f"{self.of.namespace}.{self.name}"

    @property
    def namespace_path(self) -> Path:
        return NAMESPACES / self.namespace

    @property
    def port(self) -> str:
        """The bridge's end of the host's cable, in the lab's namespace."""
        return interface_name("p", self.name)

    @property
    def machine(self) -> str:
        """The name systemd-nspawn uses for its own files; at most 64 characters, as of any host name."""
        return f"nospof-{_digest(self.namespace)}"

    @property
    def leavings(self) -> Path:
        """What systemd-nspawn leaves when it is killed."""
        return Path("/run/systemd/nspawn/propagate") / self.machine


def interface_name(kind: str, name: str) -> str:
    """Name an interface `kind-name`, or with a digest of the name where Linux allows no more than 15 characters."""
    readable = f"{kind}-{name}"
    return readable if len(readable) <= _INTERFACE_LIMIT else f"{kind}-{_digest(name)}"


def mac_address(address: str) -> str:
    """Derive a hardware address from an IPv4 address, so that a host keeps it over a power cut as a real one does."""
    return ":".join(f"{octet:02x}" for octet in (0x02, 0x00, *ipaddress.IPv4Address(address).packed))


def labs() -> tuple[str, ...]:
    """Name every lab that has a folder, whole or half."""
    return tuple(sorted(path.name for path in LABS.iterdir())) if LABS.is_dir() else ()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
