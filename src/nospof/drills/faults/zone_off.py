"""A zone loses its power: all of its hosts at once."""

from concurrent.futures import ThreadPoolExecutor

from nospof.drills.fault import Evidence, Fault, Ground, HostState, Target


class ZoneOff(Fault):
    name = "zone-off"
    about = "All hosts of the zone lose their power at once."
    is_loss = True
    breaks = Target.ZONE
    comes_back_s = 90.0

    def inject(self, ground: Ground) -> None:
        hosts = self.hosts(ground.topology)
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(ground.lab.power_off, hosts))

    def injected(self, ground: Ground) -> Evidence:
        return self._all(ground, HostState.OFF)

    def heal(self, ground: Ground) -> None:
        for host in self.hosts(ground.topology):
            ground.lab.power_on(host, wait=False)

    def healed(self, ground: Ground) -> Evidence:
        return self._all(ground, HostState.RUNNING)

    def _all(self, ground: Ground, wanted: HostState) -> Evidence:
        states = {host: ground.lab.state(host) for host in self.hosts(ground.topology)}
        said = ", ".join(f"{host} is {state.value}" for host, state in states.items())
        return Evidence(set(states.values()) == {wanted}, said)
