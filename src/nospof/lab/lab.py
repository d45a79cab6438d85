"""A lab: real Debian hosts inside one machine, made from a plan, reached like servers, broken on purpose, removed whole.

Everything is found again from the lab's name alone (places.py), whatever process made it and however that ended: so
`up` and `down` are the same after a crash as before. Measured facts and traps: docs/decisions/0003-lab.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from nospof.apply.transport import Outcome, Unreachable
from nospof.errors import Failed, WrongInput
from nospof.lab import disk, forwarder, inotify, lock, network
from nospof.lab.cgroup import FORWARDER, Group, tree
from nospof.lab.host import Host, HostState
from nospof.lab.image import ensure_image, image_path
from nospof.lab.network import Cable
from nospof.lab.places import NAMESPACES, Places, labs
from nospof.lab.plan import LabHost, LabPlan, LabRecord, check_plan, read_record, write_record

__all__ = ["HostState", "Lab", "LabHost", "LabPlan"]

Progress = Callable[[str, str], None]
Item = TypeVar("Item")
_PARALLEL = 32


@dataclass(frozen=True)
class Lab:
    """One lab, made or not. Methods may be called from several threads; `up` and `down` refuse to meet another."""

    places: Places

    @classmethod
    def open(cls, name: str) -> Lab:
        """Find the lab called `name`, whether or not there is one; changes nothing."""
        return cls(Places(name))

    @property
    def exists(self) -> bool:
        """Whether anything of the lab was made and not removed, even half."""
        return self.places.folder.exists()

    @property
    def plan(self) -> LabPlan | None:
        record = read_record(self.places)
        return record.plan if record else None

    @property
    def url_port(self) -> int | None:
        """The port on 127.0.0.1 that leads to the plan's `forward_to`; None without one."""
        record = read_record(self.places)
        return record.port if record and record.plan.forward_to else None

    def host_names(self) -> tuple[str, ...]:
        """Name the hosts of the lab, the client last; () if there is no lab."""
        plan = self.plan
        return tuple(host.name for host in plan.with_client()) if plan else ()

    def state(self, host: str) -> HostState:
        """Read from the machine what the host does at this moment (15 ms if it runs)."""
        return self._host(host).state()

    def up(self, plan: LabPlan, progress: Progress) -> None:
        """Make the lab as planned: what is missing is made, what runs goes on running; what is not planned stays until `trim`.

        Ends when every host's systemd is up and the forwarder runs. A host that was off is booted, a frozen one is
        thawed, cables are put in, cuts are mended. `progress` is called with a host (or "image", "lab") and what happens
        to it, from several threads. Killed at any point, the next `up` goes on.

        Raises WrongInput for a plan that cannot be made, Failed if a host does not boot (with its console), if the
        image cannot be built, if someone else holds the lab, or if hosts were made without a package they need now.
        """
        check_plan(plan)
        with lock.whole_lab(self.places, "up") as lock_fd:
            record = self._record(plan)
            write_record(self.places, record)
            if not record.image.exists():
                ensure_image(record.plan.packages, progress, record.plan.suite, record.plan.at_hand)
            self._require_room(plan)
            network.make_switches(self.places, (host.zone for host in plan.with_client()))
            for cut in network.cuts(self.places):
                network.mend(self.places, cut)
            _for_each(plan.with_client(), _Boot(self.places, record.image, lock_fd, progress).bring_up)
            self._forward(record, lock_fd, progress)

    def unplanned(self) -> tuple[str, ...]:
        """Name the hosts of which anything is there, and which the plan does not have."""
        return tuple(sorted(set(self._traces()) - set(self.host_names())))

    def trim(self, progress: Progress) -> None:
        """Remove what is not planned, with all it stored."""
        with lock.whole_lab(self.places, "up"):
            for name in self.unplanned():
                progress(name, "is not in the plan: removed")
                self._host(name).remove()

    def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
        """Run `argv` as root on `host`; see transport.Transport.run. A host that is off is Unreachable."""
        if not self._host(host).places.folder.exists():
            return Unreachable(f"lab {self.places.lab} has no host {host}")
        return self._host(host).run(argv, stdin, timeout_s)

    def run_anew(self, host: str, argv: Sequence[str], timeout_s: float = 15.0) -> Outcome:
        """See transport.Transport.run_anew; a lab's hosts are entered from the machine they are in, past any firewall."""
        return self.run(host, argv, b"", timeout_s)

    def enter(self, host: str, argv: Sequence[str] = ()) -> int:
        """Give the caller's terminal to `argv`, or to a login shell, on `host`; returns the exit code."""
        return self._known(host).enter(argv)

    def network_argv(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the argv that runs a program of the controlling machine with the network of `host` alone.

        While the host is off, its cable is out; after `power_on` it is another network: what runs must be started anew.
        """
        return [*network.inside(self._host(host).places.namespace_path), *argv]

    def switch_argv(self, argv: Sequence[str]) -> list[str]:
        """Return the argv that runs a program of the controlling machine among the lab's bridges (nft, tcpdump)."""
        return [*network.inside(NAMESPACES / self.places.namespace), *argv]

    def port(self, host: str) -> str:
        """Name the interface at the bridge's end of the host's cable, as nft rules in the bridge family need it."""
        return self._host(host).places.port

    def address(self, host: str) -> str:
        """The address that the plan gives to `host`. Raises WrongInput for a host the lab does not have."""
        return _cable(self.places, self._required_record().plan, host).address

    def power_off(self, host: str) -> float:
        """Take the power away and return the monotonic time at which the host fell silent.

        Nothing is answered any more, not even by RST, and what was not synced is lost. Returns 10 ms later, while
        the last processes still end: power_on waits for that.
        """
        with lock.one_host(self.places, host, "power off"):
            return self._known(host).cut()

    def power_on(self, host: str, wait: bool = True) -> None:
        """Boot the host cold from its own disk, with the cable in; `wait` until it is up.

        A host that runs goes on running, a frozen one is thawed. Raises Failed, with the console's last lines, if it
        does not come up.
        """
        found = self._known(host)
        record = self._required_record()
        with lock.one_host(self.places, host, "power on") as lock_fd:
            if found.has_power():
                found.group.thaw()
            else:
                found.cut()
                found.boot(_cable(self.places, record.plan, host), record.image, lock_fd)
        if wait:
            found.wait_until_up()

    def freeze(self, host: str) -> None:
        """Stop all of the host where it is; its connections stay open and are not answered."""
        self._known(host).group.freeze()

    def thaw(self, host: str) -> None:
        self._known(host).group.thaw()

    def link(self, host: str, is_up: bool) -> None:
        """Pull the host's cable, or put it in. `run` works all the same."""
        network.set_link(self._known(host).places, is_up)

    def has_link(self, host: str) -> bool:
        """Whether the host's cable is in."""
        return network.has_link(self._known(host).places)

    def zone_link(self, zone: str, is_up: bool) -> None:
        """Cut a zone off from all others, or join it again."""
        network.set_zone_link(self.places, zone, is_up)

    def zone_is_linked(self, zone: str) -> bool:
        return network.zone_is_linked(self.places, zone)

    def cut(
        self,
        a: Iterable[str] | None,
        b: Iterable[str] | None,
        *,
        one_way: bool = False,
        ports: Iterable[int] = (),
        percent: int = 100,
        name: str = "",
    ) -> None:
        """Drop silently what goes between the hosts `a` and the hosts `b`; `one_way`: only what goes from `a` to `b`.

        None: everybody. `ports`: only TCP from or to these. `percent`: so many of a hundred packets. `run` works all the
        same. Cuts of one name add up until `mend` of that name.
        """
        ports, sources, targets = tuple(ports), self._cables(a), self._cables(b)
        network.add_cut(self.places, network.Cut(sources, targets, ports, percent), name)
        if not one_way:
            network.add_cut(self.places, network.Cut(targets, sources, ports, percent), name)

    def mend(self, name: str = "") -> None:
        """End what `cut` began under that name; nothing if there is nothing."""
        network.mend(self.places, name)

    def has_cut(self, name: str) -> bool:
        return name in network.cuts(self.places)

    def dropped(self, name: str) -> int:
        """Count the packets that the cuts of that name have dropped so far."""
        return network.dropped(self.places, name)

    def can_delay(self) -> bool:
        """Whether this machine's kernel can delay packets (netem)."""
        return network.can_delay(self.places)

    def delay(self, host: str, ms: int) -> None:
        """Deliver all that is sent to `host` so much later; 0 ends it. Raises Failed where the kernel cannot."""
        network.set_delay(self._known(host).places, ms)

    def delay_of(self, host: str) -> str:
        """The delay towards `host` in the kernel's words; "" if there is none."""
        return network.delay_of(self._known(host).places)

    def stall_disk(self, host: str, is_stalled: bool) -> None:
        """Make every write to the host's disk wait, or go on. Raises Failed if the host is off."""
        with self._known(host).mounted_disk() as mount_fd:
            if mount_fd is None:
                raise Failed(f"the disk of {host} is not in use", why="the host is off")
            (disk.stall if is_stalled else disk.resume)(mount_fd)

    def is_disk_stalled(self, host: str) -> bool:
        """Whether writes to the host's disk wait; one that is not in use does not stall."""
        with self._known(host).mounted_disk() as mount_fd:
            return mount_fd is not None and disk.is_stalled(mount_fd)

    def fail_disk(self, host: str) -> None:
        """Answer what the host wants of its disk with an error, until it is booted anew. Raises Failed if it is off."""
        with self._known(host).mounted_disk() as mount_fd:
            if mount_fd is None:
                raise Failed(f"the disk of {host} is not in use", why="the host is off")
            disk.lose_power(mount_fd)

    def has_disk_failed(self, host: str) -> bool:
        with self._known(host).mounted_disk() as mount_fd:
            return mount_fd is not None and disk.has_failed(mount_fd)

    def memory(self, host: str) -> Group:
        """The host's control group, which counts and limits its memory where the machine lets it."""
        return self._known(host).group

    def down(self) -> None:
        """Remove all of the lab; nothing is left of it, another lab is not touched. Nothing if there is no lab."""
        with lock.whole_lab(self.places, "down"):
            names = self._traces()
            _for_each(names, lambda name: self._host(name).cut())
            forwarder.stop(self.places)
            _for_each(names, lambda name: self._host(name).remove())
            for namespace in network.namespaces(self.places):
                network.remove_namespace(namespace)
            tree().forget(self.places.lab)
            shutil.rmtree(self.places.folder, ignore_errors=True)
            lock.forget(self.places)

    def _record(self, plan: LabPlan) -> LabRecord:
        """Return what to write down: a lab that is there keeps its port and, if it has all packages, its image.

        Never another image under disks that are in use: users and files of the packages would not fit them.
        """
        before = read_record(self.places)
        if before is None or not self.places.hosts_folder.exists():
            return LabRecord(plan, image_path(plan.packages, plan.suite, plan.at_hand))
        missing = ", ".join(sorted(set(plan.packages) - set(before.plan.packages)))
        old = before.plan
        is_lost = not before.image.exists() and before.image != image_path(old.packages, old.suite, old.at_hand)
        if missing or is_lost or (plan.suite, plan.at_hand) != (old.suite, old.at_hand):
            raise Failed(
                f"lab {self.places.lab} was made with another image" + (f", without {missing}" if missing else ""),
                why="all hosts of a lab share one image, which cannot change under their disks",
                fix="nospof down, then nospof up: the lab's hosts and what they store are made anew",
            )
        return replace(before, plan=replace(plan, packages=before.plan.packages))

    def _require_room(self, plan: LabPlan) -> None:
        """Raise Failed if the hosts to boot would find no inotify instances: their systemd would fail silently."""
        to_boot = sum(not self._host(host.name).has_power() for host in plan.with_client())
        if inotify.room_for(to_boot * inotify.BARE_HOST) < to_boot * inotify.BARE_HOST:
            raise Failed(
                f"{to_boot} more hosts would run out of inotify instances (this machine's limit is {inotify.limit()})",
                why="their systemd would fail and say nothing",
                fix=inotify.remedy(to_boot),
            )

    def _traces(self) -> tuple[str, ...]:
        """Name every host of which anything is found on the machine, whatever the record says."""
        folders = self.places.hosts_folder.glob("*") if self.places.hosts_folder.exists() else iter(())
        namespaces = network.namespaces(self.places)
        inside = (name.removeprefix(self.places.namespace + ".") for name in namespaces if name != self.places.namespace)
        groups = (name for name in tree().members(self.places.lab) if name != FORWARDER)
        return tuple(sorted({*(path.name for path in folders), *inside, *groups}))

    def _forward(self, record: LabRecord, lock_fd: int, progress: Progress) -> None:
        targets = record.plan.forward_to
        if targets and forwarder.is_relaying(self.places, targets):
            return
        forwarder.stop(self.places)
        if not targets:
            return
        with forwarder.listen(record.port, _ports_of_others(self.places.lab)) as listening:
            port = int(listening.getsockname()[1])
            write_record(self.places, replace(record, port=port))
            forwarder.start(self.places, targets, listening, lock_fd)
        progress("lab", f"127.0.0.1:{port} leads to {' and '.join(f'{address}:{to}' for address, to in targets)}")

    def _host(self, name: str) -> Host:
        return Host(self.places.host(name))

    def _known(self, name: str) -> Host:
        host = self._host(name)
        if not host.places.folder.exists():
            known = ", ".join(self.host_names()) or "no hosts: nospof up makes it"
            raise WrongInput(f"lab {self.places.lab} has no host {name}", why=f"it has {known}")
        return host

    def _cables(self, names: Iterable[str] | None) -> tuple[Cable, ...] | None:
        if names is None:
            return None
        plan = self._required_record().plan
        return tuple(_cable(self.places, plan, name) for name in names)

    def _required_record(self) -> LabRecord:
        record = read_record(self.places)
        if record is None:
            raise WrongInput(f"there is no lab {self.places.lab}", fix="nospof up")
        return record


@dataclass(frozen=True)
class _Boot:
    """The part of `up` that is done for all hosts at once."""

    places: Places
    image: Path
    lock_fd: int
    progress: Progress

    def bring_up(self, planned: LabHost) -> None:
        host = Host(self.places.host(planned.name))
        cable = Cable(host.places, planned.zone, planned.address)
        if host.has_power() and network.has_address(cable):
            host.group.thaw()
            network.replug(cable)
        else:
            self.progress(planned.name, "boots")
            host.cut()
            host.boot(cable, self.image, self.lock_fd)
        host.wait_until_up()
        self.progress(planned.name, "is up")


def _cable(places: Places, plan: LabPlan, name: str) -> Cable:
    planned = next((host for host in plan.with_client() if host.name == name), None)
    if planned is None:
        raise WrongInput(f"lab {plan.name} has no host {name}")
    return Cable(places.host(name), planned.zone, planned.address)


def _ports_of_others(lab: str) -> frozenset[int]:
    """Return the ports that other labs have, running or not."""
    records = (read_record(Places(name)) for name in labs() if name != lab)
    return frozenset(record.port for record in records if record and record.port)


def _for_each(items: Iterable[Item], act: Callable[[Item], object]) -> None:
    """Act on all items at once; when all have ended, raise the error of the first that failed."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        acts = [pool.submit(act, item) for item in items]
    for done in acts:
        done.result()
