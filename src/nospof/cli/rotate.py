"""`nospof rotate ca` and `nospof rotate passwords`."""

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


def passwords(path: Path) -> int:
    site = running(path)
    with Lines() as progress:
        names = site.replace_passwords(progress)
    console.print(f"{len(names)} passwords are new, and the old ones are refused")
    console.print(f"  kept    {site.state.folder / 'secrets'}")
    console.print("          (people and programs outside that were given one must be given the new one)")
    return 0
