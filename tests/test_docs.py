"""The site: built without a warning, its links and pictures in place."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import keras
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import kpairs
from docs_script import PAGES
from PIL import Image

import kpairs as kpairs_library
from kpairs.cli import main
from kpairs.exports.writing.export import export

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
def test_the_site_is_built_and_no_link_is_broken(tmp_path):
    pytest.importorskip("furo", reason="needs make docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run([*command, DOCS, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    pages = {file: file.read_text() for file in tmp_path.rglob("*.html")}
    assert {"index.html", "weight-sharing.html", "keras.html"} <= {file.name for file in pages}
    assert "--loss-weights" in (tmp_path / "commands/train.html").read_text()
    for file, text in pages.items():
        for address in re.findall(r'(?:href|src)="([^"]*)"', text):
            place, _, anchor = address.partition("#")
            if "://" in place or place.startswith(("mailto:", "data:")):
                continue
            target = (file.parent / place.partition("?")[0]) if place else file
            assert target.exists(), f"{file.name}: {address}"
            if anchor and target in pages:
                assert f'id="{anchor}"' in pages[target], f"{file.name}: {address}"
        if not file.name.startswith(("api-", "genindex")):
            assert words_seen(text) <= 900, file.name


def words_seen(html):
    """Return how many words a page shows before anything is unfolded."""
    article = pytest.importorskip("bs4").BeautifulSoup(html, "html.parser").find("article")
    for hidden in article.select("style, script, a.headerlink, details > :not(summary)"):
        hidden.decompose()
    return sum(bool(re.search(r"\w", word)) for word in article.get_text(" ").split())


def test_every_page_with_commands_is_run():
    """By `make test-docs`."""
    pages = (DOCS.parent / "README.md", *DOCS.glob("*.md"))
    shown = {page.stem for page in pages if re.search("^```(sh|bash)", page.read_text(), re.M)}
    assert shown == set(PAGES)


def test_every_option_that_the_docs_name_exists():
    """In blocks and in sentences: `kpairs train --pairs 10` and a bare `--pairs`."""
    commands = {name: main.get_command(None, name) for name in main.list_commands(None)}
    commands |= {f"{name} {n}": c for name, one in commands.items() for n, c in subcommands(one)}
    known = {name: options_of(command) for name, command in commands.items()}
    anywhere = {option for options in known.values() for option in options}
    for page in (DOCS.parent / "README.md", *DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        lines += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.S))
        for line in lines:
            first, *words = line.partition("  #")[0].split()
            names = [n for n in (" ".join(words[:2]), *words[:1]) if n in known]
            if first != "kpairs" and not first.startswith("--"):
                continue
            own = known[names[0]] if names else anywhere | OTHERS
            named = set(re.findall(r"(?<!\S)--[a-z][\w-]*", line))
            assert named <= own, f"{page.name}: {line}"


OTHERS = {"--ignore-scripts", "--scale", "--seed", "--only"}  # of npm, and of make test-reliability


def subcommands(command):
    return getattr(command, "commands", {}).items()


def options_of(command):
    """Return the long options of a command, those that switch off too."""
    context = click.Context(command)
    flags = [p.opts + p.secondary_opts for p in command.get_params(context)]
    return {flag for group in flags for flag in group if flag.startswith("--")}


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    """In a process of its own, one cell after the other; no notebook server is needed."""
    cells = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell.get("outputs") in (None, []) for cell in cells)  # they are anybody's own
    script = tmp_path / "tutorial.py"
    # Workers import the script again.
    script.write_text(
        "if __name__ == '__main__':\n"
        + "".join(f"    {line}\n" for part in code for line in part.splitlines())
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    errors = dict(re.findall(r"^(simple|auxws) ([\d.]+)$", done.stdout, re.MULTILINE))
    assert float(errors["auxws"]) < float(errors["simple"])
    assert re.search(r"\d+ of 1000 pairs are decided wrongly", done.stdout)


@pytest.fixture
def photos(workplace, monkeypatch):
    """20 pairs of small noisy pictures, of which the brighter one ranks higher."""
    monkeypatch.setenv("KPAIRS_DATA", str(workplace / "cache"))
    rng, rows = np.random.default_rng(0), ["left,right,label,split,weight"]
    for i in range(20):
        split = "test" if i % 4 == 0 else "train"
        levels = {"left": 60 + 4 * i, "right": 60 + 4 * i}
        levels["left" if i % 3 else "right"] += 30
        for side, level in levels.items():
            picture = workplace / f"photos/{split}/{i}-{side}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(0, level, (14, 14, 3), dtype=np.uint8)
            Image.fromarray(noise).save(picture)
        higher = max(levels, key=levels.get)
        rows.append(f"{split}/{i}-left.png,{split}/{i}-right.png,{higher},{split},{1 + i % 2}")
    (workplace / "photos/pairs.csv").write_text("\n".join(rows))
    return workplace / "photos"


def python_of(page):
    """The Python blocks of a page, in their order."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


