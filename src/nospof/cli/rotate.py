"""`nospof rotate ca`."""

from __future__ import annotations

from pathlib import Path

from nospof.cli.screen import Lines, console
from nospof.cli.stack_argument import running


def ca(path: Path) -> int:
    site = running(path)
    with Lines() as progress:
        site.replace_ca(progress)
    console.print("the stack has another CA, and all keys and certificates are new")
    console.print(f"  trust   {site.ca_file}")
    console.print("          (browsers and programs outside that trusted the old one must be told)")
    return 0
