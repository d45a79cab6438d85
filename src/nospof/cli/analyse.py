"""`nospof analyse`."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.importance import Importance
from nospof.analysis.fault_tree.report import Report, SetsReport, report
from nospof.analysis.open_psa.model import Model, read
from nospof.cli.screen import console
from nospof.errors import Uncertain, WrongInput

NOT_MONOTONE = (
    "the tree is not coherent: through not, xor or the like an event can prevent the top event, "
    "so no set of events is sure to bring it"
)
MOST_REASONS = 5


def run(
    path: Path,
    *,
    top: str,
    most: int,
    with_path_sets: bool,
    mission_time_h: float,
    nodes: int,
    seconds: float,
    as_json: bool,
) -> int:
    if most < 0 or nodes < 1 or not mission_time_h >= 0 or not seconds > 0:
        raise WrongInput("a number on the command line is too small", fix="give positive ones; --most may be 0")
    model = read(_text(path), str(path), top=top, mission_time_h=mission_time_h)
    end = time.monotonic() + seconds
    try:
        found = report(
            model.formulas,
            model.formula,
            model.probabilities,
            Budget(nodes, lambda: time.monotonic() > end),
            most=most,
            with_path_sets=with_path_sets,
        )
    except KeyboardInterrupt:
        raise Uncertain("interrupted: nothing is known of this tree", fix="--seconds ends it by itself") from None
    except MemoryError:
        raise Uncertain(
            "out of memory: nothing is known of this tree", fix="allow fewer --nodes, or give it more memory"
        ) from None
    # A number of cut sets may have more digits than Python writes unless it is told to.
    sys.set_int_max_str_digits(0)
    if as_json:
        print(json.dumps(_document(model, found), indent=1))
    else:
        _show(model, found, most)
    return 0


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise WrongInput(f"there is no file {path}") from None
    except IsADirectoryError:
        raise WrongInput(f"{path} is a folder", fix="name a file with an Open-PSA fault tree") from None


def _document(model: Model, found: Report) -> dict[str, Any]:
    cut_sets, least = found.cut_sets, found.least_failures
    return {
        "top": model.top,
        "gates": model.gates,
        "events": len(found.events),
        "coherent": found.is_monotone,
        "minimal_cut_sets": cut_sets.number if cut_sets else None,
        "minimal_cut_sets_reason": None if cut_sets else NOT_MONOTONE,
        "orders": _orders(cut_sets),
        "smallest_cut_sets": _listed(cut_sets),
        "least_failures": {"number": least.number, "orders": _orders(least), "smallest": _listed(least)} if least else None,
        "minimal_path_sets": found.path_sets.number if found.path_sets else None,
        "path_set_orders": _orders(found.path_sets),
        "smallest_path_sets": _listed(found.path_sets),
        "probability": found.probability,
        "probability_reason": _why_no_probability(model, found),
        "rare_event_bound": found.rare_event_sum if math.isfinite(found.rare_event_sum or 0.0) else None,
        "min_cut_upper_bound": found.upper_bound,
        "importance": [asdict(one) for one in found.importances] if found.importances is not None else None,
        "bdd_nodes": found.diagram_nodes,
        "notes": list(model.notes),
    }


def _orders(sets: SetsReport | None) -> dict[str, int] | None:
    return {str(order): number for order, number in sets.orders.items()} if sets else None


def _listed(sets: SetsReport | None) -> list[dict[str, Any]] | None:
    return [{"events": list(one.events), "probability": one.probability} for one in sets.smallest] if sets else None


def _why_no_probability(model: Model, found: Report) -> str | None:
    missing = found.without_probability
    if not missing:
        return None
    reasons = [f"{event} ({model.reasons[event]})" for event in missing[:MOST_REASONS]]
    more = f" and {len(missing) - MOST_REASONS} more" if len(missing) > MOST_REASONS else ""
    return f"without a probability: {', '.join(reasons)}{more}"


def _show(model: Model, found: Report, most: int) -> None:
    console.print(f"{model.top}: {model.gates} gates, {len(found.events)} events\n", style="bold", markup=False)
    for line in _facts(model, found):
        console.print(line, markup=False)
    _show_sets("minimal cut sets", found.cut_sets)
    _show_sets("least failures", found.least_failures)
    _show_sets("minimal path sets", found.path_sets)
    if found.importances:
        _show_importances(found.importances, most)
    for note in model.notes:
        console.print(f"\nnote: {note}", style="dim", markup=False)


def _facts(model: Model, found: Report) -> list[str]:
    facts = [("minimal cut sets", f"{found.cut_sets.number}" if found.cut_sets else f"none: {NOT_MONOTONE}")]
    if found.least_failures:
        facts.append(
            ("least failures", f"{found.least_failures.number} smallest sets that bring it while nothing else happens")
        )
    if found.path_sets:
        facts.append(("minimal path sets", f"{found.path_sets.number}"))
    if found.probability is None:
        facts.append(("probability", f"unknown; {_why_no_probability(model, found)}"))
    else:
        facts.append(("probability", f"{found.probability:.6g} (exact)"))
        facts.append(("bounds", f"{found.rare_event_sum:.6g} rare-event, {found.upper_bound:.6g} min-cut upper bound"))
    return [f"{name:<18} {value}" for name, value in facts]


def _show_sets(title: str, sets: SetsReport | None) -> None:
    if sets is None:
        return
    orders: list[tuple[str, ...]] = [(f"{order}", f"{number}") for order, number in sets.orders.items()]
    console.print(_table(f"{title} by order", ("order", "number"), orders))
    if sets.smallest:
        rows: list[tuple[str, ...]] = [
            (_number(one.probability), ", ".join(one.events) or "(no event)") for one in sets.smallest
        ]
        console.print(_table(f"the smallest {title}", ("probability", "events"), rows, words=1))


def _show_importances(importances: tuple[Importance, ...], most: int) -> None:
    measures: tuple[tuple[str, Callable[[Importance], float | None]], ...] = (
        ("probability", lambda one: one.probability),
        ("Birnbaum", lambda one: one.birnbaum),
        ("criticality", lambda one: one.criticality),
        ("Fussell-Vesely", lambda one: one.fussell_vesely),
        ("RAW", lambda one: one.raw),
        ("RRW", lambda one: one.rrw),
    )
    rows = [(*(_number(measure(one)) for _, measure in measures), one.event) for one in importances[:most]]
    head = (*(name for name, _ in measures), "event")
    console.print(_table(f"the most important of {len(importances)} events", head, rows, words=1))


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]], *, words: int = 0) -> Table:
    """A plain table; all columns but the last `words` are numbers."""
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(head):
        is_words = place >= len(head) - words
        table.add_column(name, justify="left" if is_words else "right", overflow="fold", no_wrap=not is_words)
    for row in rows:
        table.add_row(*row)
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
