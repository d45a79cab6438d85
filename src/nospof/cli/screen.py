"""How progress and results look on a terminal: plain lines with a clock, coloured where there are colours.

Hosts that had the same done to them share a line. A terminal shows besides, in its last line, what is going on now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)
HOSTS_WIDTH, MOST_NAMED = 20, 3


class Lines:
    """Progress as lines with the seconds since the start. To be used in a `with`, which prints what is still held back."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self._lock = threading.Lock()
        self._done: dict[str, list[str]] = {}
        """What was done in this phase → the hosts it was done on."""
        self._last_s: dict[str, float] = {}
        self._now = ""
        self._live = Live(get_renderable=self._now_line, console=console, transient=True, refresh_per_second=5)

    def __enter__(self) -> Lines:
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._show_done()
        self._live.stop()

    def phase(self, text: str) -> None:
        with self._lock:
            self._show_done()
            self._now = text
            self._print(Text(text, style="bold"), self._elapsed_s())

    def host(self, host: str, text: str) -> None:
        with self._lock:
            self._now, self._last_s[text] = f"{host} {text}", self._elapsed_s()
            _forget(self._done, host, "boots")
            self._done.setdefault(text, []).append(host)

    def now(self, text: str) -> None:
        """Show `text` as what is going on now, until something else does."""
        with self._lock:
            self._now = text

    def note(self, text: str) -> None:
        with self._lock:
            self._show_done()
            self._print(Text(text, style="yellow"), self._elapsed_s())

    def _show_done(self) -> None:
        for text, hosts in sorted(self._done.items(), key=lambda done: self._last_s[done[0]]):
            said = f"are {text[3:]}" if text.startswith("is ") and len(hosts) > 1 else text
            self._print(Text.assemble("  ", (f"{_names(hosts):<{HOSTS_WIDTH}}", "cyan"), "  ", said), self._last_s[text])
        self._done.clear()

    def _print(self, text: Text, at_s: float) -> None:
        console.print(Text.assemble((f"{at_s:6.1f} s  ", "dim"), text))

    def _now_line(self) -> Text:
        line = Text.assemble((f"{self._elapsed_s():6.1f} s  … ", "dim"), (self._now, "dim"))
        line.truncate(max(10, console.width - 1), overflow="ellipsis")
        return line

    def _elapsed_s(self) -> float:
        return time.monotonic() - self.start


class Silent:
    """No progress, for output that programs read."""

    def phase(self, text: str) -> None:
        pass

    def host(self, host: str, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def moment(at: float) -> str:
    """A time in seconds since the epoch as the clock of this machine says it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def phases(ms: Mapping[str, int]) -> str:
    """What took how long: "44 ms: froze 30, promoted 6, writable 8"."""
    parts = ", ".join(f"{name} {took}" for name, took in ms.items())
    return f"{sum(ms.values())} ms: {parts}" if ms else "times unknown"


def _names(hosts: list[str]) -> str:
    """The hosts by name while they are few, by number when they are many."""
    names = sorted(set(hosts))
    return ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} hosts"


def _forget(done: dict[str, list[str]], host: str, text: str) -> None:
    """Take back what was said of `host` only for the time being."""
    if host in done.get(text, ()):
        done[text].remove(host)
        if not done[text]:
            del done[text]


VERDICTS = {"OK": "green", "WARN": "yellow", "FAIL": "red", "UNKNOWN": "yellow"}


def show_check(verdict: str, name: str, what: str, fix: str) -> None:
    """Print one thing that was looked at, and what to do where something is."""
    console.print(Text.assemble("[", (f"{verdict:^7}", VERDICTS[verdict]), f"] {name:<24} {what}"))
    if fix:
        console.print(Text(f"{'':34} fix: {fix}", style="dim"))
