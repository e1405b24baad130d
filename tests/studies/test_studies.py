"""Studies: what is declared, what is run, what is never run twice, and how it is judged."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kpairs.cli import main
from kpairs.data import draw_pairs
from kpairs.errors import KpairsError, UsageError
from kpairs.models.registry import Architecture, trainable_parameters
from kpairs.networks import ARCHS, build
from kpairs.recipes import Setting, Study, Trial
from kpairs.reports import REPORTS
from kpairs.reports.altunina.studies import count_parameters, sized
from kpairs.reports.reported import Reported, reported
from kpairs.studies.catalogue import STUDIES, studies_of
from kpairs.studies.effects import EFFECTS, effects_of
from kpairs.studies.pages import write_pages
from kpairs.studies.rows import collect, compared, difference_interval, finished, read_csv
from kpairs.studies.run import fold_of, load_result, run_jobs

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def study(tiny):
    """Two settings that train in a second, two rounds."""
    settings = [Setting(tiny("simple"), "a"), Setting(tiny("ws").with_options(dropout=0.3), "b")]
    return Study("small", "haidinger", (), "Small", tuple(settings), 2, (), ("simple a",))


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_settings_are_the_reported_ones(study):
    """Each reported number of a study's tables has exactly one setting, and the other way round."""
    stated = reported(study.report) if study.report in REPORTS else []
    numbers = [r for r in stated if r.table in study.tables and r.metric in study.metrics]
    settings = [(s.recipe.arch, s.setting) for s in study.settings]
    assert len(set(settings)) == len(settings)
    if study.tables:
        assert {(r.arch, r.setting) for r in numbers} == set(settings)
        assert {r.rounds for r in numbers} == {study.rounds}
    assert all(name in {s.name for s in study.settings} for name in study.curves)
    jobs = study.jobs()
    assert len({job.id for job in jobs}) == len(jobs) or study.name == "altunina-figure-2"


def test_the_search_space_is_the_reports():
    """The same configurations in the same order as the authors' own results."""
    listed = [
        (r.arch, r.setting)
        for r in reported("altunina")
        if r.table == "Figure 1" and r.metric == "best_epoch_val_accuracy_pct"
    ]
    ours = [(s.recipe.arch, s.setting) for s in STUDIES["altunina-figure-1"].settings]
    assert ours == listed
    counts = [len(sized(arch)) for arch in ("basicnet1", "auxnet1", "auxnet2", "auxnet3")]
    assert counts == [24, 31, 31, 23]


@pytest.mark.parametrize("arch", ["basicnet1", "auxnet1", "auxnet2", "auxnet3"])
@pytest.mark.parametrize("widths", [(16, 32, 64, 128), (512, 16, 32, 17), (1, 2, 3, 4)])
def test_parameters_are_counted_without_building(arch, widths):
    built = trainable_parameters(build(arch, widths=widths))
    assert count_parameters(arch, widths) == built


def test_a_jobs_name_is_what_its_result_depends_on(tiny):
    job = Trial(tiny("simple"), 1)
    same = replace(job.recipe, rounds=20, source="elsewhere", reported_rounds=3)
    assert Trial(same, 1, setting="another label").id == job.id
    others = [
        Trial(job.recipe, 2),
        Trial(job.recipe, 1, folds=4),
        *(
            Trial(replace(job.recipe, **change), 1)
            for change in ({"epochs": 2}, {"seed": 1}, {"l2": 0.1}, {"averaging": 0.5})
        ),
        *(Trial(job.recipe.with_options(**o), 1) for o in ({"dropout": 0.5}, {"depth": 2})),
    ]
    assert len({job.id, *(other.id for other in others)}) == 1 + len(others)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_committed_rows_are_of_jobs_that_exist(study):
    """A recipe's new field must not change the name of what was trained before."""
    file = DOCS / "rows" / f"{study.name}.csv"
    rows = read_csv(file) if file.is_file() else []
    jobs = {(job.id, job.recipe.arch, job.setting, job.number) for job in study.jobs()}
    assert {(r["job"], r["arch"], r["setting"], r["round"]) for r in rows} <= jobs


def test_names_of_studies():
    assert [s.name for s in studies_of("kong-table-1")] == ["kong-table-1"]
    assert [s.report for s in studies_of("kong")] == ["kong"] * 4
    assert len(studies_of("all")) == len(STUDIES)
    with pytest.raises(UsageError, match="unknown study 'kongo'"):
        studies_of("kongo")


def test_folds_cut_the_pairs(mnist, rng, tiny):
    pairs = draw_pairs(mnist["train"], 103, rng)
    seen = []
    for number in range(1, 5):
        training, validation = fold_of(pairs, Trial(tiny("simple"), number, folds=4), seed=0)
        assert len(training) + len(validation) == 103
        assert len(validation) in (25, 26)
        rows = {image.tobytes() for image in validation.left}
        assert not rows & {image.tobytes() for image in training.left}
        seen += rows
    assert sorted(seen) == sorted(image.tobytes() for image in pairs.left)


