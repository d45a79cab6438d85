"""Each host hears a majority, and no two the same one: everybody may think to be right."""

from nospof.drills.cut_fault import LinksFault
from nospof.drills.fault import Evidence, Ground, Topology
from nospof.drills.reach import running


class MajoritiesRing(LinksFault):
    """Source: https://jepsen-io.github.io/jepsen/jepsen.nemesis.html (the nemesis of that name)."""

    name = "majorities-ring"
    about = "The hosts stand in a ring from this one on, and each hears only its neighbours, a bare majority."

    def unavailable(self, ground: Ground) -> str:
        few = not self.deaf(ground.topology)
        return super().unavailable(ground) or ("among so few hosts each that hears a majority hears all" if few else "")

    def inject(self, ground: Ground) -> None:
        for host, unheard in self.deaf(ground.topology).items():
            ground.lab.cut((host,), unheard, name=self.mark)

    def injected(self, ground: Ground) -> Evidence:
        alive = set(running(ground))
        found = Evidence(True, "")
        for host, unheard in self.deaf(ground.topology).items():
            if host in alive:
                found = self.silence(ground, (host,), tuple(other for other in unheard if other in alive))
            if not found.is_so:
                break
        return found

    def deaf(self, topology: Topology) -> dict[str, tuple[str, ...]]:
        """By host, those after it in the ring that it does not hear; each pair once."""
        names = [host.name for host in topology.hosts]
        start = names.index(self.target)
        ring = names[start:] + names[:start]
        # A majority counts the host itself; half of the others it hears are before it, half after.
        reach = (len(ring) // 2 + 1) // 2
        found = {}
        for place, host in enumerate(ring):
            far = [other for away, other in enumerate(ring[place + 1 :], 1) if reach < away < len(ring) - reach]
            if far:
                found[host] = tuple(far)
        return found
