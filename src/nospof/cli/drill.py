"""`nospof drill`: break something of a running stack under load, look what visitors saw, heal it, judge."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nospof.analysis.structure import structure
from nospof.cli.pause import seconds
from nospof.cli.screen import Lines, console
from nospof.cli.stack_argument import DEFAULT, deployment, running, stack_file
from nospof.drills import campaign, drill_file, engine, telling
from nospof.drills.engine import HOLD_S, Drill, Stage
from nospof.drills.fault import Fault, targets
from nospof.drills.ground import Ground
from nospof.drills.guard import guarded
from nospof.drills.report import drill_report
from nospof.drills.result import Conclusion, DrillResult, exit_code
from nospof.drills.undo import folder, heal_all
from nospof.drills.visitors import Rates
from nospof.drills.words import campaign_sentences, line, sentences
from nospof.errors import Uncertain, WrongInput

USAGE = "nospof drill [STACK] FAULT TARGET, or nospof drill [STACK] FILE.yaml; nospof drill --list shows the faults"


@dataclass(frozen=True)
class Wishes:
    """The options of the command line."""

    options: tuple[str, ...] = ()
    hold_s: float = HOLD_S
    reads: float = Rates.reads
    writes: float = Rates.writes
    as_json: bool = False


def run(words: Sequence[str], wishes: Wishes) -> int:
    path, rest = _split(words)
    site = running(path)
    ground = Ground(site)
    drill = _drill(ground, rest, wishes)
    with Lines() as lines, site.state.locked("drill"), guarded(ground):
        heal_all(ground, lines.note)
        stage = _stage(ground, wishes, lines.phase, lines.now)
        result = engine.run(stage, drill)
        telling.tell(ground, [telling.of_drill(result)])
    (stage.folder / "drill.json").write_text(result.model_dump_json(indent=1) + "\n")
    (stage.folder / "drill.yaml").write_text(drill_file.write(drill))
    (stage.folder / "report.html").write_text(drill_report(result, site.stack.name))
    if wishes.as_json:
        print(result.model_dump_json(indent=1))
    else:
        console.print("\n".join(sentences(result)), markup=False)
        console.print(f"{stage.folder}/report.html", markup=False)
    return exit_code({result.conclusion})


@dataclass(frozen=True)
class Campaign:
    """Random drills: how many, from which seed, for how long, and the number of the first."""

    count: int
    seed: int
    budget: str = ""
    first: int = 1


def run_random(words: Sequence[str], wishes: Wishes, wanted: Campaign) -> int:
    """Run random drills one after the other, keep each as a file, and make what fails as small as it can be."""
    path, _ = _split(words)
    site = running(path)
    ground = Ground(site)
    end = time.monotonic() + seconds(wanted.budget) if wanted.budget else math.inf
    results: list[DrillResult] = []
    with Lines() as lines, site.state.locked("drill"), guarded(ground):
        heal_all(ground, lines.note)
        kinds = [kind for _, kind in sorted(Fault.kinds.items()) if targets(kind, site.topology)]
        stage = _stage(ground, wishes, lines.now, lines.now)
        last = wanted.first + wanted.count - 1
        lines.phase(f"drills {wanted.first} to {last} of seed {wanted.seed}; results go to {stage.folder}")
        drills = campaign.drills(site.topology, kinds, wanted.seed, wanted.first, wanted.count, partial(_can, ground))
        for number, drill in enumerate(drills, wanted.first):
            if time.monotonic() > end:
                break
            (stage.folder / f"{number:03}.yaml").write_text(drill_file.write(drill))
            result = engine.attempt(stage, drill, number)
            (stage.folder / f"{number:03}.json").write_text(result.model_dump_json(indent=1) + "\n")
            results.append(result)
            lines.phase(f"{line(result, last)}  {', '.join(map(str, drill.faults))}")
            if result.conclusion is Conclusion.NOT_HEALED:
                break
            if result.conclusion is Conclusion.FAILED and len(drill.injections) > 1:
                small = campaign.minimised(drill, lambda candidate: _fails_often(stage, candidate))
                (stage.folder / f"{number:03}.min.yaml").write_text(drill_file.write(small))
                lines.note(f"made smaller: {', '.join(map(str, small.faults))}; {stage.folder}/{number:03}.min.yaml")
        telling.tell(ground, [telling.of_drill(result) for result in results])
    console.print(f"seed {wanted.seed}, from drill {wanted.first}: " + "\n".join(campaign_sentences(results)), markup=False)
    return exit_code({result.conclusion for result in results})


def _fails_often(stage: Stage, drill: Drill) -> bool:
    """Whether it fails in three of five tries; it stops as soon as that is certain."""
    failed = 0
    for tried in range(5):
        failed += engine.attempt(stage, drill, 900).conclusion is Conclusion.FAILED
        if failed == 3 or tried + 1 - failed == 3:
            break
    return failed == 3


def _can(ground: Ground, fault: Fault) -> bool:
    """Whether it can be made; of a host that does not answer the drill itself will say so."""
    try:
        return not fault.unavailable(ground)
    except Uncertain:
        return True


def heal(words: Sequence[str]) -> int:
    """Heal what an earlier drill left broken."""
    path, _ = _split(words)
    site = running(path)
    with Lines() as lines, site.state.locked("drill"):
        count = heal_all(Ground(site), lines.phase)
    console.print(f"healed {count}" if count else "nothing was left to heal")
    return 0


def show_faults(words: Sequence[str]) -> int:
    """Say what can be broken; with a stack, what of it."""
    from nospof.drills import faults  # noqa: F401 - makes them known

    path, _ = _split(words)
    topology = deployment(path).topology if stack_file(path).exists() else None
    for name, kind in sorted(Fault.kinds.items()):
        console.print(f"{name:<20}  {kind.about}", markup=False)
        parameters = [f"{key}: {field.description}" for key, field in kind.model_fields.items() if key != "target"]
        for parameter in parameters:
            console.print(f"{'':<20}    --set {parameter}", style="dim", markup=False)
        if topology:
            console.print(f"{'':<20}    {kind.breaks.value}: {', '.join(targets(kind, topology))}", style="dim", markup=False)
    return 0


def _stage(ground: Ground, wishes: Wishes, say: Callable[[str], None], show: Callable[[str], None]) -> Stage:
    """Where the drills of this run happen, with a new folder named after the time."""
    made = folder(ground.deployment.state) / "runs" / time.strftime("%Y%m%d-%H%M%S")
    made.mkdir(parents=True, exist_ok=True)
    return Stage(ground, structure(ground.topology).of_visitors(), made, say, Rates(wishes.reads, wishes.writes), show)


def _split(words: Sequence[str]) -> tuple[Path, list[str]]:
    """The stack and the rest. The first word is a stack when it is a folder, or a file that is no drill."""
    rest = list(words)
    path = DEFAULT
    if rest and (
        Path(rest[0]).is_dir() or Path(rest[0]).name == DEFAULT.name or (len(rest) != 1 and rest[0].endswith(".yaml"))
    ):
        path = Path(rest.pop(0))
    return path, rest


def _drill(ground: Ground, words: Sequence[str], wishes: Wishes) -> Drill:
    if len(words) == 1 and words[0].endswith((".yaml", ".yml")):
        return drill_file.read(Path(words[0])).drill(ground)
    if len(words) != 2:
        raise WrongInput(f"not understood: {' '.join(words) or 'nothing is named'}", fix=USAGE)
    plain: dict[str, object] = {"fault": words[0], "target": words[1]}
    for option in wishes.options:
        key, sign, value = option.partition("=")
        if not sign:
            raise WrongInput(f"--set {option} has no value", fix="--set NAME=VALUE")
        plain[key] = value
    one = drill_file.injection(ground, plain)
    return Drill(str(one.fault), (one,), wishes.hold_s)
