"""Which content of the user's folders was rolled out when, so that a tier can go back to what it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nospof.apply.gather import blob_path
from nospof.apply.rollout import Gatherer
from nospof.apply.state import Release, State
from nospof.component import Facts
from nospof.errors import Failed
from nospof.topology import Topology

# As many as the hosts keep (nospof.onhost.settle).
KEPT = 5


@dataclass
class Gathered:
    """A gatherer that remembers what each host was given, and gives older content where it is told to.

    `older`: by name ("app/release") the release that is wanted instead of what is in the folder now.
    """

    gather: Gatherer
    state: State
    older: Mapping[str, Release] = field(default_factory=dict)
    given: dict[str, dict[str, str]] = field(default_factory=dict)

    def __call__(self, topology: Topology, host: str, facts: Facts) -> Mapping[str, tuple[str, Callable[[], bytes]]]:
        found = dict(self.gather(topology, host, facts))
        for name in set(found) & set(self.older):
            found[name] = self._content(name, host)
        for name, (sha256, _) in found.items():
            self.given.setdefault(name, {})[host] = sha256
        return found

    def _content(self, name: str, host: str) -> tuple[str, Callable[[], bytes]]:
        sha256 = self.older[name].hosts.get(host)
        if sha256 is None:
            raise Failed(f"{host} never had that release of {name}", why="it came later", fix="nospof up rolls out the folder")

        def read() -> bytes:
            try:
                return blob_path(self.state.folder / "cache", sha256).read_bytes()
            except FileNotFoundError:
                fix = "put the folder as it was, and nospof up"
                raise Failed(f"that release of {name} is neither on {host} nor here any more", fix=fix) from None

        return sha256, read

    def remember(self) -> None:
        """Write down what was given, as the newest release of each name, where it is another one than before."""
        known = self.state.releases()
        for name, hosts in self.given.items():
            old = [release for release in known.get(name, ()) if release.hosts != hosts]
            known[name] = (*old, Release(time.time(), hosts))[-KEPT:]
        self.state.write_releases(known)


def one_before(state: State, name: str) -> Release:
    """The release of `name` before the newest. Raises Failed where there is none."""
    known = state.releases().get(name, ())
    if len(known) < 2:
        what = "only one release was ever rolled out" if known else "nothing of it was rolled out from here"
        raise Failed(f"{name} cannot go back: {what}", fix="put the folder as it is to be, and nospof up")
    return known[-2]


def forget_newest(state: State, name: str) -> None:
    """Take the newest release of `name` out of the list: it was gone back from, and is not to be gone back to."""
    known = state.releases()
    known[name] = known[name][:-1]
    state.write_releases(known)
