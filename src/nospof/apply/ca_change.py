"""Another CA without an outage: first all believe both, then everything is issued by the new one, then the old one goes.

Each step is files under .nospof/ and an `up` after them, so that what was interrupted goes on where it was.
"""

from __future__ import annotations

from enum import Enum

from nospof.apply.seal import CA, CA_BEFORE, CA_KEY, NEXT_CA, NEXT_CA_KEY, Vault
from nospof.apply.state import State

FORGOTTEN = "certificates/ca-forgotten.crt"


class CaStep(Enum):
    """How far the change has come; the value says what the hosts are given."""

    TRUST = "every host believes the next CA beside the present one"
    ISSUE = "every key and certificate is made anew, by the new CA"
    FORGET = "the old CA is believed no more"


def under_way(state: State) -> CaStep | None:
    """The step whose files are written, and which may not be on all hosts yet; None while no change was begun."""
    files = {CA_BEFORE: CaStep.ISSUE, NEXT_CA: CaStep.TRUST, FORGOTTEN: CaStep.FORGET}
    return next((step for name, step in files.items() if (state.folder / name).exists()), None)


def begin(vault: Vault) -> None:
    """Write what the first step needs."""
    vault.prepare_next_ca()


def settle(state: State) -> None:
    """End what was interrupted in the midst of its files: a CA's key must never stand beside another's certificate."""
    if (state.folder / CA_BEFORE).exists():
        issue_by_next(state)


def issue_by_next(state: State) -> None:
    """Write what the second step needs. May be done again, wherever it was interrupted."""
    folder = state.folder
    coming = folder / NEXT_CA
    if not coming.exists():
        return
    if not (folder / CA_BEFORE).exists():
        state.write(CA_BEFORE, (folder / CA).read_text())
    state.write(CA_KEY, (folder / NEXT_CA_KEY).read_text())
    state.write(CA, coming.read_text())
    # A key was made beside the CA's: who may have seen that one may have seen all.
    for path in folder.glob("certificates/*@*"):
        path.unlink()
    coming.unlink()
    (folder / NEXT_CA_KEY).unlink()


def forget_before(state: State) -> None:
    """Write what the last step needs: the old CA is put aside, so that it is known that hosts may still believe it."""
    (state.folder / CA_BEFORE).rename(state.folder / FORGOTTEN)


def end(state: State) -> None:
    """No host believes the old CA any more."""
    (state.folder / FORGOTTEN).unlink()
