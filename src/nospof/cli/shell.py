"""`nospof shell`."""

from __future__ import annotations

from collections.abc import Sequence

from nospof.cli.stack_argument import deployment, known_host, running, split


def run(words: Sequence[str]) -> int:
    path, host, command = split(words)
    known = known_host(deployment(path), host)
    site = running(path)
    return (site.lab if site.is_lab else site.servers).enter(known, command)
