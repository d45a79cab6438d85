"""What all agents of a tier know together, kept in etcd: one key for the cluster's state, one per host for votes and reports.

A thread watches, another asks every second, so that it is known for how long etcd has been silent. The view never goes back.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from nospof.onhost.agent import documents
from nospof.onhost.agent.model import BEGINNING, NEVER, Cause, Cluster, Promotion, Report, Sync, Vote
from nospof.onhost.etcd import Done, Etcd, EtcdError, Refused, Value
from nospof.onhost.threads import run_beside

ASK_EVERY_S = 1.0
# Of so many changes of the primary there is a record; `status` shows fewer. Nothing is ever decided by it.
MOST_CHANGES = 100
NO_CLUSTER = Cluster(0, 0, "", Sync.DEGRADED, last=Promotion("", BEGINNING, Cause.FIRST))


@dataclass(frozen=True)
class View:
    """What is known now. `cluster` None: never read. `votes` are for exactly its revision."""

    cluster: Cluster | None = None
    all_votes: Mapping[str, tuple[int, Vote]] = field(default_factory=lambda: MappingProxyType({}))
    reports: Mapping[str, Report] = field(default_factory=lambda: MappingProxyType({}))
    history: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    answered_at_s: float = -NEVER

    @property
    def votes(self) -> dict[str, Vote]:
        now = -1 if self.cluster is None else self.cluster.revision
        return {node: vote for node, (revision, vote) in self.all_votes.items() if revision == now}


class Store(Protocol):
    """Where the cluster's state is kept."""

    @property
    def view(self) -> View:
        """What is known now."""

    def change(self, cluster: Cluster) -> bool:
        """Replace the state if it is still at the revision of `cluster`; False if not, or if that is not known."""

    def vote(self, revision: int, vote: Vote) -> None: ...

    def report(self, report: Report) -> None: ...

    def record(self, term: int, text: str, part: str = "") -> None:
        """Add to the history, which keeps the last MOST_CHANGES changes of the primary.

        `part`: what another host than the new primary adds; what is older than all that is kept goes.
        """


