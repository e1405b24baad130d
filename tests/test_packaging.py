"""Which way imports run, and whether a plain wheel works like the editable install."""

import ast
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Imports run down this list, and within a line only inside one of its parts. Everything else in
# kpairs stands below it and is imported by all.
LEVELS = (
    {"kpairs.cli"},
    {"kpairs.exports"},
    {"kpairs.studies", "kpairs.bench"},
    {"kpairs.training"},
    {"kpairs.networks", "kpairs.ours", "kpairs.reports"},
    {"kpairs.models", "kpairs.recipes"},
    {"kpairs.plots"},
    {"kpairs.judging"},
    {"kpairs.data"},
)
TOP = 2  # of the library
# These form one part: our own recipes and studies vary the reports'.
TOGETHER = LEVELS[4]
# What a folder of a report is made of. Its page and its experiments may import upwards, and
# are imported by nobody but their own command.
PARTS = {"networks", "recipes", "studies"}
# What other libraries a part knows nothing of.
FREE = {
    "kpairs": {"click"},
    "kpairs.exports": {"click"},
    "kpairs.models": {"torch", "tensorflow", "jax"},
    "kpairs.recipes": {"keras", "torch"},
    "kpairs.judging": {"keras", "torch", "pandas"},
    # What `kpairs predict` runs.
    **{f"kpairs.exports.{name}": {"keras", "torch"} for name in ("loading", "predict", "runtime")},
    **{f"kpairs.exports.{name}": {"keras", "torch"} for name in ("sealing", "web")},
}


def name_of(file):
    """A file's module as it is imported."""
    place = file.relative_to(ROOT).with_suffix("").parts
    place = place if place[0] == "kpairs" else ("kpairs", *place)
    return ".".join(place[:-1] if place[-1] == "__init__" else place)


MODULES = {
    name_of(file): file
    for part in ("kpairs", "cli", "exports")
    for file in (ROOT / part).rglob("*.py")
}


def imported_modules(file):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def is_in(module, part):
    return module == part or module.startswith(f"{part}.")


def place_of(module):
    """Its level and part, from the top; the level below all others for what belongs to none."""
    for level, parts in enumerate(LEVELS):
        for part in parts:
            if is_in(module, part):
                return level, "together" if parts is TOGETHER else part
    return len(LEVELS), None


FOLDERS = {
    name
    for name, file in MODULES.items()
    if file.name == "__init__.py"
    and (name == "kpairs.ours" or name.rpartition(".")[0] == "kpairs.reports")
}


def folder_of(module):
    """The folder of a report, or ours, that a module stands in."""
    return next((folder for folder in FOLDERS if is_in(module, folder)), None)


def is_leaf(module):
    """Whether a module is a report's page or experiment."""
    folder = folder_of(module)
    if folder in (None, module):
        return False
    return module.removeprefix(f"{folder}.").split(".")[0] not in PARTS


def wrong_way(module, other):
    """Whether a module must not import another one of kpairs."""
    (level, part), (its_level, its_part) = place_of(module), place_of(other)
    if is_leaf(other):
        return folder_of(module) != folder_of(other) and not is_in(module, "kpairs.cli")
    if is_leaf(module):
        return its_level < TOP
    return its_level < level or (its_level == level and its_part != part)


def test_imports_run_one_way():
    """Of all but `kpairs` itself, which names to a type checker what it loads on first use."""
    wrong = [
        f"{module} imports {other}"
        for module, file in MODULES.items()
        for other in imported_modules(file)
        if is_in(other, "kpairs") and module != "kpairs" and wrong_way(module, other)
    ]
    assert wrong == []


def test_what_is_free_of_other_libraries():
    for module, file in MODULES.items():
        imported = {name.split(".")[0] for name in imported_modules(file)}
        for part, forbidden in FREE.items():
            if is_in(module, part) and not is_in(module, "kpairs.cli"):
                assert not imported & forbidden, module


def test_what_runs_exported_files_knows_no_training():
    runtime = [f"kpairs.exports.{name}" for name in ("loading", "predict", "runtime", "sealing")]
    for name in [*runtime, *(m for m in MODULES if is_in(m, "kpairs.exports.web"))]:
        for module in imported_modules(MODULES[name]):
            for part in ("kpairs.training", "kpairs.networks", "kpairs.models.registry"):
                assert not is_in(module, part)


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_a_reports_facts_need_no_import(folder):
    assert list(imported_modules(MODULES[folder])) == []


def test_recipes_studies_and_numbers_are_read_without_keras():
    script = (
        "import sys, kpairs.studies.catalogue, kpairs.reports.reported, kpairs.reports.resolve\n"
        "print(sorted({'keras', 'torch', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_torch_is_imported_only_where_it_belongs():
    allowed = ("kpairs/bench", "kpairs/mini", "kpairs/training", "exports")
    allowed += ("kpairs/reports/chassagne/disc",)
    for file in [f for part in ("kpairs", "cli", "exports") for f in (ROOT / part).rglob("*.py")]:
        place = str(file.parent.relative_to(ROOT))
        for module in imported_modules(file):
            if module.split(".")[0] == "torch":
                assert place.startswith(allowed), f"{file} imports {module}"


def test_a_plain_wheel_works_in_an_empty_environment_from_another_folder(tmp_path):
    """The wheel alone in a new environment; only the dependencies come from this one."""
    source = _copy_of_the_project(tmp_path / "source")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", tmp_path]
    build = [sys.executable, "-m", "pip", "wheel", source, *options]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("kpairs-*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env/bin/python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel],
        check=True,
        capture_output=True,
    )
    # A path in a .pth file is not searched for further .pth files, so the editable install of
    # the environment that runs this test stays out.
    packages = [path for path in sys.path if path.endswith("site-packages")]
    (Path(site) / "dependencies.pth").write_text("\n".join(packages) + "\n")
    away = tmp_path / "away"
    away.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*command):
        return subprocess.run(
            command, cwd=away, env=environment, capture_output=True, text=True, check=True
        ).stdout

    script = "import kpairs.cli as c, kpairs.exports as e; print(c.__file__, e.__file__)"
    places = run(python, "-c", script)
    assert all(place.startswith(site) for place in places.split())
    with pytest.raises(subprocess.CalledProcessError):
        run(python, "-c", "import cli")
    rows = json.loads(run(tmp_path / "env/bin/kpairs", "archs", "--json"))
    assert "auxws" in [row["name"] for row in rows]


def test_the_example_of_ones_own_architecture_runs(tmp_path):
    """CONTRIBUTING's code, as it stands, and a training of it."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (example,) = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    training = (
        "from dataclasses import replace\n"
        "recipe = replace(kpairs.RECIPES['ws'], arch='tiny', arch_options={}, pairs=20, epochs=1)\n"
        "print(kpairs.train(recipe, 'run').rounds)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{example}\n{training}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[1]\n", done.stderr


def _copy_of_the_project(target):
    """What git tracks or would: building in the checkout itself would leave a build folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("needs a git checkout")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
    return target
