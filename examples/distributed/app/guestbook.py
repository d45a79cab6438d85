"""A guestbook as a Flask application: pages for people, JSON for drills, health for the load balancer.

Every answer says which servers gave it. What could not be confirmed is said, never guessed: 201 means that the database
acknowledged the entry, 503 that nothing was written, 504 that nobody knows; the same token may be sent again in any case.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from database import Connect, Database, Entry, NoPrimary, OutcomeUnknown, Probe, Route, Server, Unavailable
from flask import Flask, Response, flash, g, jsonify, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

NAME_LENGTH = 80
MESSAGE_LENGTH = 2000
ENTRIES_PER_PAGE = 10
TOKENS_PER_ANSWER = 1000
LARGEST_ID = 2**63 - 1
RETRY_AFTER_S = 1

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Invalid(ValueError):
    """The input cannot be an entry; the text says why, to the person who typed it."""


@dataclass(frozen=True)
class Problem:
    status: int
    code: str
    title: str
    text: str


NOT_READABLE = Problem(
    503, "unavailable", "The book cannot be read right now",
    "The database does not answer. This page works again as soon as it is back.",
)  # fmt: skip
NOT_WRITTEN = Problem(
    503, "not-written", "Your entry was not written",
    "The database did not take it, so nothing was stored. Try again in a moment.",
)  # fmt: skip
NO_PRIMARY = Problem(
    503, "no-primary", "Your entry was not written",
    "There is no primary database right now, and only a primary takes entries. Another server usually takes over within "
    "seconds: try again in a moment.",
)  # fmt: skip
UNKNOWN = Problem(
    504, "outcome-unknown", "We could not confirm your entry",
    "It was sent, but the database did not answer in time, so it may or may not be in the book. Reload the book to see, "
    "or send it again: the same entry is never stored twice.",
)  # fmt: skip
EXPIRED = Problem(
    400, "form-expired", "Please send it once more",
    "The form was opened too long ago or in another session, so nothing was stored.",
)  # fmt: skip


def create_app(environment: Mapping[str, str], connect: Connect) -> Flask:
    """Build the application; `connect` opens a database connection for a route. Touches no database itself."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=environment["SECRET_KEY"],
        SESSION_COOKIE_NAME="__Host-guestbook",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
        SEND_FILE_MAX_AGE_DEFAULT=300,
    )
    database = Database(connect)
    host_name = environment.get("HOST_NAME", "")
    _add_pages(app, database)
    _add_api(app, database)
    _add_health(app, database, host_name, environment.get("APP_NAME", "app"))
    _add_errors(app)

    @app.context_processor
    def page_values() -> dict[str, object]:
        return {"route": _route(host_name), "csrf": _csrf, "name_length": NAME_LENGTH, "message_length": MESSAGE_LENGTH}

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        response.headers["X-App-Server"] = host_name
        if request.endpoint not in ("static", "favicon"):
            response.headers["Cache-Control"] = "no-store"
        if response.status_code == 503:
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response

    return app


def _add_pages(app: Flask, database: Database) -> None:
    @app.get("/")
    def index() -> ResponseReturnValue:
        before = _whole_number("before", None)
        try:
            answer = database.newest(before, ENTRIES_PER_PAGE + 1, session.get("position"))
        except Unavailable:
            return _problem_page(NOT_READABLE)
        g.server = answer.server
        page = answer.entries[:ENTRIES_PER_PAGE]
        older = page[-1].id if len(answer.entries) > len(page) else None
        return render_template("index.html", answer=answer, page=page, older=older, before=before, form=_new_form())

    @app.get("/entries/<int:entry_id>")
    def entry(entry_id: int) -> ResponseReturnValue:
        try:
            answer = database.find("id", entry_id, session.get("position"))
        except Unavailable:
            return _problem_page(NOT_READABLE)
        g.server = answer.server
        if not answer.entries:
            return _problem_page(Problem(404, "absent", "No such entry", f"Entry {entry_id} is not in the book."))
        return render_template("entry.html", entry=answer.entries[0])

    @app.post("/entries")
    def write() -> ResponseReturnValue:
        form = {key: request.form.get(key, "") for key in ("name", "message", "token")}
        if not hmac.compare_digest(request.form.get("csrf", "").encode(), _csrf().encode()):
            return _problem_page(EXPIRED, form)
        try:
            written = database.write(_entry(form))
        except Invalid as problem:
            return _problem_page(Problem(400, "invalid", "Not written yet", str(problem)), form)
        except NoPrimary:
            return _problem_page(NO_PRIMARY, form)
        except Unavailable:
            return _problem_page(NOT_WRITTEN, form)
        except OutcomeUnknown:
            return _problem_page(UNKNOWN, form)
        session["position"] = written.position
        where = f" on {written.server.name}" if written.server else ""
        flash(f"Entry {written.id} is in the book. The database acknowledged it{where}.")
        return redirect(url_for("index", _anchor=f"entry-{written.id}"), 303)

    @app.get("/favicon.ico")
    def favicon() -> ResponseReturnValue:
        return app.send_static_file("favicon.svg")


