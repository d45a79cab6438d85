"""Two halves that do not hear each other, and one host between them that hears both, so that it is less plain who is right."""

from nospof.drills.cut_fault import LinksFault
from nospof.drills.fault import Evidence, Ground, Topology
from nospof.drills.reach import running


class Bridge(LinksFault):
    """Source: https://jepsen-io.github.io/jepsen/jepsen.nemesis.html (the nemesis of that name)."""

    name = "bridge"
    about = "The other hosts fall into two halves that do not hear each other, while the host hears both and is heard by both."

    def unavailable(self, ground: Ground) -> str:
        few = len(ground.topology.hosts) < 3
        return super().unavailable(ground) or ("between two hosts there is no third" if few else "")

    def inject(self, ground: Ground) -> None:
        ground.lab.cut(*self.halves(ground.topology), name=self.mark)

    def injected(self, ground: Ground) -> Evidence:
        alive = set(running(ground))
        here, there = (tuple(host for host in half if host in alive) for half in self.halves(ground.topology))
        return self.silence(ground, here, there)

    def halves(self, topology: Topology) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The hosts but the one between, in their order, every other one."""
        others = [host.name for host in topology.hosts if host.name != self.target]
        return tuple(others[::2]), tuple(others[1::2])
