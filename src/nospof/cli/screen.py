"""How progress and results look on a terminal: plain lines with a clock, coloured where there are colours."""

from __future__ import annotations

import threading
import time

from rich.console import Console
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)


class Lines:
    """Progress as one line per event, each with the seconds since the start."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self._lock = threading.Lock()

    def phase(self, text: str) -> None:
        self._print(Text(text, style="bold"))

    def host(self, host: str, text: str) -> None:
        self._print(Text.assemble("  ", (f"{host:<14}", "cyan"), text))

    def note(self, text: str) -> None:
        self._print(Text(text, style="yellow"))

    def _print(self, text: Text) -> None:
        with self._lock:
            console.print(Text.assemble((f"{time.monotonic() - self.start:6.1f} s  ", "dim"), text))


class Silent:
    """No progress, for output that programs read."""

    def phase(self, text: str) -> None:
        pass

    def host(self, host: str, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass
