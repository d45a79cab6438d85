"""The failover agent of a database host: starts the server, gives it its role, replaces a lost primary.

    database_agent --config FILE --socket PATH     run; SIGHUP reads configuration and certificates again
    database_agent --ask VERB --socket PATH        ask the running agent: status, restart, leave

What it decides and why: nospof/onhost/agent/decide.py, docs/decisions/0009-failover.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nospof.onhost.agent import control
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.fence import Fence
from nospof.onhost.agent.hooks import Hooks, Notify, Site
from nospof.onhost.agent.mariadb import MariadbEngine, MariadbPlaces
from nospof.onhost.agent.model import Member, Mode, Rules
from nospof.onhost.agent.mysql import MysqlEngine, MysqlPlaces
from nospof.onhost.agent.run import Agent, Places
from nospof.onhost.agent.store import EtcdStore, FileStore, Store
from nospof.onhost.etcd import Etcd
from nospof.onhost.threads import run_beside

RUN, KEEP = Path("/run/nospof"), Path("/var/lib/nospof")

log = logging.getLogger("nospof")
P = TypeVar("P", bound=MariadbPlaces)


def main(argv: list[str]) -> int:
    """Run until told to stop, or ask the one that runs."""
    parser = argparse.ArgumentParser(prog="database_agent")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--ask", choices=("status", "restart", "leave"))
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if arguments.ask:
        return _ask(arguments.socket, arguments.ask)
    try:
        return run(read_config(arguments.config), arguments.config, arguments.socket)
    except (OSError, KeyError, TypeError, ValueError) as error:
        log.error("cannot run: %s: %s", type(error).__name__, error)
        return 1


def _ask(socket: Path, verb: str) -> int:
    answer = control.ask(socket, {"do": verb})
    sys.stdout.write(json.dumps(answer) + "\n")
    if not answer.get("ok"):
        sys.stderr.write(f"{answer.get('why', 'no answer')}\n")
    return 0 if answer.get("ok") else 1


@dataclass(frozen=True)
class Config:
    """What agent.json says, and of accounts.json the replication account and whom to tell."""

    told: dict[str, Any]
    user: str
    password: str = field(repr=False)
    notify: Notify = field(repr=False)

    @property
    def rules(self) -> Rules:
        """What the stack file decides."""
        told = self.told
        members = tuple(Member(host, host in told["witnesses"], host in told["spares"]) for host in sorted(told["members"]))
        return Rules(
            members=members,
            first_primary=told["first_primary"],
            mode=Mode(told["mode"]),
            suspect_s=told["suspect_s"],
            agree_s=told["agree_s"],
            most_voters=told["most_voters"],
        )


def read_config(path: Path) -> Config:
    """Raises OSError, KeyError, TypeError or ValueError where a file is missing or wrong."""
    told = json.loads(path.read_text())
    secret = json.loads(Path(told["accounts_file"]).read_text())
    account = secret["replication"]
    return Config(told, account["user"], account["password"], Notify.read(secret["notify"]))


def run(config: Config, path: Path, socket: Path) -> int:
    """Run the agent until SIGTERM."""
    told, tier = config.told, config.told["tier"]
    reload = threading.Event()
    engine = _engine(config)
    agent_wakes: list[Agent] = []

    def wake() -> None:
        for agent in agent_wakes:
            agent.wake.set()

    store = _store(config, wake)
    fence = Fence(told["members"], told["port"], KEEP / tier / "blocked")
    roles_at = (told["members"][told["host"]], told["role_port"])
    places = Places(tier, told["host"], told["read_lag_limit_s"], RUN / tier, KEEP / tier, roles_at)
    hooks = Hooks(config.notify, Site(told["stack"], tier, told["host"]))
    agent = Agent(engine, store, fence, config.rules, places, hooks)
    agent_wakes.append(agent)
    signal.signal(signal.SIGTERM, lambda *_: agent.end())
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    fence.restore()
    if isinstance(store, EtcdStore):
        store.start(agent.stop)
    agent.hooks.start(agent.stop)
    control.serve(agent, socket, agent.stop, _connect(config)().status if told["etcd"] else None)
    run_beside(_reload_when_told, agent, engine, path, config, reload)
    agent.run()
    return 0


def _reload_when_told(agent: Agent, engine: MariadbEngine, path: Path, config: Config, reload: threading.Event) -> None:
    """Certificates are loaded by the server; with other settings the agent starts again, which costs nothing."""
    while not agent.stop.is_set():
        if not reload.wait(1.0):
            continue
        reload.clear()
        try:
            if read_config(path) != config:
                log.info("other settings: starts again")
                agent.end()
                return
            engine.load_certificates()
        except EngineError as error:
            log.error("%s", error)
        except (OSError, KeyError, TypeError, ValueError) as error:
            log.error("the new settings cannot be read, the old ones stay: %s", error)


def _store(config: Config, wake: Callable[[], None]) -> Store:
    told = config.told
    if not told["etcd"]:
        return FileStore(KEEP / told["tier"] / "cluster.json", wake)
    return EtcdStore(_connect(config), f"/nospof/{told['stack']}/{told['tier']}/", wake, lambda text: log.info("%s", text))


def _connect(config: Config) -> Callable[[], Etcd]:
    told = config.told
    # The voter on this host first: it answers soonest.
    endpoints = sorted(((host, int(port)) for host, port in told["etcd"]), key=lambda place: place[0] != told["host"])
    return lambda: Etcd(endpoints, told["ca"], told["certificate"], told["key"])


def _engine(config: Config) -> MariadbEngine:
    """The adapter for the product that the tier runs."""
    if config.told.get("engine", "mariadb") == "mysql":
        return MysqlEngine(_places(config, MysqlPlaces))
    return MariadbEngine(_places(config, MariadbPlaces))


def _places(config: Config, kind: type[P]) -> P:
    told = config.told
    return kind(
        tier=told["tier"],
        host=told["host"],
        members=told["members"],
        port=told["port"],
        copy_port=told.get("copy_port", 0),
        server_id=told["number"],
        replication_user=config.user,
        replication_password=config.password,
        ca=told["ca"],
        certificate=told["certificate"],
        key=told["key"],
        syncs_relay_log=told["durability"] == "disk",
    )
