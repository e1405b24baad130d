"""The README's first page: from digits to a prediction."""

import json
import re

from command_line import TINY, kpairs


def test_the_whole_path_from_digits_to_a_prediction(workplace):
    text = kpairs("train", "--arch", "auxws", "--loss-weights", "0.5,1", *TINY, "--rounds", "2")
    assert "mean ± std" in text
    (folder,) = (workplace / "runs").iterdir()
    assert f"saved in runs/{folder.name}" in text
    rows = json.loads(kpairs("evaluate", "--json"))
    assert [row["test"] for row in rows["rounds"]] == [
        row["test"] for row in json.loads((folder / "metrics.json").read_text())["rounds"]
    ]
    assert "mean ± std" in kpairs("evaluate", folder)
    text = kpairs("export", "--onnx")
    assert "every decision is the same" in text
    kpairs("data", "--samples", "samples", "--sheet", "sheet.png", "--split", "test")
    assert (workplace / "sheet.png").read_bytes().startswith(b"\x89PNG")
    model = folder / "auxws.onnx"
    answer = json.loads(kpairs("predict", model, "samples/3.png", "samples/7.png", "--json"))
    assert {"left_not_higher", "probability", "left_digit", "right_digit"} <= set(answer)
    text = kpairs("predict", model, "samples/3.png", "samples/7.png")
    assert re.search(r"^left (<=|>) right \(\d+\.\d%\)$", text, re.MULTILINE)
    assert f"samples/3.png: {answer['left_digit']} (" in text
    (workplace / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "bad.png" in kpairs("predict", model, "bad.png", "bad.png", expect=4)
