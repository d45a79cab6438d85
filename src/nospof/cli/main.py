"""`nospof`: the commands, their exit codes, and how errors look. Commands live in a file each and are loaded when called."""

from __future__ import annotations

import os
import sys
import traceback
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperCommand, TyperGroup

from nospof import __version__
from nospof.cli.root import as_root
from nospof.errors import NospofError, Uncertain, WrongInput


class Interruptible(TyperGroup):
    """Commands that say what a Ctrl-C leaves behind, where typer would only end with 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Uncertain("interrupted", fix="run the same command again: it goes on from what was begun") from None


class Worded(TyperCommand):
    """A command that tells its words apart itself: its usage is what their metavar says."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [parameter.metavar for parameter in self.params if parameter.metavar]


class WordedWithOptions(TyperCommand):
    """The same for a command that has options, too."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(str(parameter.metavar) for parameter in self.params if parameter.param_type_name == "argument")]


app = typer.Typer(
    cls=Interruptible,
    help="One file describes a web stack; nospof builds it without a single point of failure.",
    epilog="STACK is a stack file or its folder, ./stack.yaml unless named. Begin with `nospof check`, then `nospof up`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
lab_app = typer.Typer(
    help="The virtual hosts in this machine: can it carry them, and their power.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(lab_app, name="lab")
state_app = typer.Typer(
    help="The stack's secrets and ids beside its file: for another machine.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(state_app, name="state")
rotate_app = typer.Typer(help="Make what is secret anew, without an outage.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(rotate_app, name="rotate")

Stack = Annotated[Path, typer.Argument(metavar="STACK", help="The stack file, or the folder it is in.", show_default=True)]
StackAndHost = Annotated[list[str], typer.Argument(metavar="[STACK] HOST", help="A host of the stack, or `client`.")]
Sarif = Annotated[bool, typer.Option("--sarif", help="Print SARIF 2.1.0, for editors and continuous integration.")]
Tier = Annotated[str, typer.Option("--tier", metavar="TIER", help="The database's tier, where there are several.")]
Json = Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")]
Output = Annotated[Optional[Path], typer.Option("--output", "-o", metavar="FILE", help="Where to; none: the terminal.")]  # noqa: UP045
Reads = Annotated[float, typer.Option("--reads", metavar="N", help="Pages that visitors ask for each second.")]
Budget = Annotated[str, typer.Option("--budget", metavar="TIME", help="Begin no drill after this time: 20m, 1h.")]
Writes = Annotated[float, typer.Option("--writes", metavar="N", help="Writes that visitors make each second.")]
DEFAULT = Path("stack.yaml")


class DocumentForm(Enum):
    MARKDOWN = "markdown"
    HTML = "html"


class PictureForm(Enum):
    TEXT = "text"
    SVG = "svg"
    MERMAID = "mermaid"


@app.command()
def check(stack: Stack = DEFAULT, json: Json = False, sarif: Sarif = False) -> None:
    """Say what is wrong or unsafe in the stack file, and what fails when any part is lost. Touches nothing."""
    from nospof.cli import check as command

    raise typer.Exit(command.run(stack, as_json=json, as_sarif=sarif))


@app.command()
def analyse(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A fault tree in the Open-PSA Model Exchange Format.")],
    top: Annotated[
        str, typer.Option("--top", metavar="GATE", help="The gate to analyse; none: the one no other gate uses.")
    ] = "",
    most: Annotated[int, typer.Option("--most", metavar="N", help="List so many sets and events.")] = 10,
    path_sets: Annotated[bool, typer.Option("--path-sets", help="Minimal path sets, too.")] = False,
    mission_time: Annotated[float, typer.Option("--mission-time", metavar="HOURS", help="Where the model asks for it.")] = 8760,
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", help="Limit of memory: 200 bytes each.")] = 16_000_000,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", help="Limit of time.")] = 600,
    json: Json = False,
) -> None:
    """Analyse a fault tree: minimal cut sets, exact probability, importance of each event."""
    from nospof.cli import analyse as command

    code = command.run(
        file,
        top=top,
        most=most,
        with_path_sets=path_sets,
        mission_time_h=mission_time,
        nodes=nodes,
        seconds=seconds,
        as_json=json,
    )
    raise typer.Exit(code)


@app.command()
def explain(
    stack: Stack = DEFAULT,
    form: Annotated[Optional[DocumentForm], typer.Option("--format", help="Markdown, unless FILE ends otherwise.")] = None,  # noqa: UP045
    output: Output = None,
    json: Json = False,
) -> None:
    """Write the stack's design document: what it is, why each part is there, what its loss means, what remains weak."""
    from nospof.cli import explain as command

    raise typer.Exit(command.run(stack, form="json" if json else form.value if form else "", output=output))