class EtcdStore:
    """The store in etcd, under `prefix` ("/nospof/shop/database/"). `wake` is called whenever the view changed."""

    def __init__(self, connect: Callable[[], Etcd], prefix: str, wake: Callable[[], None], said: Callable[[str], None]) -> None:
        self._connect, self._prefix, self._wake, self._said = connect, prefix, wake, said
        self._acting, self._asking, self._lock = connect(), connect(), threading.Lock()
        self._view = View()

    @property
    def view(self) -> View:
        """What is known now."""
        return self._view

    def start(self, stop: threading.Event) -> None:
        """Begin to watch and to ask, in threads of their own, until `stop`."""
        run_beside(self._watch, stop)
        run_beside(self._ask, stop)

    # --- writing -----------------------------------------------------------------------------------------------------
    def change(self, cluster: Cluster) -> bool:
        key, text = f"{self._prefix}cluster", documents.write_cluster(cluster)
        try:
            outcome = self._acting.swap(key, text, cluster.revision)
        except EtcdError as error:
            # It may have happened: the watch or the next question tells.
            self._said(f"etcd: {error}")
            return False
        if isinstance(outcome, Done):
            self._see(key, Value(text, outcome.revision))
            return True
        if isinstance(outcome, Refused) and outcome.present is not None:
            self._see(key, outcome.present)
        return False

    def vote(self, revision: int, vote: Vote) -> None:
        self._put(f"votes/{vote.node}", documents.write_vote(vote, revision))

    def report(self, report: Report) -> None:
        self._put(f"reports/{report.node}", documents.write_report(report))

    def record(self, term: int, text: str, part: str = "") -> None:
        self._put(f"history/{term:08}{part}", text)
        # Whoever knows of fewer changes than there are removes less.
        terms = _terms(self.view.history)
        if len(terms) == MOST_CHANGES:
            self._try(lambda: self._acting.delete_range(f"{self._prefix}history/", f"{self._prefix}history/{terms[0]}"))

    def _put(self, name: str, text: str) -> None:
        revision = self._try(lambda: self._acting.put(self._prefix + name, text))
        if revision is not None:
            self._see(self._prefix + name, Value(text, revision))

    def _try(self, write: Callable[[], int]) -> int | None:
        """Returns the revision; None, which was said, when it is not known to have happened."""
        try:
            return write()
        except EtcdError as error:
            self._said(f"etcd: {error}")
            return None

    # --- reading -----------------------------------------------------------------------------------------------------
    def _ask(self, stop: threading.Event) -> None:
        while not stop.is_set():
            asked_at_s = time.monotonic()
            try:
                value = self._asking.get(f"{self._prefix}cluster")
                if value is not None:
                    self._see(f"{self._prefix}cluster", value)
                with self._lock:
                    self._view = replace(self.view, cluster=self.view.cluster or NO_CLUSTER, answered_at_s=asked_at_s)
            except EtcdError:
                pass  # for how long it is silent is what counts
            stop.wait(ASK_EVERY_S if self.view.answered_at_s > 0 else 0.1)

    def _read_everything(self, etcd: Etcd) -> int:
        """Returns the revision from which on changes are to be watched."""
        revision, found = etcd.get_prefix(self._prefix)
        for key, value in found.items():
            self._see(key, value)
        return revision + 1

    def _watch(self, stop: threading.Event) -> None:
        watching = self._connect()
        while not stop.is_set():
            try:
                watching.watch(
                    self._prefix, self._read_everything(watching), self._event, lambda: self._read_everything(watching), stop
                )
            except EtcdError:
                stop.wait(0.2)

    def _event(self, key: str, value: Value | None, _revision: int) -> None:
        if value is not None:
            self._see(key, value)

    def _see(self, key: str, value: Value) -> None:
        name = key.removeprefix(self._prefix)
        try:
            with self._lock:
                before = self.view
                self._view = self._with(before, name, value)
                is_new = self.view is not before
        except documents.Misunderstood as error:
            self._said(f"{key}: {error}")
            return
        if is_new:
            self._wake()

    def _with(self, view: View, name: str, value: Value) -> View:
        """The view with one key brought up to date; the same view when that is no news."""
        kind, _, who = name.partition("/")
        if kind == "cluster":
            if view.cluster is not None and view.cluster.revision >= value.mod_revision:
                return view
            return replace(view, cluster=documents.read_cluster(value.text, value.mod_revision))
        if kind == "votes":
            told = documents.read_vote(value.text)
            return view if view.all_votes.get(who) == told else replace(view, all_votes={**view.all_votes, who: told})
        if kind == "reports":
            report = documents.read_report(value.text)
            return view if view.reports.get(who) == report else replace(view, reports={**view.reports, who: report})
        if kind == "history":
            return replace(view, history=newest({**view.history, who: value.text}))
        return view


def newest(history: Mapping[str, str]) -> dict[str, str]:
    """The last MOST_CHANGES changes of the primary, each with all its parts: names begin with the term, in eight digits."""
    kept = set(_terms(history)[-MOST_CHANGES:])
    return {name: text for name, text in history.items() if name.partition("-")[0] in kept}


def _terms(history: Mapping[str, str]) -> list[str]:
    return sorted({name.partition("-")[0] for name in history})


class FileStore:
    """The store of a tier with a single server, which has nobody to agree with: a file on its disk."""

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self._path, self._wake, self._lock = path, wake, threading.Lock()
        self._view = View(self._read())

    @property
    def view(self) -> View:
        """What is known; a disk answers always."""
        return replace(self._view, answered_at_s=time.monotonic())

    def change(self, cluster: Cluster) -> bool:
        with self._lock:
            known = self._view.cluster
            if known is None or known.revision != cluster.revision:
                return False
            changed = replace(cluster, revision=cluster.revision + 1)
            text = json.dumps({"revision": changed.revision, "cluster": documents.write_cluster(changed)})
            new = self._path.with_suffix(".new")
            with new.open("w") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self._path)
            self._view = replace(self._view, cluster=changed)
        self._wake()
        return True

    def vote(self, revision: int, vote: Vote) -> None:
        self._view = replace(self._view, all_votes={vote.node: (revision, vote)})

    def report(self, report: Report) -> None:
        self._view = replace(self._view, reports={report.node: report})

    def record(self, term: int, text: str, part: str = "") -> None:
        self._view = replace(self._view, history=newest({**self._view.history, f"{term:08}{part}": text}))

    def _read(self) -> Cluster:
        if not self._path.exists():
            return NO_CLUSTER
        told = json.loads(self._path.read_text())
        return documents.read_cluster(told["cluster"], told["revision"])
