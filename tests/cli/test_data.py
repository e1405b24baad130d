"""`kpairs data` and names that a terminal or matplotlib would take for markup."""

import json

from command_line import TINY, kpairs


def test_data_as_json(workplace, image_folder):
    facts = json.loads(kpairs("data", "--json"))
    assert facts["splits"]["train"]["images"] == 60_000
    own = json.loads(kpairs("data", image_folder, "--json", "--sheet", "own.png"))
    assert own["splits"]["train"]["classes"] == ["1", "2", "10"]
    assert (workplace / "own.png").exists()


def test_names_are_shown_as_they_are(workplace, image_folder):
    (image_folder / "2").rename(image_folder / "b[bold]")
    (image_folder / "10").rename(image_folder / "c$\\frac{")
    order = ("--classes", "1,b[bold],c$\\frac{")
    assert "b[bold]" in kpairs("data", image_folder, *order, "--sheet", "own.png")
    text = kpairs("train", "--arch", "simple", *TINY, "--rounds", "2", "--out", "zz[x]")
    assert "saved in zz[x]; next: kpairs export --onnx 'zz[x]'" in text
