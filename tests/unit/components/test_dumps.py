"""What a drill reads of a database to compare its copies."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nospof.components import mariadb, mysql

DATABASES = "information_schema\napp\nmysql\nnospof\nother\nperformance_schema\nsys\n"


@pytest.mark.parametrize(("texts", "program"), [(mariadb.texts, "mariadb"), (mysql.texts, "mysql")])
def test_dump_has_the_users_databases_only(tmp_path: Path, texts: object, program: str) -> None:
    """Incident: the agents' pulse was in it, and copies that were equal were said to differ."""
    dump = {"mariadb": "mariadb-dump", "mysql": "mysqldump"}[program]
    for name, says in ((program, f"printf '{DATABASES}'"), (dump, 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    argv = ["sh", "-c", texts.DUMP]  # type: ignore[attr-defined]
    said = subprocess.run(argv, env=environment, text=True, capture_output=True, check=True).stdout
    assert said.endswith("--databases app other\n")
