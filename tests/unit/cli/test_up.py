"""What `nospof up` says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.components import web_stacks

from nospof.cli.up import where
from nospof.deployment import Deployment


@pytest.mark.parametrize("https", ["on", "off"])
def test_lines_that_dns_must_have_are_told_on_real_servers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], https: str
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "stack.yaml").write_text(web_stacks.BOTH.replace("to: web}", f"to: web, https: {https}}}"))
    where(Deployment.load(tmp_path / "stack.yaml"))

    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[-5:] for line in said if "IN" in line] == [
        ["both.example.com.", "300", "IN", "A", address] for address in ("192.0.2.10", "192.0.2.20")
    ]
    assert any("dns.zone" in word for line in said for word in line)


def test_visitors_of_a_lab_use_every_address(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    text = web_stacks.BOTH.replace("vip: [192.0.2.10/24, 192.0.2.20/24]\n", "")
    for number in range(11, 15):
        text = text.replace(f", address: 192.0.2.{number}", "")
    (tmp_path / "stack.yaml").write_text(text)
    site = Deployment.load(tmp_path / "stack.yaml")
    assert site.is_lab
    assert site.entrance_addresses == ("198.18.0.1", "198.18.0.2")
