"""A mail server and a web server that keep what they get: run on the lab's client, where alerts of a test stack are sent.

    python3 alert_sink.py FOLDER        mails on port 2525, webhooks on port 8080

Each mail is a file FOLDER/mail-TIME, each document FOLDER/PATH-TIME, by the seconds since the epoch at which it had come.
It keeps to what a mail server must answer (RFC 5321) and to nothing else.
"""

from __future__ import annotations

import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MAIL_PORT, WEB_PORT = 2525, 8080
UNIT = "alert-sink"


def keep(kind: str, content: bytes) -> None:
    folder = Path(sys.argv[1])
    new = folder / f".{kind}-{time.time():.3f}"
    new.write_bytes(content)
    new.rename(folder / new.name[1:])


class Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.say("220 here")
        while line := self.rfile.readline():
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                self.say("354 go on")
                keep("mail", b"".join(iter(self.rfile.readline, b".\r\n")))
            self.say("221 bye" if verb == b"QUIT" else "250 ok")
            if verb == b"QUIT":
                return

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Web(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        keep(self.path.strip("/"), self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()


def main() -> None:
    Path(sys.argv[1]).mkdir(exist_ok=True)
    mail = socketserver.ThreadingTCPServer(("0.0.0.0", MAIL_PORT), Mail)
    threading.Thread(target=mail.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("0.0.0.0", WEB_PORT), Web).serve_forever()


if __name__ == "__main__":
    main()