def _add_api(app: Flask, database: Database) -> None:
    @app.post("/api/entries")
    def api_write() -> ResponseReturnValue:
        # Only JSON: another site's form cannot send it, so that no CSRF token is needed here.
        body = request.get_json()
        if not isinstance(body, dict):
            return jsonify(error="invalid", text="A JSON object is needed."), 400
        try:
            written = database.write(_entry(body))
        except Invalid as problem:
            return jsonify(error="invalid", text=str(problem)), 400
        except NoPrimary:
            return _problem_json(NO_PRIMARY)
        except Unavailable:
            return _problem_json(NOT_WRITTEN)
        except OutcomeUnknown:
            return _problem_json(UNKNOWN)
        server = _server_json(written.server)
        answer = jsonify(id=written.id, token=body["token"], position=written.position, database=server)
        return answer, 201 if written.is_new else 200

    @app.get("/api/entries/<token>")
    def api_entry(token: str) -> ResponseReturnValue:
        if not TOKEN.fullmatch(token):
            return jsonify(error="absent"), 404
        try:
            answer = database.find("token", token, None)
        except Unavailable:
            return _problem_json(NOT_READABLE)
        if not answer.entries:
            return jsonify(error="absent", database=_server_json(answer.server)), 404
        found = answer.entries[0]
        return jsonify(
            id=found.id, token=found.token, name=found.name, message=found.message, database=_server_json(answer.server)
        )

    @app.get("/api/tokens")
    def api_tokens() -> ResponseReturnValue:
        after, limit = _whole_number("after", 0), _whole_number("limit", 100)
        try:
            answer = database.after(after or 0, min(limit or 0, TOKENS_PER_ANSWER))
        except Unavailable:
            return _problem_json(NOT_READABLE)
        tokens = [{"id": entry.id, "token": entry.token} for entry in answer.entries]
        return jsonify(tokens=tokens, database=_server_json(answer.server))


def _add_health(app: Flask, database: Database, host_name: str, app_name: str) -> None:
    @app.get("/health")
    def health() -> ResponseReturnValue:
        # Never asks the database: a failover there must not make the load balancer take out every server.
        return jsonify(status="ok", instance=f"{app_name}@{host_name}")

    @app.get("/ready")
    def ready() -> ResponseReturnValue:
        probes = {f"database-{route}": database.probe(route) for route in Route}
        status = 503 if any(probe.error for probe in probes.values()) else 200
        return jsonify({name: _probe_json(probe) for name, probe in probes.items()}), status


def _add_errors(app: Flask) -> None:
    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> ResponseReturnValue:
        problem = Problem(error.code or 500, "http", error.name, error.description or "")
        if request.path.startswith("/api/"):
            return _problem_json(problem)
        body, status = _problem_page(problem)
        # The error's own headers tell what is allowed (Allow, for 405).
        return body, status, [header for header in error.get_headers() if header[0] not in ("Content-Type",)]


def _entry(fields: Mapping[str, object]) -> Entry:
    name, message, token = (fields.get(key) for key in ("name", "message", "token"))
    if not (isinstance(name, str) and isinstance(message, str) and isinstance(token, str)):
        raise Invalid("Name, message and token are needed, each a text.")
    # Browsers send line ends as two characters, which would count twice.
    name, message = name.strip(), message.replace("\r\n", "\n").strip()
    if not name or not message:
        raise Invalid("A name and a message are needed.")
    if len(name) > NAME_LENGTH:
        raise Invalid(f"The name has {len(name)} characters; {NAME_LENGTH} fit.")
    if len(message) > MESSAGE_LENGTH:
        raise Invalid(f"The message has {len(message)} characters; {MESSAGE_LENGTH} fit.")
    if NOT_TEXT.search(name + message) or "\n" in name:
        raise Invalid("There are characters in it that are not text.")
    if not TOKEN.fullmatch(token):
        raise Invalid("The token has 1 to 64 letters, digits, - or _.")
    return Entry(token, name, message)


def _new_form() -> dict[str, str]:
    # The token makes sending twice, or again after "we could not confirm", store one entry.
    return {"name": "", "message": "", "token": secrets.token_urlsafe(18)}


def _csrf() -> str:
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(18)
    return str(session["csrf"])


def _whole_number(name: str, default: int | None) -> int | None:
    text = request.args.get(name, "")
    return min(int(text), LARGEST_ID) if re.fullmatch(r"[0-9]{1,19}", text) else default


def _problem_page(problem: Problem, form: Mapping[str, str] | None = None) -> tuple[str, int]:
    if problem.status in (503, 504):
        g.why_no_server = "no primary" if problem is NO_PRIMARY else "no answer"
    return render_template("problem.html", problem=problem, form=form), problem.status


def _problem_json(problem: Problem) -> tuple[Response, int]:
    return jsonify(error=problem.code, text=problem.text), problem.status


def _server_json(server: Server | None) -> dict[str, str] | None:
    return {"name": server.name, "role": server.role} if server else None


def _probe_json(probe: Probe) -> dict[str, object]:
    result: dict[str, object] = {"status": "failed" if probe.error else "ok", "ms": probe.duration_ms}
    if probe.server:
        result["server"] = _server_json(probe.server)
    if probe.error:
        result["error"] = probe.error
    return result


def _route(host_name: str) -> list[tuple[str, str]]:
    """Return (tier, server) of each that had a part in this answer, for the strip at the foot of the page."""
    served_by = [*re.split(r"[,\s]+", request.headers.get("X-Served-By", "").strip()), "", ""]
    server: Server | None = g.get("server")
    return [
        ("load balancer", request.headers.get("X-Load-Balancer") or served_by[0] or "not named"),
        ("web", request.headers.get("X-Web-Server") or served_by[1] or "not named"),
        ("app", host_name or "not named"),
        (f"database, {server.role}", server.name) if server else ("database", g.get("why_no_server", "not asked")),
    ]