@app.command()
def diagram(
    stack: Stack = DEFAULT,
    form: Annotated[Optional[PictureForm], typer.Option("--format", help="Text, unless FILE ends otherwise.")] = None,  # noqa: UP045
    output: Output = None,
) -> None:
    """Draw the stack: zones, hosts, what runs on them, who calls whom."""
    from nospof.cli import diagram as command

    raise typer.Exit(command.run(stack, form=form.value if form else "", output=output))


@app.command()
def dashboard(stack: Stack = DEFAULT, output: Output = None) -> None:
    """Write a Grafana dashboard of the stack, as JSON to be imported: visitors, each tier, the database, the hosts."""
    from nospof.cli import dashboard as command

    raise typer.Exit(command.run(stack, output=output))


@app.command()
def preflight(stack: Stack = DEFAULT, json: Json = False) -> None:
    """Say whether real servers can become the hosts of the stack, and what to do where they cannot. Changes nothing there."""
    from nospof.cli import preflight as command

    raise typer.Exit(command.run(stack, as_json=json))


@app.command()
def plan(
    stack: Stack = DEFAULT,
    json: Json = False,
    save: Annotated[Optional[Path], typer.Option("--save", metavar="FILE", help="Keep it for `up --plan FILE`.")] = None,  # noqa: UP045
) -> None:
    """Show what `up` would change, host by host and file by file. Touches nothing."""
    from nospof.cli import plan as command

    raise typer.Exit(command.run(stack, as_json=json, save=save))


@app.command()
def up(
    stack: Stack = DEFAULT,
    plan: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--plan", metavar="FILE", help="Make what this saved plan showed, or nothing."),
    ] = None,
) -> None:
    """Make everything as the file says. Run it again after every change, and after everything that interrupted it."""
    from nospof.cli import up as command

    raise typer.Exit(command.run(stack, plan=plan))


@app.command()
def status(stack: Stack = DEFAULT, json: Json = False) -> None:
    """Show how every part is now, and who holds the VIP. Ends with 0 only while all is well."""
    from nospof.cli import status as command

    raise typer.Exit(command.run(stack, as_json=json))


@app.command()
def measure(
    stack: Stack = DEFAULT,
    p99: Annotated[
        float, typer.Option("--p99", metavar="SECONDS", min=0.001, max=60, help="In which 99 of 100 requests must be answered.")
    ] = 0.2,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=2, max=600, help="How long each rate is kept up.")
    ] = 4,
    most: Annotated[float, typer.Option("--most", metavar="QPS", min=1, max=100_000, help="Never ask for more.")] = 2000,
    path: Annotated[str, typer.Option("--path", metavar="PATH", help="What is asked for; none: the first site's own.")] = "",
    connections: Annotated[
        int, typer.Option("--connections", metavar="N", min=0, max=500, help="Kept open; 0: one for each request.")
    ] = 50,
    json: Json = False,
) -> None:
    """Find how many requests a second the whole and each instance answer, for `check`. Loads the running stack with GETs."""
    from nospof.cli import measure as command

    code = command.run(stack, p99_s=p99, seconds=seconds, most_qps=most, connections=connections, path=path, as_json=json)
    raise typer.Exit(code)


@app.command()
def switchover(
    stack: Stack = DEFAULT,
    tier: Tier = "",
    to: Annotated[str, typer.Option("--to", metavar="HOST", help="Who is to be primary; none: whoever is fit.")] = "",
) -> None:
    """Pass the database's primary role to another host. Loses no write; new connections wait for a moment."""
    from nospof.cli import switchover as command

    raise typer.Exit(command.run(stack, tier=tier, to=to))


@app.command(cls=WordedWithOptions)
def promote(
    words: Annotated[list[str], typer.Argument(metavar="[STACK] HOST", help="The host that is to be primary.")],
    tier: Tier = "",
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="Accept that acknowledged writes may be lost.")] = False,
    yes: Annotated[str, typer.Option("--yes", metavar="NAME", help="The stack's name, for scripts: do not ask.")] = "",
) -> None:
    """Make a host primary with what it has, when no host may take over by itself. The last resort."""
    from nospof.cli import promote as command

    raise typer.Exit(command.run(words, tier=tier, accept_loss=accept_loss, yes=yes))


