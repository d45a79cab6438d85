"""Finishing: remove what the manifest no longer has, forget what was kept for going back, write the receipt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from nospof.onhost import files, units
from nospof.onhost.compare import Difference, gone
from nospof.onhost.manifest import Manifest
from nospof.onhost.receipt import LAST_GOOD, ORIGINAL, STAGED, Journal, Receipt, clear_journal, clear_receipt, write_receipt

# As many releases as a user may want to go back to.
KEPT_RELEASES = 5


def settle(manifest: Manifest, receipt: Receipt, journal: Journal, finished: Receipt) -> list[Difference]:
    """Remove what is gone and write the receipt; `finished` carries who, when, which stack. Returns what was removed."""
    removed = gone(manifest, receipt, journal)
    for difference in removed:
        _remove(difference, {**receipt.files, **journal.files})
    if removed:
        units.reload_systemd()
    _prune_trees(manifest)
    shutil.rmtree(LAST_GOOD, ignore_errors=True)
    write_receipt(
        Receipt(
            stack=finished.stack,
            stack_id=finished.stack_id,
            generation=receipt.generation + 1,
            digest=manifest.digest,
            finished_at=finished.finished_at,
            finished_by=finished.finished_by,
            files={file.path: file.ownership for instance in manifest.instances for file in instance.files},
            symlinks=tuple(symlink.path for instance in manifest.instances for symlink in instance.symlinks),
            trees=tuple(tree.path for instance in manifest.instances for tree in instance.trees),
            units=tuple(dict.fromkeys(unit.name for instance in manifest.instances for unit in instance.units)),
            instances={
                instance.id: {
                    "units": [unit.name for unit in instance.units if unit.is_started and not unit.is_aside],
                    "other_units": [unit.name for unit in instance.units if not unit.is_started and not unit.is_aside],
                    "aside_units": [unit.name for unit in instance.units if unit.is_aside],
                    "configurations": [file.path for file in instance.files if file.check],
                    "probes": [list(probe.argv) for probe in instance.healthy_when],
                }
                for instance in manifest.instances
            },
        )
    )
    clear_journal()
    return removed


def retire(receipt: Receipt, journal: Journal, stores: Sequence[str]) -> list[str]:
    """Stop and remove all that is ours on this host, but data and packages; returns those of `stores` that hold data.

    The firewall opens last, when nothing listens any more; what other stacks or people have here is not touched.
    """
    removed = gone(Manifest((), (), ""), receipt, journal)
    for difference in sorted(removed, key=lambda difference: difference.kind != "unit"):
        _remove(difference, {**receipt.files, **journal.files})
    units.reload_systemd()
    for table in ("nospof", "nospof_fence"):
        units.run(["nft", "destroy", "table", "inet", table], timeout_s=10)
    for path in receipt.trees:
        files.remove_tree(path)
    shutil.rmtree(LAST_GOOD, ignore_errors=True)
    clear_journal()
    STAGED.unlink(missing_ok=True)
    clear_receipt()
    return [folder for folder in stores if os.path.isdir(folder) and os.listdir(folder)]


def _remove(difference: Difference, ownership: dict[str, str]) -> None:
    path = difference.name
    if difference.kind == "unit":
        if not _is_debians_own(path):
            units.disable(path)
    elif difference.kind == "symlink":
        files.remove(path)
    elif ownership.get(path) == "block":
        text = files.without_block(files.current_text(path) or "")
        files.write_atomically(path, text.encode(errors="surrogateescape"), 0o644)
    else:
        files.restore(path, ORIGINAL)
        files.remove(str(files.kept_at(path, ORIGINAL)))


def _is_debians_own(unit: str) -> bool:
    """Units every system runs, which we only told to notice a file of ours."""
    return unit.startswith("systemd-")


def _prune_trees(manifest: Manifest) -> None:
    """Keep the newest few folders beside each tree of the manifest; never one that is in use."""
    used = {tree.path for instance in manifest.instances for tree in instance.trees}
    for path in used:
        stem = os.path.basename(path).rpartition("-")[0]
        siblings = [entry for entry in Path(path).parent.iterdir() if entry.is_dir() and not entry.is_symlink()]
        alike = [entry for entry in siblings if entry.name.rpartition("-")[0] == stem]
        alike.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
        for old in alike[KEPT_RELEASES:]:
            if str(old) not in used:
                files.remove_tree(str(old))
