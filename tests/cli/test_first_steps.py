"""The README's first page: from digits to a prediction."""

import json
import re

from command_line import TINY, kpairs


def test_the_whole_path_from_digits_to_a_prediction(workplace):
    """Models are files, runs or the latest run."""
    text = kpairs("train", "--arch", "auxws", "--loss-weights", "0.5,1", *TINY, "--rounds", "2")
    assert "mean ± std" in text
    (folder,) = (workplace / "runs").iterdir()
    assert f"saved in runs/{folder.name}" in text
    assert f"next: kpairs export --onnx runs/{folder.name}" in text
    rows = json.loads(kpairs("evaluate", "--json"))
    assert [row["test"] for row in rows["rounds"]] == [
        row["test"] for row in json.loads((folder / "metrics.json").read_text())["rounds"]
    ]
    assert "mean ± std" in kpairs("evaluate", folder)
    kpairs("data", "--samples", "samples", "--sheet", "sheet.png", "--split", "test")
    assert (workplace / "sheet.png").read_bytes().startswith(b"\x89PNG")
    text = kpairs("export", folder, "--onnx")
    model = folder / "auxws.onnx"
    assert "every decision is the same" in text
    assert f"next: kpairs predict {model} LEFT.png RIGHT.png" in text
    sides = ("samples/3.png", "samples/7.png")
    answer = json.loads(kpairs("predict", *sides, "--json"))
    assert {"left_not_higher", "probability", "left_digit", "right_digit"} <= set(answer)
    for named in (folder, model):
        assert json.loads(kpairs("predict", named, *sides, "--json")) == answer
    text = kpairs("predict", model, *sides)
    assert re.search(r"^left (<=|>) right \(\d+\.\d%\)$", text, re.MULTILINE)
    assert f"samples/3.png: {answer['left_digit']} (" in text
    ranked = json.loads(kpairs("rank", "samples", "--json"))
    assert ranked == json.loads(kpairs("rank", folder, "samples", "--json"))
    assert "received 0 images" in kpairs("predict", folder, expect=2)
    (workplace / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "bad.png" in kpairs("predict", model, "bad.png", "bad.png", expect=4)
