"""Shell text that replaces the content of a file on a host for as long as a fault holds, and puts the old one back.

What it was before is kept beside it, so that it is there however often either is begun and not finished, and after a reboot.
"""

from __future__ import annotations

import base64


def spoil(path: str, content: bytes) -> str:
    """Replace the content of `path`; owner and rights stay."""
    text = base64.b64encode(content).decode()
    return f"""
if [ ! -e {kept(path)} ]; then cp --preserve=all {path} {_draft(path)}; mv {_draft(path)} {kept(path)}; fi
cp --preserve=all {kept(path)} {_draft(path)}
printf %s {text} | base64 --decode >{_draft(path)}
mv {_draft(path)} {path}
"""


def restore(path: str, then: str = "true") -> str:
    """Put the old content back, if it was replaced, and do what `then` says."""
    return f"""
rm -f {_draft(path)}
if [ -e {kept(path)} ]; then
  cp --preserve=all {kept(path)} {_draft(path)}
  mv {_draft(path)} {path}
  {then}
  rm -f {kept(path)}
fi
"""


def kept(path: str) -> str:
    """Where the old content is while the new one is there."""
    return f"{path}.before-drill"


def _draft(path: str) -> str:
    return f"{path}.draft-of-drill"
