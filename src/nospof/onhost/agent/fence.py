"""What the agent refuses on the network, in a table of its own that applying never touches.

Two lists: replicas that may not fetch from the primary here until they acknowledge nothing (`blocked`), and a silent primary
whose host is refused at once, so that nothing here waits for it. The first outlives agent and host, on disk: a replica that did
not hear yet that it is no voter would acknowledge as soon as it is let in. So `restore` comes before the server starts.
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
        self._refused = ""

    def block(self, nodes: frozenset[str]) -> None:
        """Let exactly these hosts not fetch from here. Raises OSError when the kernel does not take the rules."""
        # On disk first what is added, in the kernel first what is taken away.
        self._remember(nodes | self.blocked)
        self._apply(nodes, self._refused)
        self._remember(nodes)
        self.blocked = nodes

    def refuse(self, node: str) -> None:
        """Answer every attempt to reach this primary with a reset. Raises OSError."""
        if node in self._addresses and node != self._refused:
            self._apply(self.blocked, node)
            self._refused = node

    def reach_all(self) -> None:
        """Refuse no primary any more. Raises OSError."""
        if self._refused:
            self._apply(self.blocked, "")
            self._refused = ""

    def restore(self) -> None:
        """Have the kernel hold what is remembered here. Raises OSError."""
        self._apply(self.blocked, self._refused)

    def _remember(self, nodes: frozenset[str]) -> None:
        if nodes == (frozenset(self._keep.read_text().split()) if self._keep.exists() else frozenset()):
            return
        new = self._keep.with_suffix(".new")
        with new.open("w") as stream:
            stream.write("\n".join(sorted(nodes)))
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self._keep)

    def _apply(self, blocked: frozenset[str], refused: str) -> None:
        rules = text_of(
            {self._addresses[node] for node in blocked if node in self._addresses}, self._addresses.get(refused, ""), self._port
        )
        try:
            done = subprocess.run(
                ["/usr/sbin/nft", "-f", "-"], input=rules, text=True, capture_output=True, timeout=NFT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise OSError("nft did not answer") from error
        if done.returncode != 0:
            raise OSError(f"nft: {done.stderr.strip()}")


def text_of(blocked: set[str], refused: str, port: int) -> str:
    """The rules, replaced in one transaction. Before the stack's firewall, which accepts what is established. Pure."""
    lines = [f"table {TABLE} {{}}", f"delete table {TABLE}"]
    if not blocked and not refused:
        return "\n".join(lines) + "\n"
    lines.append(f"table {TABLE} {{")
    if blocked:
        lines += [
            "    chain from_replicas {",
            "        type filter hook input priority filter - 10; policy accept;",
            f"        ip saddr {{ {', '.join(sorted(blocked))} }} tcp dport {port} reject with tcp reset",
            "    }",
        ]
    if refused:
        lines += [
            "    chain to_primary {",
            "        type filter hook output priority filter - 10; policy accept;",
            f"        ip daddr {refused} tcp dport {port} reject with tcp reset",
            "    }",
        ]
    return "\n".join([*lines, "}"]) + "\n"
