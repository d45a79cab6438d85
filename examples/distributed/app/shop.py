"""The entry point: gunicorn loads `shop:app`.

The table is created on the side: a start must neither wait for the database nor fail without it.
"""

import os
from threading import Thread

from database import Database, connect_with
from guestbook import create_app

connect = connect_with(os.environ)
app = create_app(os.environ, connect)
Thread(target=Database(connect).prepare, name="create-table", daemon=True).start()
