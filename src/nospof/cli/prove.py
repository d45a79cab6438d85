"""`nospof prove`: the drills that settle what fails when any part is lost, and what they showed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nospof.cli.pause import seconds
from nospof.cli.screen import Lines, console
from nospof.cli.stack_argument import deployment, running
from nospof.cli.weak import weak_spots
from nospof.drills import faults as _all_faults  # noqa: F401 - makes them known
from nospof.drills import telling
from nospof.drills.ground import Ground
from nospof.drills.guard import guarded
from nospof.drills.junit import junit
from nospof.drills.phrases import goal_words
from nospof.drills.proving import Course, Plan, plan, proof_folder
from nospof.drills.report import report
from nospof.drills.result import Conclusion, Proof
from nospof.drills.result import exit_code as worst_exit_code
from nospof.drills.undo import heal_all
from nospof.drills.visitors import Rates
from nospof.drills.words import line, summary
from nospof.explain.svg import svg

# Of a drill without what differs from stack to stack.
ABOUT_S = 40.0


@dataclass(frozen=True)
class Wishes:
    """The options of the command line."""

    order: int = 2
    has_all_hosts: bool = False
    budget: str = ""
    fresh: bool = False
    output: Path | None = None
    reads: float = Rates.reads
    writes: float = Rates.writes
    as_json: bool = False


def show_plan(path: Path, wishes: Wishes) -> int:
    """Say what would be drilled. Touches nothing."""
    chosen = plan(deployment(path).topology, wishes.order, has_all_hosts=wishes.has_all_hosts)
    for number, planned in enumerate(chosen.drills, 1):
        foretold = ", ".join(f"{forecast.goal} {forecast.state.value}" for forecast in planned.foretold)
        console.print(f"{number:>3}  {planned.drill.name:<60}  {foretold}", markup=False)
    promises = ", ".join(f"{goal.value}: {goal_words(goal.value)}" for goal in chosen.made.goals)
    console.print(f"{promises}; up: the promise is kept without these parts, down: it is not", markup=False)
    console.print(f"{_size(chosen)}; what is foretold has the sha256 {chosen.foretold_sha256}")
    return 0


def run(path: Path, wishes: Wishes) -> int:
    site = running(path)
    ground = Ground(site)
    chosen = plan(site.topology, wishes.order, has_all_hosts=wishes.has_all_hosts)
    budget_s = seconds(wishes.budget) if wishes.budget else None
    with Lines() as lines, site.state.locked("prove"), guarded(ground):
        heal_all(ground, lines.note)
        course = Course(
            ground,
            chosen,
            proof_folder(site.state, chosen, fresh=wishes.fresh),
            lines.now,
            lines.now,
            lambda result, count: lines.phase(line(result, count)),
            Rates(wishes.reads, wishes.writes),
        )
        lines.phase(f"{_size(chosen)}; results go to {course.folder}")
        proof = course.run(budget_s)
        telling.tell(ground, [telling.of_proof(proof)])
    drawn = svg(site.topology, weak_spots(site.topology))
    proof = proof.model_copy(update={"diagram_svg": drawn})
    output = wishes.output or course.folder
    _write(proof, output)
    if wishes.as_json:
        print(proof.model_dump_json(indent=1))
    else:
        console.print(summary(proof), markup=False)
        console.print(f"{output}/report.html", markup=False)
    return exit_code(proof)


def exit_code(proof: Proof) -> int:
    """The worst of all: not healed, failed, wrong, then unknown or unproven."""
    conclusions = {drill.conclusion for drill in proof.drills}
    if proof.wrong:
        conclusions.add(Conclusion.WRONG)
    else:
        # A drill that outlived what is foretold of the worst case says nothing against it.
        conclusions.discard(Conclusion.WRONG)
    if proof.unproven:
        conclusions.add(Conclusion.UNKNOWN)
    return worst_exit_code(conclusions)


def _size(chosen: Plan) -> str:
    count, all_of_them = len(chosen.drills), len(chosen.extent)
    return f"{count} drills settle {all_of_them} combinations ({chosen.says}), about {count * ABOUT_S / 60:.0f} minutes"


def _write(proof: Proof, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "proof.json").write_text(proof.model_dump_json(indent=1) + "\n")
    (folder / "junit.xml").write_text(junit(proof))
    (folder / "report.html").write_text(report(proof))
