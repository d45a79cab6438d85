"""What only shows when the pieces are seen together: names, who is where, who calls whom, folders.

These work on what was read, not on what passed validation, so that one wrong thing never hides another: a name that is
not text is passed over here, because it was reported before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel

from nospof.stack.keys import keys_of
from nospof.stack.marks import FileIn, Folder, PlacesOn
from nospof.stack.problems import Problems, Reference, Severity, references
from nospof.stack.schema import NAME_PATTERN
from nospof.stack.words import closest, correction, quoted

RESERVED = {
    "client": "is the lab's host from which visitors are played",
    "outside": "stands for everybody who visits the site",
    "admin": "stands for those who may use SSH",
    "localhost": "is every host's name for itself",
}
_MOST_CIRCLES = 5

Mark = TypeVar("Mark")


@dataclass(frozen=True)
class Draft:
    """A tier as far as it can be understood."""

    name: str
    component: str | None
    settings: type[BaseModel] | None
    keys: Mapping[str, object]

    @property
    def path(self) -> str:
        return f"tiers.{self.name}"

    def references(self, key: str) -> list[Reference]:
        """The names under one of its keys."""
        return references(self.keys.get(key), f"{self.path}.{key}")

    def placed(self) -> list[Reference]:
        """The hosts that settings of its component name."""
        marked = [key for key, _ in marked_keys(self.settings, PlacesOn)] if self.settings else []
        return [reference for key in marked for reference in self.references(key)]

    def all_hosts(self) -> list[Reference]:
        """Every host it names."""
        return [*self.references("hosts"), *self.references("spare"), *self.placed()]


def marked_keys(settings: type[BaseModel], mark: type[Mark]) -> Iterator[tuple[str, Mark]]:
    """The keys of a component's settings that carry a mark of this kind, with the mark."""
    for name, key in keys_of(settings).items():
        for found in [*key.info.metadata, *_metadata(key.info.annotation)]:
            if isinstance(found, mark):
                yield name, found
                break


def check_names(stack: object, hosts: Mapping[str, object], tiers: Mapping[str, object], problems: Problems) -> None:
    """Check that names can be names of hosts and units, and that each means one thing."""
    if isinstance(stack, str):
        _check_name(stack, "name", "stack", problems)
    for kind, names in (("host", hosts), ("tier", tiers)):
        for name in names:
            _check_name(name, f"{kind}s.{name}", kind, problems)
            if name in RESERVED:
                what = f"{quoted(name)} is reserved: it {RESERVED[name]}"
                problems.add("S021", f"{kind}s.{name}", what, fix=f"choose another name, e.g. {name}1")
    for name in tiers:
        if name in hosts:
            what = f"{quoted(name)} is the name of a host and of a tier"
            why = "on the hosts both are names in /etc/hosts, and a name can lead to one place only"
            problems.add("S022", f"tiers.{name}", what, why=why, fix=f"rename one, e.g. the tier to {name}-tier")


def check_hosts_of(tier: Draft, hosts: Mapping[str, object], problems: Problems) -> None:
    """Check that the hosts of a tier exist and that each has one place in it."""
    places = [("hosts", tier.references("hosts")), ("spare", tier.references("spare"))]
    placed: dict[str, list[Reference]] = {}
    for reference in tier.placed():
        placed.setdefault(reference.path.removeprefix(f"{tier.path}.").split(".")[0], []).append(reference)
    first: dict[str, str] = {}
    for key, named in [*places, *placed.items()]:
        for reference in named:
            if reference.name not in hosts:
                fix = correction(reference.name, hosts, "the hosts are") or "add it under hosts:"
                problems.add("S032", reference.path, f"there is no host {quoted(reference.name)}", fix=fix)
            elif first.get(reference.name) == key:
                _twice(reference, "host", problems)
            elif reference.name in first:
                what = f"the host {reference.name} stands under {first[reference.name]}: and under {key}: of one tier"
                why = "a component runs once on a host, and a host that stops takes both places with it"
                problems.add("S035", reference.path, what, why=why, fix="remove it from one, or name another host")
            first.setdefault(reference.name, key)
    if tier.keys.get("hosts") == []:
        problems.add("S030", f"{tier.path}.hosts", "a tier needs at least one host", fix="add a host, better two in two zones")


def check_calls(tiers: Mapping[str, Draft], problems: Problems) -> None:
    """Check that tiers call tiers that exist, not themselves, and never in a circle."""
    graph: dict[str, list[str]] = {name: [] for name in tiers}
    for tier in tiers.values():
        for reference in tier.references("to"):
            if reference.name == tier.name:
                what, fix = f"the tier {tier.name} calls itself", "name the tier that it calls, or remove to:"
                problems.add("S036", reference.path, what, fix=fix)
            elif reference.name not in tiers:
                others = [name for name in tiers if name != tier.name]
                fix = correction(reference.name, others, "the other tiers are") or "add it under tiers:"
                problems.add("S033", reference.path, f"there is no tier {quoted(reference.name)}", fix=fix)
            elif reference.name in graph[tier.name]:
                _twice(reference, "tier", problems)
            else:
                graph[tier.name].append(reference.name)
    for circle in _circles(graph):
        what = f"these tiers call each other in a circle: {' → '.join([*circle, circle[0]])}"
        why = "a tier is started after those it calls, so none of these could be the first"
        problems.add("S037", f"tiers.{circle[0]}.to", what, why=why, fix="remove one of these calls")


def check_not_empty(top: Mapping[str, object], problems: Problems) -> None:
    """Check that there is at least one host and one tier."""
    for key, fix in (("hosts", "add e.g. web1: {zone: a}"), ("tiers", "add e.g. web: {component: nginx, hosts: [web1, web2]}")):
        if top.get(key) == {}:
            problems.add("S030", key, f"a stack needs at least one {key[:-1]}", fix=fix)