def test_finished_jobs_are_not_run_again(study, tmp_path):
    assert [job.number for job in run_jobs(study.jobs(1), tmp_path)] == [1, 1]
    results = {f: f.stat().st_mtime_ns for f in tmp_path.glob("*/result.json")}
    assert len(results) == 2
    ran = list(run_jobs(study.jobs(2), tmp_path))
    assert [(job.recipe.arch, job.number) for job in ran] == [("simple", 2), ("ws", 2)]
    assert list(run_jobs(study.jobs(2), tmp_path)) == []
    assert all(f.stat().st_mtime_ns == then for f, then in results.items())
    result = load_result(tmp_path, study.jobs()[0])
    assert {"number", "folds", "recipe", "machine", "row", "history"} <= set(result)
    assert not list(tmp_path.glob("*/checkpoint.npz"))  # nothing is left but the result
    rows = collect(study, tmp_path)
    assert [(r["arch"], r["round"]) for r in rows] == [
        ("simple", 1),
        ("simple", 2),
        ("ws", 1),
        ("ws", 2),
    ]


def test_ctrl_c_works_in_a_study(study, tmp_path):
    list(run_jobs(study.jobs(1)[:1], tmp_path))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_jobs_side_by_side_give_the_same_rows(study, tmp_path):
    list(run_jobs(study.jobs(), tmp_path / "one"))
    list(run_jobs(study.jobs(), tmp_path / "two", processes=2))
    one, two = (
        [{**r, "seconds": None} for r in collect(study, tmp_path / name)] for name in ("one", "two")
    )
    assert one == two


class Ask(keras.layers.Layer):
    """A user's layer that looks at a value, which no graph can hold."""

    def call(self, x):
        return x * 2 if keras.ops.max(x) > 0 else x


def test_what_a_training_says_is_heard(tiny, tmp_path, monkeypatch, caplog):
    """Once, however many trainings say it."""

    def asking(pair, *, classes=10):
        x = keras.layers.Flatten()(Ask()(pair.stacked()))
        return {"comparison": keras.layers.Dense(2)(x)}

    own = Architecture("asking", "own", "a test", {"comparison": "logits"}, asking)
    monkeypatch.setitem(ARCHS, "asking", own)
    recipe = replace(tiny("basic"), arch="asking", loss_weights={"comparison": 1.0})
    list(run_jobs([Trial(recipe, 1), Trial(recipe, 2)], tmp_path))
    assert [r.message for r in caplog.records if "asking" in r.message] == [
        load_result(tmp_path, Trial(recipe, 1))["said"][0]
    ]


def test_a_fold_is_standardised_by_all_pairs(tiny, tmp_path):
    recipe = tiny("conv_1", pairs=40)
    jobs = [Trial(recipe, number, folds=2) for number in (1, 2)]
    list(run_jobs(jobs, tmp_path))
    rescalings = [load_result(tmp_path, job)["row"]["rescaling"] for job in jobs]
    assert rescalings[0] == rescalings[1]


def test_a_killed_study_goes_on(tmp_path):
    """SIGKILL while it trains: what was finished stays as it was, and the rest is run."""
    out = tmp_path / "studies"
    arguments = ["study", "haidinger-plain", "--rounds", "2", "--quick", "--out", str(out)]
    command = [sys.executable, "-m", "kpairs.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(list(out.glob("*/result.json"))) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    before = {f: f.read_bytes() for f in out.glob("*/result.json")}
    assert 2 <= len(before) < 6
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert all(f.read_bytes() == content for f, content in before.items())
    study = STUDIES["haidinger-plain"].quick()
    assert len(collect(study, out)) == len(finished(study, out)) == 6


def test_rows_travel_without_their_trainings(study, tmp_path):
    """The CSVs alone count as finished, so a study is extended on another machine."""
    list(run_jobs(study.jobs(1), tmp_path / "here"))
    first = collect(study, tmp_path / "here")
    there = tmp_path / "there"
    there.mkdir()
    for file in (tmp_path / "here").glob("*.csv"):
        (there / file.name).write_bytes(file.read_bytes())
    assert len(finished(study, there)) == 2
    rows = collect(study, there)
    assert rows == first == read_csv(there / "small.csv")
    curves = read_csv(there / "small-curves.csv")
    assert {(r["arch"], r["round"], r["epoch"]) for r in curves} == {("simple", 1, 1)}


@given(
    st.floats(-50, 50),
    st.floats(0.01, 9),
    st.integers(2, 40),
    st.floats(-50, 50),
    st.floats(0.01, 9),
    st.integers(2, 40),
)
def test_intervals_are_welchs(mean, std, count, other, other_std, other_count):
    low, high = difference_interval(mean, std, count, other, other_std, other_count)
    test = stats.ttest_ind_from_stats(
        mean, std, count, other, other_std, other_count, equal_var=False
    )
    assert low <= mean - other <= high
    assert (low <= 0 <= high) == (test.pvalue >= 0.05) or test.pvalue == pytest.approx(0.05)


def test_intervals_of_samples(rng):
    a, b = rng.normal(0, 1, 12), rng.normal(1, 3, 7)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    statistics = (a.mean(), a.std(ddof=1), 12, b.mean(), b.std(ddof=1), 7)
    assert difference_interval(*statistics) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("values", "std", "rounds", "verdict"),
    [
        ((2.0, 3.0, 2.6), 0.9, 20, "agrees"),
        ((9.0, 9.1, 9.2), 0.9, 20, "differs"),
        ((2.0,), 0.9, 20, "no interval"),
        ((2.0, 3.0), None, 20, "no interval"),
        ((), 0.9, 20, "not run"),
    ],
)
def test_verdicts(values, std, rounds, verdict):
    number = Reported("x", "t", "a", "A", "s", "test_error_pct", 2.5, std, rounds, "report", "")
    assert compared(number, values).verdict == verdict


