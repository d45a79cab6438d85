"""`nospof shell`."""

from __future__ import annotations

from collections.abc import Sequence

from nospof.cli.stack_argument import deployment, known_host, split


def run(words: Sequence[str]) -> int:
    path, host, command = split(words)
    site = deployment(path)
    host = known_host(site, host)
    return site.lab.enter(host, command)