FEW = "pairs=60, test_pairs=60, epochs=1"
SMALLER = {
    "epochs=10,\n    batch_size": "epochs=1,\n    batch_size",  # of a plain fit
    **{f"    epochs={n},\n": f'    {FEW}, engine="keras",\n' for n in (10, 20)},
    ".replace(epochs=10)": f".replace({FEW})",
    **dict.fromkeys(("epochs=10", "epochs=3"), "epochs=1"),
    "folds=5": "folds=2",
    "(0.0, 0.15, 0.3)": "(0.0, 0.3)",
    "1000, seed=0": "200, seed=0",
}


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
def test_all_other_python_runs_as_printed(workplace, monkeypatch, rng):
    """Block after block of README and docs, as a reader would; only epochs and folds are fewer."""
    monkeypatch.syspath_prepend(workplace)
    left, right = rng.random((2, 3, 14, 14, 1), dtype=np.float32)
    x, target = torch.randn(5, 2), torch.eye(2)[[0, 1, 0, 1, 1]]
    known = {"x": x, "target": target, "__name__": "printed"}
    (mine,) = python_of("../CONTRIBUTING.md")
    exec(mine, {})
    own = kpairs_library.RECIPES["ws"].replace(
        arch="tiny", arch_options={}, pairs=20, test_pairs=20, epochs=1
    )
    assert kpairs_library.train(own, "runs/tiny", engine="keras").rounds == [1]
    pages = ("../README.md", "keras.md", "engine.md", "studies.md", "mini.md")
    for text in (block for page in pages for block in python_of(page)):
        for full, small in SMALLER.items():
            text = text.replace(full, small)
        exec(text, known)
        if "kpairs.export(run)" in text:
            path = known["run"].path
            export(known["run"], formats=("torchscript",))
            for file in (path / "auxws.onnx", path / "auxws.pt"):
                (workplace / file.name).write_bytes(file.read_bytes())
    sides = [keras.Input((14, 14, 1), name=side) for side in ("left", "right")]
    difference = keras.layers.Subtract()([keras.layers.Flatten()(side) for side in sides])
    verdict = keras.layers.Dense(1, activation="sigmoid", name="verdict")(difference)
    known |= {"left": left, "right": right, "network": keras.Model(sides, verdict)}
    known["test_pairs"] = known["pairs"].take(slice(0, 50))
    for text in python_of("exports.md") + python_of("languages.md"):
        if "Image.open" not in text:  # tests/exports/test_predict.py runs that one
            exec(text, known)
    assert set(known["values"]) == {"comparison", "left_digit", "right_digit"}


