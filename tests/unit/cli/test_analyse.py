"""`nospof analyse`: what it prints and how it ends, as a user and a program see it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TREE = """<opsa-mef>
<define-fault-tree name="stack">
<define-gate name="down"><or><gate name="web"/><gate name="votes"/></or></define-gate>
<define-gate name="web"><and><basic-event name="web1"/><basic-event name="web2"/></and></define-gate>
<define-gate name="votes"><atleast min="2">
<basic-event name="db1"/><basic-event name="db2"/><basic-event name="w1"/>
</atleast></define-gate>
</define-fault-tree>
<model-data>
<define-basic-event name="web1"><float value="0.1"/></define-basic-event>
<define-basic-event name="web2"><float value="0.1"/></define-basic-event>
<define-basic-event name="db1"><float value="0.01"/></define-basic-event>
<define-basic-event name="db2"><float value="0.01"/></define-basic-event>
<define-basic-event name="w1"><float value="0.01"/></define-basic-event>
</model-data>
</opsa-mef>
"""
PROBABILITY = 1 - (1 - 0.01) * (1 - (3 * 0.01**2 * 0.99 + 0.01**3))


def analyse(folder: Path, *words: str, text: str = TREE, seed: str = "0", before: str = "") -> subprocess.CompletedProcess[str]:
    """Run `nospof analyse tree.xml` with `words`, after the statements `before`."""
    (folder / "tree.xml").write_text(text)
    argv = [sys.executable, "-c", f"from nospof.cli import main\n{before}\nmain.main()", "analyse", "tree.xml", *words]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "COLUMNS": "120"}
    return subprocess.run(argv, capture_output=True, text=True, cwd=folder, timeout=60, check=False, env=environment)


def document(folder: Path, *words: str, text: str = TREE) -> dict[str, Any]:
    done = analyse(folder, "--json", *words, text=text)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_document_has_everything(tmp_path: Path) -> None:
    found = document(tmp_path, "--most", "2", "--path-sets")
    importance = found.pop("importance")
    assert found == {
        "top": "down",
        "gates": 3,
        "events": 5,
        "coherent": True,
        "minimal_cut_sets": 4,
        "minimal_cut_sets_reason": None,
        "orders": {"2": 4},
        "smallest_cut_sets": [
            {"events": ["db1", "db2"], "probability": pytest.approx(1e-4)},
            {"events": ["web1", "web2"], "probability": pytest.approx(1e-2)},
        ],
        "least_failures": None,
        "minimal_path_sets": 6,
        "path_set_orders": {"3": 6},
        "smallest_path_sets": [
            {"events": ["db1", "db2", "web1"], "probability": pytest.approx(1e-5)},
            {"events": ["db1", "w1", "web1"], "probability": pytest.approx(1e-5)},
        ],
        "probability": pytest.approx(PROBABILITY),
        "probability_reason": None,
        "rare_event_bound": pytest.approx(0.0103),
        "min_cut_upper_bound": pytest.approx(1 - 0.99 * (1 - 1e-4) ** 3),
        "bdd_nodes": 8,
        "notes": [],
    }
    assert [one["event"] for one in importance] == ["web1", "web2", "db1", "db2", "w1"]
    assert importance[0] == {
        "event": "web1",
        "probability": 0.1,
        "birnbaum": pytest.approx(0.1 * (1 - PROBABILITY) / 0.99),
        "criticality": pytest.approx(0.01 * (1 - PROBABILITY) / 0.99 / PROBABILITY),
        "fussell_vesely": pytest.approx(0.01 / 0.0103),
        "raw": pytest.approx(1 + 0.9 * 0.1 * (1 - PROBABILITY) / 0.99 / PROBABILITY),
        "rrw": pytest.approx(PROBABILITY / (3 * 0.01**2 * 0.99 + 0.01**3)),
    }


def test_document_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    assert analyse(tmp_path, "--json", seed="1").stdout == analyse(tmp_path, "--json", seed="2").stdout


def test_page_shows_number_probability_orders_and_sets(tmp_path: Path) -> None:
    done = analyse(tmp_path)
    assert done.returncode == 0
    lines = [re.sub(r" +", " ", line.strip()) for line in done.stdout.splitlines()]
    for line in ("down: 3 gates, 5 events", "minimal cut sets 4", "probability 0.010295 (exact)", "2 4", "0.01 web1, web2"):
        assert line in lines


def test_tree_that_is_not_coherent_has_no_cut_sets_but_a_probability(tmp_path: Path) -> None:
    found = document(tmp_path, text=TREE.replace('<basic-event name="web2"/>', '<not><basic-event name="web2"/></not>'))
    assert (found["coherent"], found["minimal_cut_sets"], found["orders"]) == (False, None, None)
    assert found["minimal_cut_sets_reason"].startswith("the tree is not coherent: ")
    assert found["least_failures"]["orders"] == {"1": 1, "2": 3}
    assert found["probability"] == pytest.approx(0.09 + 0.91 * 0.000298)


def test_tree_without_probabilities_is_counted(tmp_path: Path) -> None:
    found = document(tmp_path, text=TREE.replace('<float value="0.1"/>', ""))
    assert (found["minimal_cut_sets"], found["probability"], found["importance"]) == (4, None, None)
    assert (
        found["probability_reason"] == "without a probability: web1 (its definition has none), web2 (its definition has none)"
    )


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        ((), TREE.replace('name="votes"/>', 'name="vote"/>'), "tree.xml:3: gate vote is not defined"),
        ((), "", "tree.xml:1: the file is empty"),
        (("--top", "up"), TREE, "tree.xml has no gate up"),
        (("--most", "-1"), TREE, "a number on the command line is too small"),
        (("--seconds", "nan"), TREE, "a number on the command line is too small"),
    ],
)
def test_wrong_input_ends_with_2(tmp_path: Path, words: tuple[str, ...], text: str, said: str) -> None:
    done = analyse(tmp_path, *words, text=text)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)


def test_file_that_is_not_there_or_a_folder_ends_with_2(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "from nospof.cli import main\nmain.main()", "analyse"]
    for name, said in (("no.xml", "there is no file no.xml\n"), (".", ". is a folder\n")):
        done = subprocess.run([*argv, name], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(said)


def test_spent_budget_is_unknown(tmp_path: Path) -> None:
    done = analyse(tmp_path, "--nodes", "1")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("this analysis needs more than the 1 nodes it may use\n")


@pytest.mark.parametrize(("error", "said"), [("KeyboardInterrupt", "interrupted"), ("MemoryError", "out of memory")])
def test_analysis_that_was_ended_is_unknown(tmp_path: Path, error: str, said: str) -> None:
    ended = f"from nospof.cli import analyse\ndef end(*_, **__): raise {error}\nanalyse.report = end"
    done = analyse(tmp_path, before=ended)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"{said}: nothing is known of this tree\n")


def test_page_of_the_how_to_is_what_its_file_gives(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/analyse-a-fault-tree.md").read_text()
    file, shown = (block.partition("\n")[2] for block in page.split("```")[1:6:4])
    done = analyse(tmp_path, "--most", "3", text=file)
    assert [line.rstrip() for line in done.stdout.strip().splitlines()] == shown.strip().splitlines()
