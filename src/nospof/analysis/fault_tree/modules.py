"""Cuts a formula into modules: parts that share no event with the rest, so that each can be analysed on its own.

To the rest a module is one event. A tree of hundreds of events becomes some dozens of small functions, and what is known of
them (numbers of cut sets, probabilities, derivatives) is put together at little cost. Linear in the size of the formula.

Source: Y. Dutuit, A. Rauzy, A linear-time algorithm to find modules of fault trees, 1996, https://doi.org/10.1109/24.537011
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from nospof.analysis.fault_tree.formula import Formula, Formulas, Kind, nodes

JOINING = (Kind.AND, Kind.OR)


def cut(formulas: Formulas, top: Formula) -> tuple[Formula, ...]:
    """The modules of `top`, each before the one that uses it and `top` itself last.

    A module is a formula whose leaves are events and MODULEs, which are earlier places in the result. Each but the last is
    false when none of its events happens, so that cut sets of the whole are made of cut sets of the modules.
    """
    top = _with_private_parts(formulas, _flat(formulas, top))
    found: list[Formula] = []
    is_module = _modules(top)
    short: dict[Formula, Formula] = {}
    for formula in nodes(top):
        shorter = formulas.rebuilt(formula, [short[arg] for arg in formula.args])
        if formula in is_module and formula is not top and shorter.args and shorter.kind is not Kind.NOT:
            is_turned = _is_true_without_events(shorter)
            found.append(formulas.negated(shorter) if is_turned else shorter)
            shorter = formulas.module(len(found) - 1)
            shorter = formulas.negated(shorter) if is_turned else shorter
        short[formula] = shorter
    return (*found, short[top])


def _flat(formulas: Formulas, top: Formula) -> Formula:
    """The same with an *and* that only another *and* uses taken into it, and so for *or*."""
    users = _users(top)
    absorbed = {
        formula for formula, by in users.items() if formula.kind in JOINING and len(by) == 1 and by[0].kind is formula.kind
    }
    flat: dict[Formula, Formula] = {}
    for formula in nodes(top):
        if formula not in absorbed:
            flat[formula] = formulas.rebuilt(formula, [flat[arg] for arg in _args(formula, absorbed)])
    return flat[top]


def _args(formula: Formula, absorbed: set[Formula]) -> Iterable[Formula]:
    """The arguments of `formula` from left to right, those of absorbed arguments in their place."""
    todo = list(reversed(formula.args))
    while todo:
        arg = todo.pop()
        if arg in absorbed:
            todo.extend(reversed(arg.args))
        else:
            yield arg


def _with_private_parts(formulas: Formulas, top: Formula) -> Formula:
    """The same with the modules and events that only one *and* or *or* uses put together in it, which makes them one module."""
    users, is_module = _users(top), _modules(top)
    changed: dict[Formula, Formula] = {}
    for formula in nodes(top):
        own = [arg for arg in formula.args if len(users[arg]) == 1 and (not arg.args or arg in is_module)]
        args = [changed[arg] for arg in formula.args]
        if formula.kind in JOINING and 1 < len(own) < len(args):
            private = set(own)
            rest = [changed[arg] for arg in formula.args if arg not in private]
            args = [*rest, formulas.rebuilt(formula, [changed[arg] for arg in own])]
        changed[formula] = formulas.rebuilt(formula, args)
    return changed[top]


def _users(top: Formula) -> dict[Formula, list[Formula]]:
    users: dict[Formula, list[Formula]] = defaultdict(list)
    for formula in nodes(top):
        for arg in formula.args:
            users[arg].append(formula)
    return users


def _modules(top: Formula) -> set[Formula]:
    """The gates below which nothing is reached from elsewhere.

    A walk that counts its steps meets every part of such a gate between entering and leaving it, first and last.
    """
    entered, left, last_met = _steps(top)
    first_below: dict[Formula, int] = {}
    last_below: dict[Formula, int] = {}
    found: set[Formula] = set()
    for formula in nodes(top):
        first = min((first_below[arg] for arg in formula.args), default=entered[formula])
        last = max((last_below[arg] for arg in formula.args), default=entered[formula])
        if formula.args and entered[formula] < first and last < left[formula]:
            found.add(formula)
        first_below[formula] = min(first, entered[formula])
        last_below[formula] = max(last, last_met[formula])
    return found


def _steps(top: Formula) -> tuple[Counter[Formula], Counter[Formula], Counter[Formula]]:
    """When a walk from the left enters each formula, leaves it, and meets it for the last time."""
    entered: Counter[Formula] = Counter()
    left: Counter[Formula] = Counter()
    last_met: Counter[Formula] = Counter()
    todo = [(top, False)]
    step = 0
    while todo:
        formula, is_leaving = todo.pop()
        step += 1
        last_met[formula] = step
        if is_leaving:
            left[formula] = step
        elif formula not in entered:
            entered[formula] = step
            todo.append((formula, True))
            todo.extend((arg, False) for arg in reversed(formula.args))
    return entered, left, last_met


def _is_true_without_events(top: Formula) -> bool:
    """What `top` is when no event happens; a module is false then."""
    values: dict[Formula, bool] = {}
    for formula in nodes(top):
        true = sum(values[arg] for arg in formula.args)
        values[formula] = {
            Kind.CONSTANT: formula.value == 1,
            Kind.NOT: true == 0,
            Kind.AND: true == len(formula.args) > 0,
            Kind.OR: true > 0,
            Kind.ATLEAST: true >= formula.value,
            Kind.XOR: true % 2 == 1,
        }.get(formula.kind, False)
    return values[top]
