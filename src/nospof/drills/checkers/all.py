"""Importing this makes every checker of the folder known."""

from importlib import import_module
from pkgutil import iter_modules

import nospof.drills.checkers as folder

for _module in iter_modules(folder.__path__):
    import_module(f"{folder.__name__}.{_module.name}")