@app.command()
def pause(
    stack: Stack = DEFAULT,
    tier: Tier = "",
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 90s, 30m, 1h, 2d.")] = "1h",
) -> None:
    """Have nobody take over by itself for a while, as for work on hosts or network."""
    from nospof.cli import pause as command

    raise typer.Exit(command.run(stack, tier=tier, duration=duration))


@app.command(cls=WordedWithOptions)
def drill(
    words: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[STACK] FAULT TARGET", help="What to break, or a FILE.yaml that says it."),
    ] = None,
    parameters: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="NAME=VALUE", help="How to break it; --list tells the names."),
    ] = None,
    hold: Annotated[float, typer.Option("--hold", metavar="S", help="Seconds until it is healed; a verdict needs 13.")] = 13,
    reads: Reads = 50,
    writes: Writes = 20,
    random: Annotated[int, typer.Option("--random", metavar="N", help="So many random drills instead of one.")] = 0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed breaks the same at the same times.")] = 1,
    first: Annotated[int, typer.Option("--from", metavar="N", help="The number of the first random drill.")] = 1,
    budget: Budget = "",
    show_faults: Annotated[bool, typer.Option("--list", help="Show what can be broken, and do nothing.")] = False,
    heal: Annotated[bool, typer.Option("--heal", help="Heal what an earlier drill left broken, and do nothing else.")] = False,
    json: Json = False,
) -> None:
    """Break something under load, see what visitors see, heal it, and judge it against what the topology foretells."""
    from nospof.cli import drill as command

    if show_faults:
        raise typer.Exit(command.show_faults(words or []))
    if heal:
        raise typer.Exit(command.heal(words or []))
    wishes = command.Wishes(tuple(parameters or ()), hold, reads, writes, as_json=json)
    if random:
        raise typer.Exit(command.run_random(words or [], wishes, command.Campaign(random, seed, budget, first)))
    raise typer.Exit(command.run(words or [], wishes))


@app.command()
def prove(
    stack: Stack = DEFAULT,
    order: Annotated[
        int, typer.Option("--order", metavar="N", min=1, max=2, help="1: each alone; 2: hosts and zones in pairs, too.")
    ] = 2,
    all_hosts: Annotated[bool, typer.Option("--all", help="Every set of hosts, too.")] = False,
    budget: Budget = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew instead of going on with an earlier run.")] = False,
    dry: Annotated[bool, typer.Option("--plan", help="Show the drills and what is foretold, and do nothing.")] = False,
    folder: Annotated[Optional[Path], typer.Option("--output", "-o", metavar="FOLDER", help="Where the report goes.")] = None,  # noqa: UP045
    reads: Reads = 50,
    writes: Writes = 20,
    json: Json = False,
) -> None:
    """Break every part under load, alone and in pairs, and show that what the topology foretells is what happens.

    Each promise is foretold up or down: serve (pages are answered), write (writes are acknowledged). What a run shows of others
    taking over is used by `check` from then on.
    """
    from nospof.cli import prove as command

    wishes = command.Wishes(order, all_hosts, budget, fresh, folder, reads, writes, as_json=json)
    raise typer.Exit(command.show_plan(stack, wishes) if dry else command.run(stack, wishes))


@app.command()
def resume(stack: Stack = DEFAULT, tier: Tier = "") -> None:
    """End a pause."""
    from nospof.cli import resume as command

    raise typer.Exit(command.run(stack, tier=tier))


@app.command(cls=Worded)
def logs(
    words: Annotated[list[str], typer.Argument(metavar="[STACK] HOST|TIER|TIER/HOST", help="Whose log.")],
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", help="The last N lines of each host.")] = 50,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Not older than this: 10m, 1h.")] = "",
) -> None:
    """Show what the stack's services have logged on their hosts."""
    from nospof.cli import logs as command

    raise typer.Exit(command.run(words, lines=lines, since=since))


@app.command(cls=Worded)
def rollback(
    words: Annotated[list[str], typer.Argument(metavar="[STACK] TIER", help="The tier whose release is to go back.")],
) -> None:
    """Give a tier the release before the newest, host by host. The next `up` rolls out the folder again."""
    from nospof.cli import rollback as command

    raise typer.Exit(command.run(words))


