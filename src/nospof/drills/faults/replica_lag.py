"""A replica receives every change and applies none: it is behind more and more, and holds its promise to keep them."""

from collections.abc import Mapping

from nospof.apply import agents
from nospof.drills.fault import Evidence, Fault, Ground, Part, Target, Topology

# In a session that waits for its next statement: when it is ended, the lock is gone. It also ends by itself.
HOLD = "(echo 'FLUSH TABLES WITH READ LOCK;'; exec sleep 600) | $client"
CLIENT = "client=$(command -v mariadb || command -v mysql)"
WAITING = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for %lock%'"


class ReplicaLag(Fault):
    name = "replica-lag"
    about = "The replica still receives and acknowledges changes, and applies none of them until it is healed."
    breaks = Target.INSTANCE

    def lost(self, topology: Topology) -> frozenset[Part]:
        """Nobody: what is acknowledged is what was received."""
        return frozenset()

    @property
    def _unit(self) -> str:
        return f"nospof-{self.mark}.service"

    def unavailable(self, ground: Ground) -> str:
        if self.instance.tier not in agents.tiers(ground.topology):
            return f"{self.target} is no database with replicas"
        role = ground.deployment.database(self.instance.tier).host(self.instance.host).role
        return "" if role == "replica" else f"{self.target} is {role} at this moment, no replica"

    def inject(self, ground: Ground) -> None:
        hold = f'{CLIENT}; exec systemd-run --quiet --collect --unit={self._unit} sh -c "{HOLD}"'
        ground.sh(self.instance.host, hold)

    def injected(self, ground: Ground) -> Evidence:
        count = int(ground.sh(self.instance.host, f'{CLIENT}; $client -BNe "{WAITING}"'))
        return Evidence(count > 0, f"{count} threads wait for the lock")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        return {self.instance.host: f"systemctl stop {self._unit} 2>/dev/null || true"}

    def healed(self, ground: Ground) -> Evidence:
        is_held = ground.sh(self.instance.host, f"systemctl is-active {self._unit} || true").strip() == "active"
        return Evidence(not is_held, "the lock is held" if is_held else "nothing is locked")
