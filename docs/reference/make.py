"""Makes the reference pages from the code's own tables: keys, settings, codes, commands. Run by script/docs.

A unit test fails when the pages are not what this makes.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer.main

import nospof.components
import nospof.drills.faults
import nospof.errors
from nospof.analysis.codes import CODES as FINDINGS
from nospof.cli.main import app
from nospof.cli.weak import weak_spots
from nospof.component import Component
from nospof.drills.fault import Fault, targets
from nospof.drills.result import Proof
from nospof.explain.svg import svg
from nospof.onhost.agent.decide import MOVES, TABLE
from nospof.resolve import Allotment, resolve
from nospof.stack.codes import CODES as PROBLEMS
from nospof.stack.codes import RESOLVE_CODES
from nospof.stack.load import load
from nospof.stack.schema import json_schema
from nospof.topology import Topology

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples/distributed/stack.yaml"
MADE = "<!-- Made by script/docs; changes made here are overwritten. -->\n"
HELP_WIDTH = 96
Schema = Mapping[str, Any]


def main(arguments: list[str]) -> int:
    """Write the pages that differ and return 0; with --check write nothing, and return 1 when any differs."""
    stale = [name for name, text in pages().items() if not (HERE / name).exists() or (HERE / name).read_text() != text]
    for name in stale:
        if arguments != ["--check"]:
            (HERE / name).write_text(pages()[name])
        sys.stdout.write(f"docs/reference/{name}\n")
    return 1 if stale and arguments == ["--check"] else 0


def pages() -> dict[str, str]:
    """Every page by its file name."""
    schema = json_schema({name: kind.settings_type for name, kind in Component.kinds.items()})
    return {
        "stack-file.md": _stack_file(schema),
        "components.md": _components(schema),
        "codes.md": _codes(),
        "commands.md": _commands(),
        "failover.md": _failover(),
        "faults.md": _faults(),
        "distributed.svg": _drawing(EXAMPLE),
        "stack.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n",
        "proof.schema.json": _proof_schema(),
    }


# --- the stack file --------------------------------------------------------------------------------------------------
def _stack_file(schema: Schema) -> str:
    kinds = sorted(Component.kinds)
    tier = schema["$defs"][f"tier.{kinds[0]}"]
    own = schema["$defs"][f"settings.{kinds[0]}"].get("properties", {})
    common = {**tier, "properties": {key: value for key, value in tier["properties"].items() if key not in own}}
    common["properties"]["component"] = {"enum": kinds, "description": "The software of this tier."}
    return (
        f"{MADE}# The stack file\n\n"
        "YAML 1.2; a key that stands twice is an error; switches are `on` or `off`. Everything that is wrong is said at once\n"
        "([codes](codes.md)). For editors there is a [JSON Schema](stack.schema.json):\n"
        "`# yaml-language-server: $schema=PATH` as the first line.\n\n"
        f"## The whole file\n\n{_table(schema)}\n"
        f"## A host: `hosts.NAME`\n\n{_table(schema['$defs']['host'])}\n"
        f"## A tier: `tiers.NAME`\n\n{_table(common)}\n"
        "Further keys of a tier are the settings of its [component](components.md).\n"
    )


def _components(schema: Schema) -> str:
    sections = [_component(name, kind, schema["$defs"]) for name, kind in sorted(Component.kinds.items())]
    return (
        f"{MADE}# Components\n\nSettings stand in the tier; those of a component that comes in by itself stand under\n"
        "`options.NAME` of the stack file.\n\n" + "\n".join(sections)
    )


def _component(name: str, kind: type[Component[Any]], definitions: Schema) -> str:
    module = inspect.getmodule(kind)
    about = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")
    provided = [f"`{need.__name__}`" for need in kind.provides]
    comes = f"Comes in by itself where another component needs a {' or '.join(provided)}. " if provided else ""
    packages = ", ".join(f"`{package}`" for package in kind.packages)
    if kind.packages_if_watched:
        packages += "; where somebody watches, " + ", ".join(f"`{package}`" for package in kind.packages_if_watched)
    settings = definitions[f"settings.{name}"]
    table = _table(settings) if settings.get("properties") else "No settings.\n"
    return f"## {name}\n\n{about}\n\n{comes}Debian packages: {packages}.\n\n{table}"


def _table(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = [_row(key, value, is_required=key in required) for key, value in schema["properties"].items()]
    return _markdown_table(("key", "what", "value", "default"), rows)


def _row(key: str, value: Schema, *, is_required: bool) -> tuple[str, ...]:
    default = "**required**" if is_required else _shown(value["default"]) if "default" in value else ""
    return (f"`{key}`", value.get("description", ""), _values(value), default)


def _values(value: Schema) -> str:
    """What may stand there, in words."""
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "boolean":
        return "`true`, `false`"
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if "minimum" in value or "maximum" in value:
        return f"{value.get('minimum', '')} to {value['maximum']}" if "maximum" in value else f"from {value['minimum']}"
    if "anyOf" in value and {one.get("type") for one in value["anyOf"]} == {"string", "array"}:
        return _example(value, "one or a list")
    kinds = {
        "string": "text",
        "object": "keys with values",
        "integer": "number",
        "number": "number",
        "array": "list",
        "boolean": "true or false",
    }
    return _example(value, kinds.get(value.get("type", ""), "text"))


def _example(value: Schema, kind: str) -> str:
    examples = value.get("examples", ())
    return f"{kind}, e.g. `{_flow(examples[0])}`" if examples else kind


def _flow(value: object) -> str:
    """A value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: object) -> str:
    return f"`{_flow(value)}`" if value not in ([], {}, (), "") else "none"


