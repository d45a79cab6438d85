"""Other passwords without an outage: first servers take the next beside the present one, then callers use it, then the old go.

All of a change is in one file under .nospof/, and each step is that file replaced at once and an `up` after it: whenever it is
interrupted, the next run knows which passwords are used and which are taken, and no password is lost before no host has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from nospof.apply.state import State

FILE = "passwords.json"


class PasswordStep(Enum):
    """How far the change has come; the value says what the hosts are given."""

    ADMIT = "every server takes the next passwords beside the present ones"
    USE = "everything that calls a server uses the next passwords"
    FORGET = "the old passwords are taken no more"


@dataclass(frozen=True)
class PasswordChange:
    """The step whose `up` is to come, or may not have come to its end. `coming`: by name, the next password."""

    step: PasswordStep
    coming: Mapping[str, str] = field(repr=False)

    def used(self, name: str, kept: str) -> str:
        """What callers use as password `name`, of which `kept` was there before."""
        return kept if self.step is PasswordStep.ADMIT else self.coming.get(name, kept)

    def accepted(self, name: str, kept: str) -> tuple[str, ...]:
        """What servers take, in an order that tells nothing of the step: who changes nothing need not notice."""
        if self.step is PasswordStep.FORGET:
            return (self.used(name, kept),)
        return tuple(sorted({kept, self.coming.get(name, kept)}))


def secret_file(name: str) -> str:
    """Where the secret called `name` is kept, below the state's folder."""
    return f"secrets/{name.replace('/', '.')}"


def under_way(state: State) -> PasswordChange | None:
    """The change that was begun and not ended; None where there is none. Raises WrongInput when its file is damaged."""
    why = "it holds the passwords that the hosts may have already"
    return state.told(FILE, _change, None, why, "put it back from a copy of .nospof/")


def begin(state: State, coming: Mapping[str, str]) -> None:
    """Write what the first step needs."""
    _write(state, PasswordChange(PasswordStep.ADMIT, coming))


def next_step(state: State, change: PasswordChange) -> PasswordChange | None:
    """Write what the step after `change`'s needs, once that one is on every host; None: there is none, all is done.

    May be done again, wherever it was interrupted.
    """
    after = {PasswordStep.ADMIT: PasswordStep.USE, PasswordStep.USE: PasswordStep.FORGET}.get(change.step)
    if after is not None:
        following = replace(change, step=after)
        _write(state, following)
        return following
    for name, password in sorted(change.coming.items()):
        state.write(secret_file(name), f"{password}\n")
    (state.folder / FILE).unlink()
    return None


def _write(state: State, change: PasswordChange) -> None:
    state.write(FILE, json.dumps({"step": change.step.name, "next": dict(sorted(change.coming.items()))}, indent=1) + "\n")


def _change(told: Any) -> PasswordChange | None:
    return PasswordChange(PasswordStep[told["step"]], {str(name): str(password) for name, password in told["next"].items()})
