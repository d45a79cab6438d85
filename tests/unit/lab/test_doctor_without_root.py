from __future__ import annotations

import os

import pytest

from nospof.lab.doctor import Verdict, examine

NEED_ROOT = {"overlay", "loop", "veth and bridge", "nft in bridges"}


def test_what_only_root_can_try_is_unknown_and_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Incident: without root the doctor said that overlay does not work, and to load a module that was there."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    checks = {check.name: check for check in examine(1)}

    assert {name: checks[name].verdict for name in NEED_ROOT} == dict.fromkeys(NEED_ROOT, Verdict.UNKNOWN)
    assert not any(checks[name].fix for name in NEED_ROOT)
