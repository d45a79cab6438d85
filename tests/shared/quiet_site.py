"""A stack in a lab of its own, brought up in this process, without a word."""

from __future__ import annotations

from pathlib import Path

from nospof.apply.transport import Finished
from nospof.deployment import Deployment, lab_of


class Quiet:
    def phase(self, text: str) -> None: ...
    def host(self, host: str, text: str) -> None: ...
    def note(self, text: str) -> None: ...


class QuietSite:
    """The stack whose file is `file`."""

    file: Path

    def edit(self, old: str, new: str) -> None:
        """Replace `old`, which must be there, by `new` in the stack file."""
        text = self.file.read_text()
        assert old in text, old
        self.file.write_text(text.replace(old, new))

    @property
    def deployment(self) -> Deployment:
        return Deployment.load(self.file)

    def up(self) -> bool:
        return self.deployment.up(Quiet())

    def down(self) -> None:
        lab = lab_of(self.file)
        if lab is not None:
            lab.down()

    def run(self, host: str, *argv: str, stdin: bytes = b"") -> Finished:
        """Run a command on a host, which must come to its end, a good one or not."""
        outcome = self.deployment.lab.run(host, argv, stdin)
        assert isinstance(outcome, Finished), f"{host}: {outcome}"
        return outcome

    def on(self, host: str, *argv: str, stdin: bytes = b"") -> str:
        """Run a command on a host, which must work; returns its standard output."""
        outcome = self.run(host, *argv, stdin=stdin)
        assert outcome.exit_code == 0, f"{host}: {' '.join(argv)}: {outcome.stdout.decode()} {outcome.stderr.decode()}"
        return outcome.stdout.decode().strip()
