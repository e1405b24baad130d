"""Networks of a user's own: imported by name, trained in other processes, found where installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import kpairs

from kpairs.data import open_source
from kpairs.recipes import Recipe

TESTS = Path(__file__).parents[1]
NETWORKS = '''
"""Networks of one's own."""
from keras import layers
from kpairs.models.pair import by_side, chain, joined
from kpairs.models.registry import arch, outputs

@arch(report="mine", source="notebook 3", outputs=outputs("logits", digits="logits"))
def {name}(pair, *, classes=10, depth=1, widths=(8,), act="relu"):
    """One shared tower."""
    tower = [layers.Flatten()]
    for width in widths * depth:
        tower.append(layers.Dense(width, activation=act))
    features = pair.shared(tower)
    digits = by_side(chain([layers.Dense(classes)], features))
    return {{"comparison": chain([layers.Dense(2)], joined(features)), **digits}}
'''
SCORER = """
from keras import layers, ops
@arch(report="mine", source="notebook 4", outputs=outputs("logits", scores=True))
def scorer(pair, *, classes=10):
    scores = pair.shared([layers.Flatten(), layers.Dense(1)])
    return {"comparison": ops.reshape(scores, (-1, 2)), **by_side(scores, "score")}
"""
RECIPE = """
from kpairs.reports import RECIPES as known
own = known["auxws"].replace(arch="{name}", epochs=3, arch_options={{"depth": 2}})
RECIPES = {{"{name}": own}}
"""
TINY = ["--pairs", "40", "--test-pairs", "30", "--epochs", "1"]


def run_script(script, folder):
    """In a process of its own, whose registry nobody shares."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_from_a_file_to_a_prediction(workplace):
    """Trained by two processes, exported; no other process runs its code unasked."""
    (workplace / "mynets.py").write_text(NETWORKS.format(name="own") + SCORER)
    open_source("mnist").split("test")
    done = run_script(
        "import os\nos.environ['COLUMNS'] = '200'\n"  # no cell of a table is broken
        "from command_line import kpairs\n"
        "own = ['--import', 'mynets.py']\n"
        f"train = ['train', *own, '--arch', 'own', '--arch-option', 'depth=3', *{TINY}]\n"
        "print(kpairs(*train, '--rounds', 2, '--jobs', 2, '--out', 'run'))\n"
        f"print(kpairs('train', *own, '--arch', 'scorer', *{TINY}, '--out', 'scored'))\n"
        "print(kpairs('export', 'run', *own))\n"
        "print(kpairs('evaluate', 'run', *own))\n"
        "print(kpairs('archs', 'own', *own))\n"
        "print(kpairs('data', '--samples', 'samples'))\n"
        "print(kpairs('train', *own, '--arch', 'own', '--arch-option', 'dept=3', expect=2))\n"
        "print(kpairs('train', *own, '--arch', 'own', '--arch-option', 'depth=x', expect=2))\n",
        workplace,
    )
    assert done.returncode == 0, done.stderr
    recipe = Recipe.from_json((workplace / "run/recipe.json").read_text())
    assert recipe.network.options == {"depth": 3, "widths": (8,), "act": "relu"}
    assert recipe.fit.loss_weights == {"comparison": 1, "left_digit": 1, "right_digit": 1}
    scored = Recipe.from_json((workplace / "scored/recipe.json").read_text())
    assert scored.fit.loss_weights == {"comparison": 1}
    assert "own takes act, depth, widths; received dept" in done.stdout
    assert "depth: expected a whole number, received 'x'" in done.stdout
    answer = kpairs("predict", "run/own.onnx", "samples/3.png", "samples/7.png", "--json")
    assert "left_digit" in json.loads(answer)
    for command in (["evaluate", "run"], ["export", "run"], ["train", "--resume", "run"]):
        message = kpairs(*command, expect=2)
        assert f"the network own from {workplace.resolve()}/mynets.py; add --import" in message


@pytest.mark.slow
def test_ones_own_arguments_are_searched(workplace):
    (workplace / "mynets.py").write_text(NETWORKS.format(name="own"))
    done = run_script(
        "import os\nos.environ['COLUMNS'] = '200'\n"
        "from command_line import kpairs\n"
        "search = ['search', '--import', 'mynets.py', '--arch', 'own', '--try', 'depth=1 2']\n"
        "some = ['--pairs', 20, '--folds', 2, '--try', 'epochs=1', '--try', 'widths=4 4,4']\n"
        "print(kpairs(*search, *some))\n",
        workplace,
    )
    assert done.returncode == 0, done.stderr
    assert "own depth=2 widths=4,4" in done.stdout


@pytest.mark.slow
def test_a_recipe_beside_the_network_and_a_folder_of_ones_own(workplace):
    folder = workplace / "smith"
    folder.mkdir()
    (folder / "__init__.py").write_text("NUMBER, AUTHORS, YEAR, TITLE = '9', 'Smith', 2026, 'X'\n")
    (folder / "networks.py").write_text(NETWORKS.format(name="smith_net"))
    (folder / "recipes.py").write_text(RECIPE.format(name="smith_net"))
    (folder / "studies.py").write_text(
        "from kpairs.recipes import Setting, Study\n"
        "from .recipes import RECIPES\n"
        "settings = [Setting(RECIPES['smith_net'])]\n"
        "STUDIES = [Study('smith-one', 'smith', 'One', settings, 1)]\n"
    )
    for name in ("smith", str(folder)):
        done = run_script(
            "from kpairs.networks import import_modules, import_of, imported_modules\n"
            f"import_modules([{name!r}]); import_modules([{name!r}])\n"
            "from kpairs.reports import RECIPES, REPORTS\n"
            "from kpairs.studies.catalogue import STUDIES\n"
            "title = REPORTS['smith'].title\n"
            "print(RECIPES['smith_net'].fit.epochs, title, STUDIES['smith-one'].title)\n"
            "print(import_of('smith_net'), import_of('auxws'), imported_modules())\n",
            workplace,
        )
        assert done.stdout == f"3 X One\n{name} None ({name!r},)\n", done.stderr


@pytest.mark.slow
def test_installed_packages_are_found(workplace):
    """By the entry points in their metadata, as pip writes them; one that fails is only said."""
    for name, code in (("good_nets", NETWORKS.format(name="theirs")), ("bad_nets", "1 / 0\n")):
        (workplace / f"{name}.py").write_text(code)
        metadata = workplace / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[kpairs.architectures]\n{name} = {name}\n")
    done = run_script(
        "import sys; sys.path.insert(0, '.')\n"
        "from kpairs.reports.resolve import recipe_of\n"
        "assert 'keras' not in sys.modules\n"
        "print(recipe_of('theirs').network.options)\n",
        workplace,
    )
    assert done.stdout == "{'depth': 1, 'widths': (8,), 'act': 'relu'}\n", done.stderr
    assert done.stderr == (
        "bad_nets: cannot be imported: bad_nets.py, line 1: ZeroDivisionError: division by zero\n"
    )


REFUSED = {
    "nowhere.py": (None, "FileNotFoundError: expected a Python file, received none"),
    "not_there_at_all": (None, "ModuleNotFoundError: No module named 'not_there_at_all'"),
    "raises.py": ("\n1 / 0\n", "raises.py, line 2: ZeroDivisionError: division by zero"),
    "syntax.py": ("def f(:\n", "SyntaxError: invalid syntax (syntax.py, line 1)"),
    "twice.py": (
        NETWORKS.format(name="auxws"),
        "ValueError: architecture 'auxws' is registered",
    ),
    "list.py": (
        NETWORKS.format(name="lists").replace("depth=1", "depth=len"),
        "list.py: cannot be imported: UsageError: depth: expected a finite number, a name",
    ),
    "bare.py": (
        NETWORKS.format(name="bare").replace("depth=1", "depth"),
        "UsageError: bare: expected a default of depth, received none",
    ),
    "clash.py": (RECIPE.format(name="ws"), "UsageError: clash: ws is stated twice"),
}


def test_modules_that_are_refused(workplace):
    """In one line that names the place; nothing of them is registered."""
    for name, (code, _) in REFUSED.items():
        if code is not None:
            (workplace / name).write_text(code)
    done = run_script(
        "from command_line import kpairs\n"
        "from kpairs.networks import ARCHS, imported_modules\n"
        "before = set(ARCHS)\n"
        f"for name in {list(REFUSED)}:\n"
        "    print(kpairs('archs', 'auxws', '--import', name, expect=4).strip())\n"
        "assert set(ARCHS) == before and imported_modules() == ()\n",
        workplace,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for line, (name, (_, message)) in zip(lines, REFUSED.items(), strict=True):
        assert f"{name}: cannot be imported: " in line
        assert message in line
