"""Visits what depends on what, callees first, however deep, and finds where something depends on itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from nospof.analysis.open_psa.document import Element


class Cycle(Exception):
    """`path` begins and ends with the same element, each depending on the next."""

    def __init__(self, path: list[Element]) -> None:
        super().__init__()
        self.path = path


def in_order(starts: Iterable[Element], needs: Callable[[Element], Iterable[Element]]) -> Iterator[Element]:
    """`starts` and all they need, each once and after what it needs. Raises Cycle."""
    done: set[Element] = set()
    entered: dict[Element, None] = {}
    for start in starts:
        todo = [(start, False)]
        while todo:
            element, is_leaving = todo.pop()
            if is_leaving:
                del entered[element]
                done.add(element)
                yield element
            elif element in entered:
                path = list(entered)
                raise Cycle([*path[path.index(element) :], element])
            elif element not in done:
                entered[element] = None
                todo.append((element, True))
                todo.extend((need, False) for need in reversed(list(needs(element))) if need not in done)
