"""Replaces the content of a file on a host for as long as a fault holds, and puts the old one back, by shell text.

What it was before is kept beside it, so that it is there however often either is begun and not finished, and after a reboot.
"""

from __future__ import annotations

import base64

from nospof.drills.fault import Evidence, Ground


def spoil(path: str, content: bytes) -> str:
    """Replace the content of `path`; owner and rights stay."""
    text = base64.b64encode(content).decode()
    return f"""
if [ ! -e {_kept(path)} ]; then cp --preserve=all {path} {_draft(path)}; mv {_draft(path)} {_kept(path)}; fi
cp --preserve=all {_kept(path)} {_draft(path)}
printf %s {text} | base64 --decode >{_draft(path)}
mv {_draft(path)} {path}
"""


def restore(path: str, then: str = "true") -> str:
    """Put the old content back, if it was replaced, and do what `then` says."""
    return f"""
rm -f {_draft(path)}
if [ -e {_kept(path)} ]; then
  cp --preserve=all {_kept(path)} {_draft(path)}
  mv {_draft(path)} {path}
  {then}
  rm -f {_kept(path)}
fi
"""


def restored(ground: Ground, host: str, path: str) -> Evidence:
    """Look whether the old content is back."""
    is_kept = ground.sh(host, f"ls {_kept(path)} 2>/dev/null || true")
    return Evidence(not is_kept, f"{path} is {'not ' if is_kept else ''}as it was")


def _kept(path: str) -> str:
    """Where the old content is while the new one is there."""
    return f"{path}.before-drill"


def _draft(path: str) -> str:
    return f"{path}.draft-of-drill"
