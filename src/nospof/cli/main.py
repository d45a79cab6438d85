"""`nospof`: the commands, their exit codes, and how errors look. Commands live in a file each and are loaded when called."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Optional

import typer

from nospof import __version__

app = typer.Typer(
    help="One file describes a web stack; nospof builds it without a single point of failure.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
lab_app = typer.Typer(help="The machine as a home for virtual hosts.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(lab_app, name="lab")

Stack = Annotated[Path, typer.Argument(help="The stack file, or the folder it is in.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")]
DEFAULT = Path("stack.yaml")


@app.command()
def check(stack: Stack = DEFAULT, json: Json = False) -> None:
    """Say what is wrong or unsafe in the stack file. Touches nothing."""
    from nospof.cli import check as command

    raise typer.Exit(command.run(stack, as_json=json))


@app.command()
def diagram(stack: Stack = DEFAULT) -> None:
    """Draw the stack: zones, hosts, what runs on them, who calls whom."""
    from nospof.cli import diagram as command

    raise typer.Exit(command.run(stack))


@app.command()
def plan(stack: Stack = DEFAULT, json: Json = False) -> None:
    """Show what `up` would change, host by host and file by file. Touches nothing."""
    from nospof.cli import plan as command

    raise typer.Exit(command.run(stack, as_json=json))


@app.command()
def up(stack: Stack = DEFAULT) -> None:
    """Make everything as the file says. Run it again after every change, and after everything that interrupted it."""
    from nospof.cli import up as command

    raise typer.Exit(command.run(stack))


@app.command()
def status(stack: Stack = DEFAULT, json: Json = False) -> None:
    """Show how every part is now, and who holds the shared address."""
    from nospof.cli import status as command

    raise typer.Exit(command.run(stack, as_json=json))


@app.command()
def down(stack: Stack = DEFAULT) -> None:
    """Remove the lab's hosts and all they stored; secrets and ids stay in .nospof/."""
    from nospof.cli import down as command

    raise typer.Exit(command.run(stack))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def shell(
    context: typer.Context,
    stack_or_host: Annotated[str, typer.Argument(metavar="[STACK] HOST", help="A host of the stack, or `client`.")],
) -> None:
    """Open a shell on a host, or run a command there: nospof shell STACK HOST -- COMMAND."""
    from nospof.cli import shell as command

    raise typer.Exit(command.run([stack_or_host, *context.args]))


@lab_app.command("doctor")
def lab_doctor(
    stack: Annotated[Optional[Path], typer.Argument(help="The stack it shall carry; none: six hosts.")] = None,  # noqa: UP045
) -> None:
    """Look whether this machine can carry a lab, and say what to do where it cannot."""
    from nospof.cli import lab as command

    raise typer.Exit(command.doctor(stack))


@lab_app.command("off")
def lab_off(stack: Path, host: str) -> None:
    """Take a host's power away: at once, with everything it had not written to its disk."""
    from nospof.cli import lab as command

    raise typer.Exit(command.off(stack, host))


@lab_app.command("on")
def lab_on(stack: Path, host: str) -> None:
    """Give a host its power back; it boots from its own disk."""
    from nospof.cli import lab as command

    raise typer.Exit(command.on(stack, host))


def version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nospof {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every way it can end has an exit code of its own (nospof.errors)."""
    code = 0
    try:
        app(standalone_mode=False)
    except typer.Exit as ended:
        code = ended.exit_code
    except KeyboardInterrupt:
        typer.echo("\ninterrupted. What was begun on the hosts is noted there: the same command goes on from it.", err=True)
        code = 3
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        code = _failed(error)
    sys.exit(code)


def _failed(error: Exception) -> int:
    from click import ClickException
    from click.exceptions import Abort

    from nospof.errors import NospofError

    if isinstance(error, Abort):
        typer.echo("stopped.", err=True)
        return 2
    if isinstance(error, ClickException):
        error.show()
        return 2
    if isinstance(error, NospofError) and error.exit_code != NospofError.exit_code:
        typer.echo(str(error), err=True)
        return error.exit_code
    place = _write_traceback(error)
    typer.echo(f"{error}\nthis is a defect of nospof, not of your stack; what is needed to find it: {place}", err=True)
    return NospofError.exit_code


def _write_traceback(error: Exception) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="nospof-defect-", suffix=".txt", delete=False) as stream:
        traceback.print_exception(error, file=stream)
    return stream.name