def check_unused(hosts: Mapping[str, object], tiers: Mapping[str, Draft], problems: Problems) -> None:
    """Warn of hosts that no tier names; to be asked last, since it can be known only once all tiers are understood."""
    if not tiers or any(problem.path.startswith("tiers") for problem in problems.found):
        return
    used = {reference.name for tier in tiers.values() for reference in tier.all_hosts()}
    for host in hosts:
        if host not in used:
            what = f"no tier uses the host {host}"
            fix = "name it in a tier's hosts: or spare:, or remove it"
            problems.add("S038", f"hosts.{host}", what, fix=fix, severity=Severity.WARNING)


def check_folders(settings: type[BaseModel], keys: Mapping[str, object], path: str, beside: Path, problems: Problems) -> None:
    """Check that the folders which settings name exist, relative to the folder of the stack file."""
    for key, _ in marked_keys(settings, Folder):
        for reference in references(keys.get(key), f"{path}.{key}"):
            _check_folder(reference, beside, problems)


def check_files(settings: type[BaseModel], keys: Mapping[str, object], path: str, beside: Path, problems: Problems) -> None:
    """Warn of files that settings name, or mean where nothing is said, and that are not in their folders."""
    for key, mark in marked_keys(settings, FileIn):
        name, folder = keys.get(key, settings.model_fields[key].default), keys.get(mark.folder)
        if not isinstance(name, str) or not isinstance(folder, str):
            continue
        if _lacks_file(beside / folder, name):
            what = f"{quoted(folder)} has no file {quoted(name)}"
            why = "what looks whether the site is there would ask for it, and be told that it is not"
            known = [file for file in _names_in(beside / folder, Path.is_file) if not file.startswith(".")]
            fix = f"{key}: with a file that is in the folder, e.g. {key}: {known[0] if known else 'start.html'}"
            problems.add("S047", f"{path}.{key}", what, why=why, fix=fix, severity=Severity.WARNING)


def check_component(tier: Draft, kinds: Mapping[str, type[BaseModel]], problems: Problems) -> None:
    """Check that the component of a tier is known."""
    if tier.component is not None and tier.component not in kinds:
        fix = correction(tier.component, kinds, "the components are")
        problems.add("S031", f"{tier.path}.component", f"there is no component {quoted(tier.component)}", fix=fix)


def _check_name(name: str, path: str, kind: str, problems: Problems) -> None:
    if re.fullmatch(NAME_PATTERN, name):
        return
    better = re.sub(r"^[^a-z]+|-+$", "", re.sub(r"[^a-z0-9]+", "-", name.lower())[:31])
    what = f"{quoted(name)} cannot be the name of a {kind}: 1 to 31 of a-z, 0-9 and -, a letter first, no - at the end"
    fix = f"call it e.g. {better}" if better and re.fullmatch(NAME_PATTERN, better) else f"call it e.g. {_EXAMPLES[kind]}"
    problems.add("S020", path, what, why=_WHY_NAME[kind], fix=fix)


_EXAMPLES = {"host": "web1", "tier": "web", "stack": "shop"}
_WHY_NAME = {
    "host": "it becomes the server's host name",
    "tier": "it becomes a name in /etc/hosts and part of the names of systemd units",
    "stack": "it becomes part of the names of hosts and interfaces",
}


def _twice(reference: Reference, kind: str, problems: Problems) -> None:
    problems.add("S034", reference.path, f"the {kind} {reference.name} stands twice in this list", fix="remove one of the two")


def _lacks_file(folder: Path, name: str) -> bool:
    """Of a folder that cannot be looked at, S039 tells."""
    try:
        return folder.is_dir() and not (folder / name).is_file()
    except OSError:
        return False


def _check_folder(reference: Reference, beside: Path, problems: Problems) -> None:
    folder, name = beside / reference.name, quoted(reference.name)
    try:
        if reference.name and folder.is_dir():
            return
        is_file = reference.name != "" and folder.exists()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        problems.add("S039", reference.path, f"the folder {name} cannot be looked at: {reason}")
        return
    if is_file:
        problems.add("S039", reference.path, f"{name} is a file, not a folder", fix="name the folder that it is in")
        return
    close = closest(reference.name.removeprefix("./"), _names_in(beside, Path.is_dir))
    meant = f"did you mean ./{close}? if not, " if close else ""
    fix = f"{meant}create it or correct the path, which starts at the folder of the stack file"
    problems.add("S039", reference.path, f"there is no folder {name}", fix=fix)


def _names_in(folder: Path, is_meant: Callable[[Path], bool]) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if is_meant(entry))
    except OSError:
        return []


def _circles(graph: Mapping[str, list[str]]) -> list[list[str]]:
    """Circles in the order of their calls, each beginning with the tier that stands first in the file; five at most."""
    calls = {tier: list(called) for tier, called in graph.items()}
    order = list(graph)
    circles = []
    for _ in range(_MOST_CIRCLES):
        try:
            TopologicalSorter(calls).prepare()
            break
        except CycleError as error:
            # graphlib names each node before the one that waits for it, and the first again at the end.
            circle = list(reversed(error.args[1]))[:-1]
        start = min(range(len(circle)), key=lambda place: order.index(circle[place]))
        circle = circle[start:] + circle[:start]
        circles.append(circle)
        calls[circle[0]].remove(circle[1])
    return circles


def _metadata(annotation: object) -> list[object]:
    """What `Annotated` says anywhere inside an annotation, e.g. in `Annotated[str, Mark] | None`."""
    found = list(getattr(annotation, "__metadata__", ()))
    return found + [one for inner in get_args(annotation) if not isinstance(inner, str) for one in _metadata(inner)]
