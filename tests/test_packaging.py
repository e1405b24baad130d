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
# Each part of the project, and what nothing in it may import.
FORBIDDEN = {
    "kpairs": ("kpairs.cli", "kpairs.exports", "click"),
    "exports": ("kpairs.cli", "click"),
    "kpairs/models": ("torch", "tensorflow", "jax"),
    "kpairs/recipes": ("keras", "torch", "kpairs.models", "kpairs.training", "kpairs.reports"),
}
# What `kpairs predict` runs knows of neither.
for file in ("loading", "predict", "runtime", "sealing"):
    FORBIDDEN[f"exports/{file}.py"] = (
        *("keras", "torch", "kpairs.training", "kpairs.networks", "kpairs.models.registry"),
    )


def imported_modules(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_run_one_way(part):
    path = ROOT / part
    files = [path] if path.suffix else sorted(path.rglob("*.py"))
    assert files
    for file in files:
        for module in imported_modules(file):
            for name in FORBIDDEN[part]:
                assert module != name, f"{file} imports {module}"
                assert not module.startswith(f"{name}."), f"{file} imports {module}"


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
