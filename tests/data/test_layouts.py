"""Layouts of other projects' tables, read by the very commands of docs/tables.md."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import kpairs
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs/tables.md"
TABLE = re.search(r"\| layout \|.*", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
COMMANDS = dict(re.findall(r"^\| ([^|]+?) \|.*`(kpairs data [^`]+)` \|$", TABLE, re.MULTILINE))
COUNT = 20  # pairs, of images of their own: left, right and neither ranks higher by turns


def images(folder, ending="png"):
    """Names without ending of forty different images."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True)
    for i in range(2 * COUNT):
        picture = Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8))
        picture.save(folder / f"{100 + i}.{ending}")
    return [str(100 + i) for i in range(2 * COUNT)]


def rows(form, words, names, ending=".png"):
    """Pairs as lines: `form` with the names a and b, and who ranks higher by the table's words."""
    lines = []
    for i in range(COUNT):
        a, b = (f"{name}{ending}" for name in names[2 * i : 2 * i + 2])
        word = words[i % 3]
        lines.append(form.format(a=a, b=b, word=word.format(a=a, b=b), i=i))
    return "\n".join(lines)


def pick_a_pic(folder):
    names = images(folder / "images")
    header = "best_image_uid,image_0_uid,image_1_uid,label_0,label_1,has_label"
    words = ("{a},{a},{b},1.0,0.0", "{b},{a},{b},0.0,1.0", "tie,{a},{b},0.5,0.5")
    return "pickapic.csv", f"{header}\n{rows('{word},True', words, names, '')}"


def place_pulse(folder):
    names = images(folder / "images", "jpg")
    header = "_id,left,right,choice,study_id"
    return "votes.csv", f"{header}\n{rows('{i},{a},{b},{word},5', LRT('equal'), names, '')}"


def bapps(folder):
    names = images(folder / "images")
    return (
        "judge.csv",
        f"p0,p1,judge\n{rows('images/{a},images/{b},{word}', ('0', '1', '.5'), names)}",
    )


def pieapp(folder):
    names = images(folder / "distorted_images")
    header = "ref. image, distorted image A, distorted image B, raw preference for A,"
    header += " processed preference for A"
    lines = rows("ref_{i}.png, {a}, {b},, {word}", ("1", "0", "0.5"), names)
    return "ref_1_pairwise_labels.csv", f"{header}\n{lines}"


def arena(folder):
    names = images(folder / "images")
    form = '{{"image_a": "images/{a}", "image_b": "images/{b}", "winner": "{word}", "turn": 1}}'
    return "battles.jsonl", rows(form, ("model_a", "model_b", "tie (bothbad)"), names)


def evalica(folder):
    return "food.csv", f"left,right,winner\n{rows('{a},{b},{word}', LRT('tie'), here(folder))}"


def crowd_kit(folder):
    lines = rows("w{i},{a},{b},{word}", ("{a}", "{b}", "tie"), here(folder))
    return "results.csv", f"worker,left,right,label\n{lines}"


def mturk(folder):
    header = '"HITId","WorkerId","Input.image_a","Input.image_b","Answer.choice"'
    lines = rows('"H{i}","W{i}","{a}","{b}","{word}"', ("A", "B", "same"), here(folder))
    return "Batch_1_results.csv", f"{header}\n{lines}"


def label_studio(folder):
    header = "image1,image2,id,pairwise,annotator,annotation_id"
    words = tuple(f'"[{{{{""selected"": ""{side}""}}}}]"' for side in ("left", "right"))
    lines = rows("{a},{b},{i},{word},1,{i}", (*words, words[0]), here(folder))
    return "export.csv", f"{header}\n{lines}"


def image_ranker(folder):
    images(folder / "image-ranker/static/images")
    names = [f"static/images/{100 + i}" for i in range(2 * COUNT)]
    lines = rows("{word}", ("{a},{b}", "{b},{a}", "{a},{b}"), names)
    return "comparisons.csv", f"Winner,Loser\n{lines}\nNone,static/images/100.png"


def kadid(folder):
    lines = (
        f"{n}.png,I{i // 5:02d}.png,{1 + i / 10},0.5"
        for i, n in enumerate(images(folder / "images"))
    )
    return "dmos.csv", "dist_img,ref_img,dmos,var\n" + "\n".join(lines)


def ava(folder):
    names = images(folder / "ava_images", "jpg")
    lines = (f"{n}.jpg,{1 + i / 10},0,1,5" for i, n in enumerate(names))
    return "meta_info_AVADataset.csv", "img_name,MOS,c1,c2,c3\n" + "\n".join(lines)


def LRT(tie):
    return ("left", "right", tie)


def here(folder):
    images(folder / "x")
    for file in (folder / "x").iterdir():
        file.rename(folder / file.name)
    return [str(100 + i) for i in range(2 * COUNT)]


LAYOUTS = {
    "Pick-a-Pic": pick_a_pic,
    "Place Pulse 2.0": place_pulse,
    "BAPPS": bapps,
    "PieAPP": pieapp,
    "arena battles": arena,
    "evalica": evalica,
    "crowd-kit": crowd_kit,
    "MTurk": mturk,
    "Label Studio": label_studio,
    "image-ranker": image_ranker,
    "KADID-10k": kadid,
    "AVA": ava,
}


def test_the_page_lists_what_is_tested():
    assert list(COMMANDS) == list(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_as_its_command_says(name, workplace):
    file, text = LAYOUTS[name](workplace)
    (workplace / file).write_text(text + "\n", encoding="utf-8")
    _, *command = shlex.split(COMMANDS[name])
    assert command[1] == file
    facts = json.loads(kpairs(*command, "--data-dir", "cache", "--json"))
    if name in ("KADID-10k", "AVA"):
        assert "with scores from 1 to 4.9" in facts["said"]
        assert sum(facts["splits"][part]["images"] for part in ("train", "test")) == 2 * COUNT
        return
    assert f"{COUNT} judgements of {2 * COUNT} images" in facts["said"]
    ending = "jpg" if name == "Place Pulse 2.0" else "png"
    first, second, third = facts["examples"]
    assert re.fullmatch(rf"row \d: 100.{ending} ranks higher than 101.{ending}", first)
    assert re.fullmatch(rf"row \d: 103.{ending} ranks higher than 102.{ending}", second)
    if name in ("Label Studio", "image-ranker"):  # which know no ties
        assert re.fullmatch(r"row \d: 104.png ranks higher than 105.png", third)
    else:
        assert re.fullmatch(rf"row \d: 104.{ending} and 105.{ending} tie", third)
    assert sum(part["pairs"] for part in facts["splits"].values()) == COUNT
