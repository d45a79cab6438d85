"""The entry point: gunicorn loads `shop:app`.

Nothing is asked at the start: a start must neither wait for database and caches nor fail without them.
"""

import os

from counts import Counts
from orders import Orders, connect_with
from sessions import Sessions
from storefront import create_app

app = create_app(
    os.environ,
    Orders(connect_with(os.environ)),
    Sessions.at(os.environ["SESSIONS_URL"], os.environ["SECRET_KEY"]),
    Counts(os.environ["PAGES_HOST"], int(os.environ["PAGES_PORT"])),
)
