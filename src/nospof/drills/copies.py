"""What each copy of the data holds of what a drill wrote, read on the host that has it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from nospof.apply.transport import Finished
from nospof.component import Component
from nospof.drills.checkers import Copies, Copy
from nospof.drills.checkers.copies_equal import copies_equal
from nospof.drills.ground import Ground
from nospof.drills.verdict import Result
from nospof.topology import Instance

LIMIT_S = 120.0
# A copy that has just come back applies what it missed; nobody writes any more.
CATCH_UP_TRIES, CATCH_UP_EVERY_S = 10, 2.0
READ = """\
import collections, hashlib, json, re, subprocess, sys
pattern, argv = re.compile(sys.argv[1].encode()), sys.argv[2:]
whole, found = hashlib.sha256(), collections.Counter()
with subprocess.Popen(argv, stdout=subprocess.PIPE) as dump:
    for line in dump.stdout:
        whole.update(line)
        found.update(set(pattern.findall(line)))
if dump.returncode:
    sys.exit(dump.returncode)
print(json.dumps([whole.hexdigest(), {token.decode(): count for token, count in found.items()}]))
"""


def copies(ground: Ground, pattern: str) -> Mapping[str, Copies]:
    """By tier and host, the tokens that match the regular expression `pattern`, and a checksum of all that is stored.

    Read again for a while where copies differ, since they may be catching up: what differs in the end differs for good.
    """
    for _ in range(CATCH_UP_TRIES):
        found = _read(ground, pattern)
        if all(copies_equal(of_tier).result is not Result.FAIL for of_tier in found.values()):
            break
        time.sleep(CATCH_UP_EVERY_S)
    return found


def _read(ground: Ground, pattern: str) -> Mapping[str, Copies]:
    members = [instance for instance in ground.topology.instances if Component.kinds[instance.component].dump]
    tiers = sorted({instance.id.tier for instance in members})
    with ThreadPoolExecutor(max(1, len(members))) as pool:
        read = dict(zip(members, pool.map(lambda member: _copy(ground, member, pattern), members), strict=True))
    return {tier: {one.id.host: copy for one, copy in read.items() if one.id.tier == tier} for tier in tiers}


def _copy(ground: Ground, member: Instance, pattern: str) -> Copy | None:
    argv = ["python3", "-c", READ, pattern, *Component.kinds[member.component].dump]
    ended = ground.run(member.id.host, argv, timeout_s=LIMIT_S)
    if not isinstance(ended, Finished) or ended.exit_code != 0:
        return None
    checksum, tokens = json.loads(ended.stdout)
    return Copy(tuple(token for token, count in sorted(tokens.items()) for _ in range(count)), {"content": checksum})