# --- codes and commands ----------------------------------------------------------------------------------------------
def _codes() -> str:
    problems = _markdown_table(
        ("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in sorted((PROBLEMS | RESOLVE_CODES).items())]
    )
    rows = [(f"`{code}`", found.severity.value, found.meaning) for code, found in sorted(FINDINGS.items())]
    return (
        f"{MADE}# Codes\n\nA code is never given to something else later.\n\n"
        "## S: the stack file is wrong or contradicts itself\n\nNothing is touched while there is one. Exit code 2.\n\n"
        f"{problems}\n"
        "## F: allowed, but unsafe\n\nSaid by `nospof check`, which ends with 1 when there is one from *warning* up.\n\n"
        f"{_markdown_table(('code', 'severity', 'meaning'), rows)}"
    )


def _commands() -> str:
    root: Any = typer.main.get_command(app)
    sections = [f"```\n{_help(root, 'nospof')}\n```\n"]
    for path, command in _flat(root, "nospof"):
        sections.append(f"## {path}\n\n```\n{_help(command, path)}\n```\n")
    errors = (inspect.getdoc(nospof.errors) or "").partition("\n\n")[2]
    return (
        f"{MADE}# Commands\n\n" + "\n".join(sections) + "\n## Exit codes\n\n"
        "0 is good, notes allowed. `check` ends with 1 when it found something from *warning* up; `status` and `plan` with 3\n"
        f"when a host did not answer. Errors, by their names in the code:\n\n```\n{inspect.cleandoc(errors)}\n```\n"
    )


def _proof_schema() -> str:
    """What `nospof prove` writes, with what the code says of each value."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Proof.model_json_schema(mode="serialization")}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _drawing(stack_file: Path) -> str:
    """What `nospof diagram --format svg` says of a stack that was never brought up."""
    topology = _topology_of(stack_file)
    return svg(topology, weak_spots(topology))


def _topology_of(stack_file: Path) -> Topology:
    stack = load(stack_file, {name: kind.settings_type for name, kind in Component.kinds.items()})
    return resolve(stack, Allotment()).topology


def _failover() -> str:
    sections = []
    for state, rules in TABLE.items():
        rows = [(str(number), rule.__name__.replace("_", " "), _said(rule)) for number, rule in enumerate(rules, 1)]
        table = _markdown_table(("", "rule", "why"), rows)
        sections.append(f"## {state.word}\n\n{state.meaning[0].upper()}{state.meaning[1:]}.\n\n{table}")
    return (
        f"{MADE}# Failover of the database: states and rules\n\n"
        "Five times a second, and at once when something happens, the agent of a database host looks at its server and at\n"
        "what etcd knows, and applies the first rule of its state that has something to say. This is the table it executes;\n"
        "`nospof status` shows state and rule. Reasons: [0009](../decisions/0009-failover.md).\n\n"
        + _moves()
        + "\n".join(sections)
    )


def _faults() -> str:
    topology, kinds = _topology_of(EXAMPLE), sorted(Fault.kinds.items())
    faults = [(f"`{name}`", kind.breaks.value, kind.about, _foretold(kind, topology), _healed_by(kind)) for name, kind in kinds]
    parameters = [(f"`{name}`", *row) for name, kind in kinds for row in _parameters(kind)]
    return (
        f"{MADE}# Faults\n\n"
        "What drills can break. Each is written down before it is made, so that it is healed whatever happens to the run: by\n"
        "the run, by the guard beside it, by the next run, and where it can by the host, with the controlling machine dead or\n"
        "the network cut. Healing may be repeated, and takes away nothing that the fault did not bring. What a machine or its\n"
        "kernel cannot do is reported as *unavailable*, never passed.\n\n"
        f"{_markdown_table(('fault', 'target', 'what happens', 'foretold', 'healed by'), faults)}\n"
        "*lost*: a goal is foretold to be up or down as if the target were lost for as long as the fault holds. *at most\n"
        "lost*: what outlives that loss is foretold to be up, of the rest nothing is said. *nothing*: only what became of\n"
        "writes is judged.\n\n"
        f"## Parameters\n\n{_markdown_table(('fault', 'key', 'what', 'value', 'default'), parameters)}"
    )


def _foretold(kind: type[Fault], topology: Topology) -> str:
    """What the topology says of it."""
    lost = kind(target=targets(kind, topology)[0]).lost(topology)
    if lost is None:
        return "nothing"
    if not lost:
        return "no loss"
    return "at most lost" if kind.at_most else "lost"


def _healed_by(kind: type[Fault]) -> str:
    if not kind.lasts:
        return "itself"
    return "a run, or the host" if kind.undo is not Fault.undo else "a run"


def _parameters(kind: type[Fault]) -> list[tuple[str, ...]]:
    properties = kind.model_json_schema()["properties"]
    return [_row(key, value, is_required=False) for key, value in properties.items() if key != "target"]


def _moves() -> str:
    """The states as a drawing, in Mermaid, which shows on the usual forges."""
    lines = [f"    {before.name} --> {after.name}" for before, afters in MOVES.items() for after in afters]
    names = [f"    {state.name}: {state.word}" for state in MOVES]
    drawing = "\n".join(["```mermaid", "stateDiagram-v2", *names, *lines, "```"])
    return f"{drawing}\n\nAn agent that starts is blind until it has read etcd, and then in any of them.\n\n"


def _said(rule: object) -> str:
    return " ".join((inspect.getdoc(rule) or "").split())


def _flat(group: Any, path: str) -> Iterable[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _flat(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _help(command: Any, path: str) -> str:
    context = typer.Context(command, info_name=path, terminal_width=HELP_WIDTH)
    return str(command.get_help(context)).strip()


def _markdown_table(head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = tuple(head)
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
