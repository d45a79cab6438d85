"""What the agent refuses on the network, in a table of its own that applying never touches.

Replicas that may not fetch from the primary here until they acknowledge nothing. It outlives agent and host, on disk: one that
did not hear yet that it is no voter would acknowledge as soon as it is let in. So `restore` comes before the server starts.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

TABLE = "inet nospof_fence"
NFT_S = 5.0


class Fence:
    """`addresses`: host → address; `port`: the database's, on every host; `keep`: the file that remembers."""

    def __init__(self, addresses: Mapping[str, str], port: int, keep: Path) -> None:
        self._addresses, self._port, self._keep = dict(addresses), port, keep
        self.blocked: frozenset[str] = frozenset(keep.read_text().split() if keep.exists() else ())

    def block(self, nodes: frozenset[str]) -> None:
        """Let exactly these hosts not fetch from here. Raises OSError when the kernel does not take the rules."""
        # On disk first what is added, in the kernel first what is taken away.
        self._remember(nodes | self.blocked)
        self._apply(nodes)
        self._remember(nodes)
        self.blocked = nodes

    def restore(self) -> None:
        """Have the kernel hold what is remembered here. Raises OSError."""
        self._apply(self.blocked)

    def _remember(self, nodes: frozenset[str]) -> None:
        if nodes == (frozenset(self._keep.read_text().split()) if self._keep.exists() else frozenset()):
            return
        new = self._keep.with_suffix(".new")
        with new.open("w") as stream:
            stream.write("\n".join(sorted(nodes)))
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self._keep)

    def _apply(self, blocked: frozenset[str]) -> None:
        rules = text_of({self._addresses[node] for node in blocked if node in self._addresses}, self._port)
        nft = ["/usr/sbin/nft", "-f", "-"]
        try:
            done = subprocess.run(nft, input=rules, text=True, capture_output=True, timeout=NFT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise OSError("nft did not answer") from error
        if done.returncode != 0:
            raise OSError(f"nft: {done.stderr.strip()}")


def text_of(blocked: set[str], port: int) -> str:
    """The rules, replaced in one transaction; before the stack's firewall, which accepts what is established. Pure."""
    lines = [f"table {TABLE} {{}}", f"delete table {TABLE}"]
    if blocked:
        lines += [
            f"table {TABLE} {{",
            "    chain from_replicas {",
            "        type filter hook input priority filter - 10; policy accept;",
            f"        ip saddr {{ {', '.join(sorted(blocked))} }} tcp dport {port} reject with tcp reset",
            "    }",
            "}",
        ]
    return "\n".join(lines) + "\n"
