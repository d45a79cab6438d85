"""What a lab is to be: wrong plans are refused before anything is touched, and the record survives."""

import json
from pathlib import Path

import pytest

from nospof.errors import Failed, WrongInput
from nospof.lab import places, plan
from nospof.lab.places import Places
from nospof.lab.plan import LabHost, LabPlan, LabRecord

WEB1 = LabHost("web1", "a", "198.18.1.1")


@pytest.mark.parametrize(
    "host",
    [
        LabHost("web1", "b", "198.18.1.2"),  # the name twice
        LabHost("web2", "b", "198.18.1.1"),  # the address twice
        LabHost("client", "b", "198.18.1.2"),
        LabHost("web2", "b", "198.18.255.1"),  # the client's
        LabHost("web2", "b", "198.18.255.254"),  # the trunk's
        LabHost("web2", "b", "192.168.1.1"),  # somebody's LAN
        LabHost("web2", "b", "198.18.1"),
        LabHost("web.2", "b", "198.18.1.2"),
        LabHost("-web", "b", "198.18.1.2"),
        LabHost("_forwarder", "b", "198.18.1.2"),
        LabHost("web2", "b c", "198.18.1.2"),
    ],
)
def test_plan_that_cannot_be_made_is_refused(host: LabHost) -> None:
    with pytest.raises(WrongInput):
        plan.check_plan(LabPlan("shop", (WEB1, host), (), ()))


def test_client_is_always_one_more_host() -> None:
    made = LabPlan("shop", (WEB1,), (), ())
    plan.check_plan(made)
    assert [host.name for host in made.with_client()] == ["web1", "client"]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setattr(places, "LABS", tmp_path)
    return Places("shop")


@pytest.mark.parametrize("forward_to", [(), (("198.18.0.10", 443),), (("198.18.0.10", 443), ("198.18.0.11", 443))])
def test_record_is_read_as_it_was_written(shop: Places, forward_to: tuple[tuple[str, int], ...]) -> None:
    record = LabRecord(LabPlan("shop", (WEB1,), ("haproxy",), forward_to, "sid"), Path("/image"), 8443)
    assert plan.read_record(shop) is None
    plan.write_record(shop, record)
    assert plan.read_record(shop) == record
    assert shop.folder.stat().st_mode & 0o077 == 0  # the disks hold secrets


@pytest.mark.parametrize(("said", "targets"), [(None, ()), (["198.18.0.10", 443], (("198.18.0.10", 443),))])
def test_lab_that_was_made_when_there_was_one_address_is_still_known(
    shop: Places, said: list[object] | None, targets: tuple[tuple[str, int], ...]
) -> None:
    plan.write_record(shop, LabRecord(LabPlan("shop", (WEB1,), ("haproxy",), ()), Path("/image"), 8443))
    shop.record.write_text(json.dumps(json.loads(shop.record.read_text()) | {"forward_to": said}))
    record = plan.read_record(shop)
    assert record is not None
    assert record.plan.forward_to == targets


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}'])
def test_record_that_cannot_be_understood_is_not_taken_for_none(shop: Places, text: str) -> None:
    shop.folder.mkdir()
    shop.record.write_text(text)
    with pytest.raises(Failed, match="cannot be understood"):
        plan.read_record(shop)
