"""A host knows the other hosts by their names no more: its /etc/hosts is wrong, or its name server is gone."""

from collections.abc import Mapping

from nospof.drills.fault import Evidence, Fault, Ground, Target
from nospof.drills.spoilt_file import restore, restored, spoil

# It resolves names by this file alone; a lab has no name server.
FILE = "/etc/hosts"


class NameResolution(Fault):
    name = "name-resolution"
    about = "The names of the other hosts and of routed tiers are not found any more on the host; connections stay."
    is_inside = True
    breaks = Target.HOST
    at_most = True

    def inject(self, ground: Ground) -> None:
        ground.sh(self.target, spoil(FILE, f"127.0.0.1 localhost {self.target}\n".encode()))

    def injected(self, ground: Ground) -> Evidence:
        others = [host.name for host in ground.topology.hosts if host.name != self.target]
        found = ground.sh(self.target, f"getent hosts {' '.join(others)} || true").split()
        return Evidence(not found, f"{self.target} finds {' '.join(found) or 'no name'}")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        return {self.target: restore(FILE)}

    def healed(self, ground: Ground) -> Evidence:
        return restored(ground, self.target, FILE)
