"""The board: everybody reads, who is signed in writes.

Who has just written reads from the primary for a while, so that they see their own notice; everybody else is shown what was
read from a copy of the database within the last seconds.
"""

import logging
import secrets
import time

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.core.cache import cache
from django.db import DatabaseError, IntegrityError, InterfaceError, connections
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from posts.models import Post

SHOWN = 20
REMEMBERED_S = 5
# A copy that is further behind than this serves no reads (read_lag_limit_s of the database's tier).
READS_OWN_S = 10
LONGEST_TEXT = 1000
READ_ONLY = (1290, 1836)

log = logging.getLogger("board")


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    token = secrets.token_urlsafe(18)
    return render(request, "index.html", {"posts": _newest(request), "token": token, "text": "", "longest": LONGEST_TEXT})


@require_POST
@login_required
def write(request: HttpRequest) -> HttpResponse:
    text, token = request.POST.get("text", "").strip(), request.POST.get("token", "")
    if not 0 < len(text) <= LONGEST_TEXT or not 0 < len(token) <= 64 or "\x00" in text + token:
        return _again(request, f"A notice has 1 to {LONGEST_TEXT} characters.", 400)
    try:
        _keep(Post(token=token, author=request.user, text=text))
    except (DatabaseError, InterfaceError) as problem:
        log.warning("a notice was not confirmed: %s", problem)
        if problem.args and problem.args[0] in READ_ONLY:
            return _again(request, "It was not put up: no database takes writes right now. Try again in a moment.", 503)
        return _again(request, "We could not confirm it. Send it again: it is never put up twice.", 504)
    cache.delete("newest")
    request.session["reads_own_until"] = time.time() + READS_OWN_S
    return redirect("index")


def join(request: HttpRequest) -> HttpResponse:
    form = UserCreationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        login(request, form.save())
        return redirect("index")
    return render(request, "join.html", {"form": form})


def _keep(post: Post) -> None:
    """Store it once, however often it is sent."""
    try:
        post.save(force_insert=True)
    except IntegrityError:
        # It is there. A change of it waits for a copy's acknowledgement, as the first time: a primary that was cut off may
        # have it alone.
        if not Post.objects.filter(token=post.token, author=post.author).update(attempts=F("attempts") + 1):
            raise


def _newest(request: HttpRequest) -> list[dict[str, object]]:
    if request.session.get("reads_own_until", 0) > time.time():
        return _read("default")
    found = cache.get("newest")
    if found is None:
        try:
            found = _read("copy")
        except (DatabaseError, InterfaceError):
            # It died in the middle; a new connection leads to another one. Django itself would use the dead one again.
            connections["copy"].close()
            found = _read("copy")
        cache.set("newest", found, REMEMBERED_S)
    return found


def _read(alias: str) -> list[dict[str, object]]:
    posts = Post.objects.using(alias).select_related("author")[:SHOWN]
    return [{"id": post.id, "text": post.text, "by": post.author.username, "at": post.written_at} for post in posts]


def _again(request: HttpRequest, problem: str, status: int) -> HttpResponse:
    said = {"problem": problem, "text": request.POST.get("text", ""), "token": request.POST.get("token", "")}
    return render(request, "write.html", {**said, "longest": LONGEST_TEXT}, status=status)
