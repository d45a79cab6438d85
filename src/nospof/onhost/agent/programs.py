"""Running other programs to their end, within a time."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import IO

from nospof.onhost.agent.engine import EngineError


def run(program: str, *words: str, limit_s: float, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> None:
    """Run a program to its end; EngineError with its last lines if it fails or takes too long."""
    with tempfile.TemporaryFile() as output:
        whole_environment = {**os.environ, **(environment or {})}
        try:
            with subprocess.Popen(
                [program, *words],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=whole_environment,
                start_new_session=True,
            ) as running:
                try:
                    running.communicate(stdin, limit_s)
                finally:
                    with suppress(ProcessLookupError):
                        os.killpg(running.pid, 9)
        except subprocess.TimeoutExpired:
            raise EngineError(f"{program} did not end within {limit_s:g} s: {last_lines(output)}") from None
        except OSError as error:
            raise EngineError(f"{program}: {error}") from error
        if running.returncode != 0:
            raise EngineError(f"{program} failed with {running.returncode}: {last_lines(output)}")


def last_lines(output: IO[bytes], count: int = 5) -> str:
    output.seek(0, os.SEEK_END)
    output.seek(max(0, output.tell() - 4096))
    lines = output.read().decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-count:])
