"""Two groups of hosts do not hear each other, and each goes on by itself."""

from nospof.drills.cut_fault import CutFault
from nospof.drills.fault import Evidence, Field, Ground, Kind, Part, Target, Topology
from nospof.drills.reach import running
from nospof.lab.places import CLIENT


class Partition(CutFault):
    name = "partition"
    about = "The host, and those named with it, do not hear the other hosts any more, nor those them; among themselves all do."
    breaks = Target.HOST

    beside: tuple[str, ...] = Field((), description="The hosts on the same side.")
    with_visitors: bool = Field(False, description="Whether visitors reach this side; else the other.")

    def __str__(self) -> str:
        visitors = " with the visitors" if self.with_visitors else ""
        return f"{self.name} {', '.join(sorted({self.target, *self.beside}))}{visitors}"

    def hosts(self, topology: Topology) -> tuple[str, ...]:
        return tuple(sorted({self.target, *self.beside}))

    def lost(self, topology: Topology) -> frozenset[Part]:
        """To visitors those are lost on the side that they do not reach; what these do alone is judged by its traces."""
        here = self.hosts(topology)
        unreached = [host.name for host in topology.hosts if (host.name in here) != self.with_visitors]
        return frozenset(Part(Kind.HOST, host) for host in unreached)

    def touches(self, topology: Topology) -> frozenset[Part]:
        return self.lost(topology)

    def inject(self, ground: Ground) -> None:
        here, there = self._sides(ground)
        ground.lab.cut(here, there, name=self.mark)

    def injected(self, ground: Ground) -> Evidence:
        alive = set(running(ground))
        here, there = (tuple(host for host in side if host in alive) for side in self._sides(ground))
        return self.silence(ground, here, there)

    def _sides(self, ground: Ground) -> tuple[tuple[str, ...], tuple[str, ...]]:
        here = {*self.hosts(ground.topology), *((CLIENT,) if self.with_visitors else ())}
        names = ground.lab.host_names()
        return tuple(name for name in names if name in here), tuple(name for name in names if name not in here)
