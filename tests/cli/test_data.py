"""`kpairs data` and names that a terminal or matplotlib would take for markup."""

import json

from command_line import TINY, kpairs


def test_data_as_json(workplace, image_folder):
    facts = json.loads(kpairs("data", "--json"))
    assert facts["splits"]["train"]["images"] == 60_000
    own = json.loads(kpairs("data", image_folder, "--json", "--sheet", "own.png"))
    assert own["splits"]["train"]["classes"] == ["1", "2", "10"]
    assert (workplace / "own.png").exists()


def test_compared_pairs_are_shown(workplace, image_folder):
    names = [f"images/{name}/{i}.png" for i in range(4) for name in ("1", "2")]
    rows = [f"{a},{b},{label}" for a, b, label in zip(names[::2], names[1::2], "rttr", strict=True)]
    text = "a,b,who\n" + "\n".join(rows).replace(",t", ",tie").replace(",r", ",right")
    (workplace / "pairs.csv").write_text(text)
    arguments = ("data", "pairs.csv", "--columns", "left=a,right=b,label=who")
    facts = json.loads(kpairs(*arguments, "--sheet", "pairs.png", "--json"))
    assert facts["written"] == ["pairs.png"]
    assert facts["splits"]["all"]["pairs"] == 4
    assert "4 judgements of 8 images; left ranks higher in 0 %" in facts["said"]
    assert facts["examples"] == [
        "row 2: 2/0.png ranks higher than 1/0.png",
        "row 3: 1/1.png and 2/1.png tie",
        "row 4: 1/2.png and 2/2.png tie",
    ]
    shown = kpairs(*arguments)
    assert "ties 50 %" in " ".join(shown.split())
    assert all(example in shown for example in facts["examples"])
    assert "expected images with grades" in kpairs(*arguments, "--samples", "some", expect=2)


def test_names_are_shown_as_they_are(workplace, image_folder):
    (image_folder / "2").rename(image_folder / "b[bold]")
    (image_folder / "10").rename(image_folder / "c$\\frac{")
    order = ("--classes", "1,b[bold],c$\\frac{")
    assert "b[bold]" in kpairs("data", image_folder, *order, "--sheet", "own.png")
    text = kpairs("train", "--arch", "simple", *TINY, "--out", "zz[x]")
    assert "saved in zz[x]; next: kpairs export --onnx 'zz[x]'" in text