def test_the_python_of_own_data_runs_as_printed(photos):
    """A training, a stock `fit`, and the same order by kpairs, by onnxruntime and by a command."""
    blocks = python_of("own-data.md") + python_of("graded.md")
    words = (".rank(", "model.fit", "posterior.onnx")
    ranking, training, predicting = (next(b for b in blocks if word in b) for word in words)
    assert len(blocks) == 3
    found: dict = {}
    # The network of the command takes ten seconds to export; its own tests are slow ones.
    keras.Sequential([keras.Input((14, 14, 3)), keras.layers.Conv2D(3, 1)]).save("own.keras")
    exec(training.replace('pairs.csv")  #', 'pairs.csv", backbone="own.keras")  #'), found)
    assert found["run"].metrics["rounds"][0]["test"]["comparison_error_pct"] < 50
    (made,) = export(found["run"])
    (photos.parent / "runs/ranker").mkdir()
    made.path.rename("runs/ranker/ranker.onnx")
    exec(ranking, found)
    order = [str(found["files"][i]) for i in found["order"]]
    assert [str(found["files"][i]) for i in found["ranking"].order()] == order
    told = json.loads(kpairs("rank", "runs/ranker/ranker.onnx", "photos/test", "--json"))
    assert [image["file"] for image in told["images"]] == order
    assert len(order) == 10
    for place in ("runs/photos", "samples"):
        (photos.parent / place).mkdir()
    shutil.copy("runs/ranker/ranker.onnx", "runs/photos/posterior.onnx")
    for name in ("1", "4"):
        shutil.copy(order[int(name)], f"samples/{name}.png")
    exec(predicting, found)
    (judging,) = python_of("judging.md")
    exec(judging, found)
    assert len(found["scores"].rows()) == 40
    assert found["best"]["rank"] == 1


def test_the_table_of_judgements_is_that_of_the_rows():
    """docs/own-data.md begins with means of docs/rows/few-pairs.csv."""
    rows = pd.read_csv(DOCS / "rows" / "few-pairs.csv")
    means = rows.groupby(["task", "method", "pairs"])["error_pct"].mean()
    text = (DOCS / "own-data.md").read_text()
    shown = re.findall(
        r"^[|] (photographs|digits|coins) [|] `linear`, (\w+) [|](.*)[|]$", text, re.M
    )
    assert len(shown) == 6
    for task, network, cells in shown:
        for pairs, cell in zip((100, 300, 1000, 5000), cells.split("|"), strict=True):
            if cell.strip():
                assert f"{means[task, f'linear, {network}', pairs]:.1f}" == cell.strip()


def test_the_tables_of_trust_are_those_of_the_rows():
    """docs/trust.md shows means of docs/rows/trust.csv."""
    rows = pd.read_csv(DOCS / "rows" / "trust.csv")
    means = rows.groupby(["task", "pairs"]).mean(numeric_only=True)
    text = (DOCS / "trust.md").read_text()
    shown = re.findall(
        r"^[|] (photographs|grouped|judges|one) [|] ([\d,]+) [|](.*)[|]$", text, re.M
    )
    assert {(task, int(n.replace(",", ""))) for task, n, _ in shown} == set(means.index)
    digits = {"accuracy_pct": 1, "logit_coverage_pct": 1, "coverage_pct": 1, "temperature": 2}
    digits |= {"calibration_error": 3, "calibrated_error": 3}
    for task, number, cells in shown:
        row = means.loc[task, int(number.replace(",", ""))]
        expected = [f"{row[name]:.{n}f}".replace("nan", "") for name, n in digits.items()]
        assert [cell.strip() for cell in cells.split("|")] == expected
    judged = re.findall(r"^[|] (ann|bo|cy) [|] ([\d,]+) [|](.*)[|]$", text, re.M)
    assert len(judged) == 3
    for name, number, cells in judged:
        row = means.loc["judges", int(number.replace(",", ""))]
        expected = [f"{row[f'{name}_{who}_pct']:.1f}" for who in ("network", "others")]
        assert [cell.strip() for cell in cells.split("|")] == expected


def test_the_table_of_losses_is_that_of_the_rows():
    """docs/losses.md holds means of docs/rows/losses.csv, all of them."""
    rows = pd.read_csv(DOCS / "rows" / "losses.csv")
    means = rows.groupby(["task", "method", "images"])["error_pct"].mean()
    text = (DOCS / "losses.md").read_text()
    shown = {}
    for task, method, cells in re.findall(r"^[|] (\w+) [|] `(\w+)` [|](.*)[|]$", text, re.M):
        for images, cell in zip((100, 300, 1000), cells.split("|"), strict=True):
            if cell.strip():
                shown[task, method, images] = cell.strip()
    assert shown == {key: f"{mean:.1f}" for key, mean in means.items()}