def test_effects_name_settings_that_exist():
    for pairs in EFFECTS.values():
        for name, without, with_ in pairs:
            parts = name.split("+")
            studies = [STUDIES[parts[0]]]
            if len(parts) > 1:
                studies.append(STUDIES[f"{parts[0].split('-')[0]}-{parts[1]}"])
            names = {s.name for study in studies for s in study.settings}
            assert {without, with_} <= names


def test_an_effect_is_with_minus_without():
    def rows(arch, values):
        return [{"arch": arch, "setting": "", "test_error_pct": v} for v in values]

    found = effects_of({"kong-table-3": [*rows("no_w_net", [15, 17]), *rows("w_net", [11, 13])]})
    ((ingredient, (effect,)),) = found.items()
    assert (ingredient, effect.difference, effect.counts) == ("weight sharing", -4, (2, 2))
    assert effect.size == pytest.approx(-4 / 2**0.5)
    assert effect.low < -4 < effect.high


def test_pages_are_up_to_date(tmp_path):
    """The committed pages are those of the committed rows: run 'make pages'."""
    files = write_pages(DOCS / "rows", tmp_path)
    assert {f.stem for f in files} >= {f"{r.number}-{key}" for key, r in REPORTS.items()}
    for file in files:
        committed = DOCS / file.relative_to(tmp_path)
        assert committed.read_text() == file.read_text(), f"{committed}: run 'make pages'"


def test_every_reported_number_is_on_its_page():
    for key, report in REPORTS.items():
        text = (DOCS / f"{report.number}-{key}.md").read_text()
        for number in reported(key):
            if number.metric == "best_epoch_train_accuracy_pct":  # said in one sentence
                continue
            digits = 4 if number.metric == "validation_accuracy" else 2
            shown = f"{number.mean:,.0f}" if number.metric == "parameters" else None
            assert (shown or f"{number.mean:.{digits}f}") in text, number


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_killed_dask_worker_loses_nothing(study, tmp_path):
    """Two worker processes on the loopback, one killed after the first result."""
    pytest.importorskip("distributed")
    address = f"tcp://127.0.0.1:{_free_port()}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", address.split(":")[-1]]
    worker = ["dask_worker", address, "--nthreads", "1", "--no-nanny"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:], "--no-dashboard"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            **quiet,
        )
        for command in (scheduler, worker, worker)
    ]
    try:
        done = []
        for job in run_jobs(study.jobs(), tmp_path / "studies", scheduler=address):
            done.append(job.id)
            processes[1].kill()
        assert sorted(done) == sorted(job.id for job in study.jobs())
    finally:
        for process in processes:
            process.kill()
            process.wait()
    list(run_jobs(study.jobs(), tmp_path / "local"))
    there, here = (
        [{**r, "seconds": None} for r in collect(study, tmp_path / name)]
        for name in ("studies", "local")
    )
    assert there == here


def test_a_scheduler_that_does_not_answer(study, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(KpairsError, match=r"no dask scheduler answers at tcp://"):
        list(run_jobs(study.jobs(), tmp_path, scheduler=f"tcp://127.0.0.1:{_free_port()}"))


def test_results_are_one_atomic_file(study, tmp_path):
    list(run_jobs(study.jobs(1)[:1], tmp_path))
    (result,) = tmp_path.glob("*/result.json")
    assert json.loads(result.read_text())["row"]["round"] == 1
    assert [f.name for f in result.parent.iterdir()] == ["result.json"]
    assert np.isfinite(load_result(tmp_path, study.jobs(1)[0])["row"]["seconds"])
