"""What every host gets, whatever runs on it: the names of all hosts, kernel settings, journal limits, the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nospof.component import ONHOST, File, Ownership, Parts, Symlink, Tree, Unit, onhost_at
from nospof.errors import WrongInput
from nospof.topology import Topology

BASE_PACKAGES = ("curl", "iproute2", "nftables", "python3", "systemd-timesyncd")

SYSCTLS = {
    # Nobody on the host's network may redirect its traffic.
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    # A moved address is answered for by its holder only, not by every host that has it configured.
    "net.ipv4.conf.all.arp_ignore": "1",
    "net.ipv4.conf.all.arp_announce": "2",
}


def base_parts(topology: Topology, host: str, others: Iterable[Parts], blobs: Mapping[str, str]) -> Parts:
    """The parts of every host. `others` are its instances' parts: their names and kernel settings are gathered here."""
    others = list(others)
    onhost = blobs["base/onhost"]
    release = onhost_at(onhost)
    return Parts(
        files=(
            File("/etc/hosts", _hosts(topology, host, others), ownership=Ownership.BLOCK, for_units=()),
            File("/etc/sysctl.d/60-nospof.conf", _sysctl(host, others), for_units=("systemd-sysctl.service",)),
            File("/etc/systemd/journald.conf.d/60-nospof.conf", JOURNALD, for_units=("systemd-journald.service",)),
        ),
        trees=(Tree(release, onhost),),
        symlinks=(Symlink(ONHOST, release, for_units=()),),
        units=(
            Unit("systemd-sysctl.service"),
            Unit("systemd-journald.service"),
            # Debian's unit starts nowhere but on machines with a clock of their own, so never in the lab.
            Unit("systemd-timesyncd.service"),
        ),
        users=tuple(sorted({user for part in others for user in part.users})),
    )


def _hosts(topology: Topology, host: str, others: Iterable[Parts]) -> str:
    lines = [f"{other.address} {other.name}" for other in topology.hosts]
    lines += [f"{vip.address} {vip.name}" for vip in topology.vips]
    lines += sorted({f"{address} {name}" for part in others for address, name in part.names})
    # A host must know its own name also before any of this was read.
    return "\n".join(["127.0.0.1 localhost", *lines]) + "\n"


def _sysctl(host: str, others: Iterable[Parts]) -> str:
    settings = dict(SYSCTLS)
    for part in others:
        for key, value in part.sysctls:
            if settings.setdefault(key, value) != value:
                raise WrongInput(
                    f"host {host} would need {key} to be {settings[key]} and {value}",
                    why="two components on it ask for different kernel settings",
                    fix="give one of them another host",
                )
    return "".join(f"{key} = {value}\n" for key, value in sorted(settings.items()))


# Logs must outlive a power cut, and must never fill the disk the database writes to.
JOURNALD = """[Journal]
Storage=persistent
SystemMaxUse=200M
RateLimitIntervalSec=30s
RateLimitBurst=10000
"""