@app.command()
def down(
    stack: Stack = DEFAULT,
    name: Annotated[str, typer.Option("--name", metavar="STACK", help="For real servers: the stack's name.")] = "",
) -> None:
    """Lab: remove the hosts and all they stored. Servers: stop and remove what is the stack's, but data and packages.

    Secrets and ids stay in .nospof/ beside the stack file.
    """
    from nospof.cli import down as command

    raise typer.Exit(command.run(stack, name))


@app.command(cls=Worded, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def shell(
    words: Annotated[list[str], typer.Argument(metavar="[STACK] HOST [-- COMMAND]", help="A host of the stack, or `client`.")],
) -> None:
    """Open a shell on a host, or run a command there."""
    from nospof.cli import shell as command

    raise typer.Exit(command.run(words))


@state_app.command("export")
def state_export(
    stack: Stack = DEFAULT,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to.")] = Path("nospof-state"),
) -> None:
    """Write .nospof/ (secrets, CA, id) to one encrypted file, for a colleague's machine or for the safe."""
    from nospof.cli import state as command

    raise typer.Exit(command.export(stack, output))


@state_app.command("import")
def state_import(
    stack: Stack = DEFAULT,
    file: Annotated[Path, typer.Option("--input", "-i", metavar="FILE", help="Where from.")] = Path("nospof-state"),
) -> None:
    """Put an exported .nospof/ beside the stack file. What is there already is never overwritten."""
    from nospof.cli import state as command

    raise typer.Exit(command.restore(stack, file))


@rotate_app.command("ca")
def rotate_ca(stack: Stack = DEFAULT) -> None:
    """Replace the stack's CA, and with it every key and certificate; visitors notice nothing, but must trust the new one."""
    from nospof.cli import rotate as command

    raise typer.Exit(command.ca(stack))


@rotate_app.command("passwords")
def rotate_passwords(stack: Stack = DEFAULT) -> None:
    """Replace the passwords of databases and caches, of all that call them, and of the status page; visitors notice nothing."""
    from nospof.cli import rotate as command

    raise typer.Exit(command.passwords(stack))


@lab_app.command("doctor")
def lab_doctor(
    stack: Annotated[Optional[Path], typer.Argument(metavar="STACK", help="The stack it shall carry; none: six hosts.")] = None,  # noqa: UP045
) -> None:
    """Say whether this machine can carry a lab. Where it cannot, say what to do."""
    from nospof.cli import lab as command

    raise typer.Exit(command.doctor(stack))


@lab_app.command("off", cls=Worded)
def lab_off(words: StackAndHost) -> None:
    """Take a host's power away. What it had not written to its disk is lost, as with a plug pulled."""
    from nospof.cli import lab as command

    raise typer.Exit(command.off(words))


@lab_app.command("on", cls=Worded)
def lab_on(words: StackAndHost) -> None:
    """Give a host its power back. It boots from its own disk."""
    from nospof.cli import lab as command

    raise typer.Exit(command.on(words))


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
    try:
        # Without typer's standalone mode a command's exit code is what the call returns.
        code = app(prog_name="nospof", standalone_mode=False) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` say, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        code = _failed(error)
    sys.exit(code)


def _failed(error: Exception) -> int:
    if isinstance(error, typer.Abort):
        error = Uncertain("stopped")
    if isinstance(error, typer.TyperException):
        error = _wrong_call(error)
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        error = WrongInput(f"not allowed: {error.filename}", why="it belongs to another user", fix=as_root())
    if isinstance(error, NospofError) and error.exit_code != NospofError.exit_code:
        typer.echo(str(error), err=True)
        return error.exit_code
    place = _write_traceback(error)
    what = str(error) or type(error).__name__
    typer.echo(f"{what}\nthis is a defect of nospof, not of your stack; what is needed to find it: {place}", err=True)
    return NospofError.exit_code


def _wrong_call(error: typer.TyperException) -> WrongInput:
    """The error for a call that typer did not understand; for one without a command that is the help itself."""
    context = getattr(error, "ctx", None)
    said = error.format_message()
    if context is None or said.startswith("Usage:"):
        return WrongInput(said)
    usage = context.get_usage().removeprefix("Usage: ")
    return WrongInput(said[:1].lower() + said[1:].rstrip("."), fix=f"{usage}\n       {context.command_path} --help tells more")


def _write_traceback(error: Exception) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="nospof-defect-", suffix=".txt", delete=False) as stream:
        traceback.print_exception(error, file=stream)
    return stream.name
