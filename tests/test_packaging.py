"""The direction of imports, declared dependencies, and the wheel with these alone."""

import ast
import os
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
    "kpairs.models": {"tensorflow", "jax"},
    "kpairs.recipes": {"keras", "torch"},
    "kpairs.judging": {"keras", "torch", "pandas"},
    "kpairs.exports.runtime": {"keras", "torch"},
    "kpairs.exports.web": {"keras", "torch"},
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


def imported_modules(code):
    """Yield the modules that a file, or a part of its tree, imports, wherever in it."""
    for node in ast.walk(ast.parse(code.read_text()) if isinstance(code, Path) else code):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{code} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def is_guarded(node):
    """Return whether kpairs goes on where what a statement's block imports is missing."""
    if isinstance(node, ast.Try):
        return any("ImportError" in ast.unparse(caught.type) for caught in node.handlers)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.With) and "suppress(ImportError)" in ast.unparse(node).split(":")[0]


def other_libraries(code):
    """Return the names, as they are imported, of the libraries that a file or tree imports."""
    return {name.split(".")[0] for name in imported_modules(code)} - sys.stdlib_module_names


def provided(requirements):
    """Return what declared distributions are imported as; of those not installed, their names."""
    wanted = {canonicalize_name(Requirement(text).name) for text in requirements}
    known = metadata.packages_distributions()
    names = wanted | {name.replace("-", "_") for name in wanted}  # where it is not installed
    return names | {name for name in known if wanted & {*map(canonicalize_name, known[name])}}


def closure(distribution):
    """Return the installed distributions that one needs, directly and indirectly."""
    found, waiting = {}, [(distribution, "")]
    while waiting:
        needing, extra = waiting.pop()
        for needed in map(Requirement, needing.requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                for wanted in ("", *needed.extras):
                    if (needed.name, wanted) not in found:
                        found[needed.name, wanted] = metadata.distribution(needed.name)
                        waiting.append((found[needed.name, wanted], wanted))
    return list(found.values())


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


def test_what_is_imported_is_declared():
    """Extras count where the code goes on without them; torch brings its own use of tqdm."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    always = provided(project["dependencies"]) | {"kpairs"}
    extras = {key: provided(texts) for key, texts in project["optional-dependencies"].items()}
    optional = always.union({"tqdm"}, *(extras[key] for key in extras if key != "dev"))
    for file in MODULES.values():
        tree = ast.parse(file.read_text())
        for node in filter(is_guarded, ast.walk(tree)):
            assert other_libraries(node) <= optional, file
            node.body = []
        assert other_libraries(tree) <= always, file
    tests = [*(ROOT / "tests").rglob("*.py")]
    known = optional.union(extras["dev"], (file.stem for file in tests))
    for file in tests:
        assert other_libraries(file) <= known, file


def test_what_is_free_of_other_libraries():
    for module, file in MODULES.items():
        imported = other_libraries(file)
        for part, forbidden in FREE.items():
            if is_in(module, part) and not is_in(module, "kpairs.cli"):
                assert not imported & forbidden, module


def test_what_runs_exported_files_knows_no_training():
    rooms = ("kpairs.exports.runtime", "kpairs.exports.web")
    apart = ("kpairs.exports.writing", "kpairs.training", "kpairs.networks")
    elsewhere = {"kpairs.exports.web.label.thinking"}  # runs in another process than the page
    for name in (
        m for m in MODULES if any(is_in(m, room) for room in rooms) and m not in elsewhere
    ):
        for module in imported_modules(MODULES[name]):
            for part in (*apart, "kpairs.models.registry"):
                assert not is_in(module, part), f"{name} imports {module}"


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
    allowed = ("kpairs/bench/", "kpairs/mini/", "kpairs/training/", "exports/")
    allowed += (
        "kpairs/reports/chassagne/disc/",
        "kpairs/models/onnx_network.py",
        "kpairs/models/vision.py",
    )
    for file in [f for part in ("kpairs", "cli", "exports") for f in (ROOT / part).rglob("*.py")]:
        place = str(file.relative_to(ROOT))
        for module in imported_modules(file):
            if module.split(".")[0] == "torch":
                assert place.startswith(allowed), f"{file} imports {module}"


def test_the_wheel_trains_exports_and_predicts_with_what_it_declares(tmp_path, image_folder):
    """In a new environment with its declared dependencies, linked from this one, and no more."""
    source = _copy_of_the_project(tmp_path / "source")
    venv.create(tmp_path / "env", with_pip=False)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet"]
    into = ["--ignore-installed", "--prefix", tmp_path / "env", source]
    subprocess.run([*pip, *into], check=True, capture_output=True)
    (site,) = (tmp_path / "env/lib").glob("python*/site-packages")
    (installed,) = metadata.distributions(path=[str(site)])
    for needed in closure(installed):
        for name in {file.parts[0] for file in needed.files} - {"..", "__pycache__", "bin"}:
            if not (site / name).exists():  # nvidia/ and others are shared by distributions
                (site / name).symlink_to(needed.locate_file(name))
    (tmp_path / "away").mkdir()
    images = [str(image_folder / name) for name in ("1/0.png", "10/0.png")]
    small = ["--pairs", "20", "--test-pairs", "20", "--epochs", "1", "--out", "run"]
    script = f"""
import sys
from importlib.util import find_spec
import kpairs.cli, kpairs.exports
print(kpairs.cli.__file__, kpairs.exports.__file__)
print(*map(find_spec, ("cli", "tqdm", "optuna")))
for command in (
    ["train", "--arch", "ws", "--data", {str(image_folder)!r}, *{small}],
    ["export", "run", "--onnx", "--out", "ws.onnx"],
    ["predict", "ws.onnx", *{images}, "--json"],
):
    kpairs.cli.main(command, standalone_mode=False)
"""
    (tmp_path / "all.py").write_text(script)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*command):
        command = [tmp_path / "env/bin/python", *command]
        there = {"cwd": tmp_path / "away", "env": environment}
        done = subprocess.run(command, **there, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    places, others, *said = run(tmp_path / "all.py").splitlines()
    assert all(place.startswith(str(site)) for place in places.split())
    assert others == "None None None"
    assert "probability" in "".join(said)
    assert "kpairs" in run(tmp_path / "env/bin/kpairs", "--version")


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
