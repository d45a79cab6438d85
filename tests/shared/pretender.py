"""A cache server or Sentinel that only pretends, and the settings of the agent beside it."""

from __future__ import annotations

import socketserver
import threading
from dataclasses import dataclass, field
from pathlib import Path

from nospof.onhost.cache_agent import Config

ME, OTHER = "10.0.0.1", "10.0.0.2"


def bulk(text: str) -> bytes:
    return f"${len(text.encode())}\r\n{text}\r\n".encode()


def many(*texts: str) -> bytes:
    return f"*{len(texts)}\r\n".encode() + b"".join(bulk(text) for text in texts)


@dataclass
class Pretender:
    """A server on a unix socket that answers by its first words, and remembers what it was asked."""

    path: Path
    answers: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def start(self) -> socketserver.BaseServer:
        told = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while head := self.rfile.readline():
                    words = []
                    for _ in range(int(head[1:])):
                        size = int(self.rfile.readline()[1:])
                        words.append(self.rfile.read(size + 2)[:-2].decode())
                    said = " ".join(words)
                    told.asked.append(said)
                    found = next((answer for begin, answer in told.answers.items() if said.startswith(begin)), b"+OK\r\n")
                    self.wfile.write(found)

        server = socketserver.ThreadingUnixStreamServer(str(self.path), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server


def cache_config(folder: Path, **others: object) -> Config:
    (folder / "passwords.json").write_text('{"server": "p", "watchers": "w"}')
    told: dict[str, object] = {
        "tier": "cache",
        "host": "c1",
        "members": {"c1": ME, "c2": OTHER},
        "watchers": {},
        "port": 6379,
        "watch_port": 26379,
        "socket": str(folder / "server.sock"),
        "passwords_file": str(folder / "passwords.json"),
        "needs": 0,
        "trust_s": 5.0,
        "look_every_s": 0.2,
        "replaced_s": 0.3,
        "read_lag_limit_s": 10,
        "note_file": str(folder / "note.json"),
        "start_file": str(folder / "start.conf"),
        "leaving_file": str(folder / "leaving"),
        "ca": "",
        "certificate": "",
        "key": "",
    }
    return Config(**{**told, **others})  # type: ignore[arg-type]
