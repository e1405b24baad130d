"""`kpairs archs`: the table of all networks, and one of them."""

import json

import pytest
from click.shell_completion import ShellComplete
from command_line import kpairs

from kpairs.cli import main
from kpairs.networks import ARCHS
from kpairs.reports import REPORTS


def test_archs(workplace):
    rows = json.loads(kpairs("archs", "--json"))
    assert {row["name"]: row["parameters"] for row in rows}["auxws"] == 56_470
    assert {"name", "report", "outputs", "parameters", "stated_parameters"} <= set(rows[0])
    assert len(rows) == len(ARCHS) >= 35
    disagree = {row["name"] for row in rows if row["agrees"] is False}
    assert disagree == {"c4l2_ws", "wsal_bd", "w_net", "a_w_net", "final_model"}
    assert all(row["reason"] for row in rows if row["name"] in disagree)
    table = kpairs("archs")
    assert "56,470" in table
    said = {
        row.split("│")[1].strip(): row.split("│")[3].strip()
        for row in table.splitlines()[3:-1]
        if row.startswith("│")
    }
    assert said["simple"] == "-"
    assert said["ranker"] == "scores"
    assert said["auxws"] == "digits"


def test_one_architecture(workplace):
    text = kpairs("archs", "c4l2_ws", "--plot", "graph.png")
    assert "47,106 parameters" in text
    assert "stated parameters: printed by an early version" in text
    assert (workplace / "graph.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(kpairs("archs", "c4l2_ws", "--json"))
    assert facts["stated_parameters"] == 34_146
    assert "36 2x2 relu" in [row["details"] for row in facts["layers"]]
    facts = json.loads(kpairs("archs", "a_w_net", "--json"))
    (first,) = [row for row in facts["layers"] if row["details"].startswith("32 3x3")]
    assert len(first["reads"]) == 2  # called on each image
    assert facts["recipe"]["fit"]["batch_size"] == 5
    assert {r["metric"] for r in facts["reported"]} == {"parameters", "validation_accuracy"}


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        (["archs"], "auxw", ["auxws"]),
        (["train", "--arch"], "final", ["final_model"]),
        (["study"], "haid", ["haidinger", "haidinger-figure-2", "haidinger-plain"]),
        (["report"], "", [*REPORTS, "000", "001", "002", "003", "004"]),
    ],
)
def test_the_shell_completes_names(words, incomplete, found):
    completion = ShellComplete(main, {}, "kpairs", "_KPAIRS_COMPLETE")
    assert [item.value for item in completion.get_completions(words, incomplete)] == found
