"""Studies: what is declared, what is run, what is never run twice, and how it is judged."""

import csv
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from kpairs.cli import main
from kpairs.data import draw_pairs
from kpairs.errors import InputError, KpairsError, UsageError, WorkerError
from kpairs.models.registry import Architecture, trainable_parameters
from kpairs.networks import ARCHS, build
from kpairs.recipes import Setting, Study, Trial
from kpairs.reports import REPORTS
from kpairs.reports.altunina.studies import count_parameters, sized
from kpairs.reports.reported import reported
from kpairs.studies.catalogue import STUDIES, studies_of
from kpairs.studies.rows import collect, finished, read_rows, rows_of, study_rows, write_rows
from kpairs.studies.run import fold_of, load_result, run_jobs

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def study(tiny):
    """Two settings that train in a second, two rounds."""
    settings = [Setting(tiny("simple"), "a"), Setting(tiny("ws").with_options(dropout=0.3), "b")]
    return Study("small", "haidinger", "Small", tuple(settings), 2, curves=("simple a",))


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_settings_are_the_reported_ones(study):
    """Each reported number of a study's tables has exactly one setting, and the other way round."""
    stated = reported(study.report) if study.report in REPORTS else []
    numbers = [r for r in stated if r.table in study.tables and r.metric in study.metrics]
    settings = [(s.recipe.network.arch, s.setting) for s in study.settings]
    assert len(set(settings)) == len(settings)
    if study.tables:
        plain = {(s.recipe.network.arch, s.setting) for s in study.settings if s.variant_of is None}
        held = {(s.recipe.network.arch, s.reported_as) for s in study.settings}
        assert {(r.arch, r.setting) for r in numbers} == plain == held
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
    ours = [(s.recipe.network.arch, s.setting) for s in STUDIES["altunina-figure-1"].settings]
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
    same = job.recipe.replace(rounds=20, origin="elsewhere", reported_rounds=3)
    assert Trial(same, 1, setting="another label").id == job.id
    others = [
        Trial(job.recipe, 2),
        Trial(job.recipe, 1, folds=4),
        *(
            Trial(job.recipe.replace(**change), 1)
            for change in ({"epochs": 2}, {"seed": 1}, {"l2": 0.1}, {"averaging": 0.5})
        ),
        *(Trial(job.recipe.with_options(**o), 1) for o in ({"dropout": 0.5}, {"depth": 2})),
    ]
    assert len({job.id, *(other.id for other in others)}) == 1 + len(others)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_committed_rows_are_of_jobs_that_exist(study):
    """A recipe's new field must not change the name of what was trained before."""
    file = DOCS / "rows" / f"{study.name}.csv"
    if file.is_file():
        rows = read_rows(file)
        trials = study.jobs(rows["round"].max())  # there may be more than the report has
        jobs = {(job.id, job.recipe.network.arch, job.setting, job.number) for job in trials}
        keys = rows[["job", "arch", "setting", "round"]].itertuples(index=False, name=None)
        assert set(keys) <= jobs
        assert len(study_rows(file.parent, study)) == len(rows)


def test_rows_of_version_0_1_are_as_they_were_measured():
    """Their ids were rewritten once, when recipes got groups; their numbers never may be."""
    digest = hashlib.sha256()
    count = 0
    for file in sorted((DOCS / "rows").glob("*.csv")):
        with open(file, newline="", encoding="utf-8") as text:
            for row in csv.DictReader(text):
                if row.pop("job", None) is not None and row["kpairs"] == "0.1.0":
                    digest.update(repr((file.stem, sorted(row.items()))).encode())
                    count += 1
    assert count == 5_051
    assert digest.hexdigest() == "aaad3e9e531954d5e751c53aa71fa95cfd07a1aad0020205294602ebc1af7aa9"


def test_names_of_studies():
    assert [s.name for s in studies_of("kong-table-1")] == ["kong-table-1"]
    assert [s.report for s in studies_of("kong")] == ["kong"] * 4
    assert studies_of("003") == studies_of("kong")
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


@pytest.mark.slow
def test_best_epochs_are_each_of_its_own_pairs(tiny, tmp_path):
    """As in report 004: the least test error, and apart from it the least training error.

    A training of fewer epochs is the beginning of a longer one, so each epoch can be seen as a
    last one.
    """
    small = {"pairs": 60, "test_pairs": 100, "batch_size": 10, "reported_epoch": "best", "seed": 5}
    recipes = [tiny("ws", epochs=number, **small) for number in range(1, 5)]
    settings = tuple(Setting(recipe, f"{recipe.fit.epochs} epochs") for recipe in recipes)
    study = Study("ends", "haidinger", "Ends", settings, 1)
    assert len(list(run_jobs(study.jobs(), tmp_path))) == 4
    rows = collect(study, tmp_path)
    test, train = rows["test_error_pct"], rows["train_error_pct"]
    assert train[test.idxmin()] > train.min() + 5  # or the two could not be told apart
    assert rows["best_epoch_error_pct"].tolist() == pytest.approx(
        np.minimum.accumulate(test), abs=1e-4
    )
    assert rows["least_train_error_pct"].tolist() == pytest.approx(
        np.minimum.accumulate(train), abs=1e-4
    )
    assert rows["best_epoch"].iloc[-1] == 1 + test.idxmin()


def test_finished_jobs_are_not_run_again(study, tmp_path):
    assert [job.number for job in run_jobs(study.jobs(1), tmp_path)] == [1, 1]
    results = {f: f.stat().st_mtime_ns for f in tmp_path.glob("*/result.json")}
    assert len(results) == 2
    ran = list(run_jobs(study.jobs(2), tmp_path))
    assert [(job.recipe.network.arch, job.number) for job in ran] == [("simple", 2), ("ws", 2)]
    assert list(run_jobs(study.jobs(2), tmp_path)) == []
    assert all(f.stat().st_mtime_ns == then for f, then in results.items())
    result = load_result(tmp_path, study.jobs()[0])
    assert {"number", "folds", "recipe", "machine", "row", "history"} <= set(result)
    assert not list(tmp_path.glob("*/checkpoint.npz"))  # nothing is left but the result
    rows = collect(study, tmp_path)
    assert list(rows["arch"]) == ["simple", "simple", "ws", "ws"]
    assert list(rows["round"]) == [1, 2, 1, 2]


def test_ctrl_c_works_in_a_study(study, tmp_path):
    list(run_jobs(study.jobs(1)[:1], tmp_path))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_jobs_side_by_side_give_the_same_rows(study, tmp_path):
    list(run_jobs(study.jobs(), tmp_path / "one"))
    list(run_jobs(study.jobs(), tmp_path / "two", processes=2))
    one, two = (collect(study, tmp_path / name).drop(columns="seconds") for name in ("one", "two"))
    assert one.equals(two)


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
    recipe = tiny("basic").replace(arch="asking", loss_weights={"comparison": 1.0})
    list(run_jobs([Trial(recipe, 1), Trial(recipe, 2)], tmp_path))
    (message,) = [text for text in caplog.messages if "asking" in text]
    assert message.startswith("asking trains by Keras' own, slower steps: ")


def test_a_fold_is_standardised_by_all_pairs(tiny, tmp_path):
    recipe = tiny("conv_1", pairs=40)
    jobs = [Trial(recipe, number, folds=2) for number in (1, 2)]
    list(run_jobs(jobs, tmp_path))
    rescalings = [load_result(tmp_path, job)["row"]["rescaling"] for job in jobs]
    assert rescalings[0] == rescalings[1]


@pytest.mark.slow
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
    before = (there / "small.csv").read_bytes()
    rows = collect(study, there)
    assert rows.equals(first)
    assert rows.equals(read_rows(there / "small.csv"))
    assert (there / "small.csv").read_bytes() == before
    curves = read_rows(there / "small-curves.csv")
    keys = curves[["arch", "round", "epoch"]].itertuples(index=False, name=None)
    assert list(keys) == [("simple", 1, 1)]


def test_rows_of_another_recipe_are_ignored_with_a_word(study, tmp_path, caplog):
    """As of an earlier version: never counted, never lost, and no reason to stop."""
    list(run_jobs(study.jobs(1), tmp_path))
    rows = collect(study, tmp_path)
    stale = rows.assign(job="0" * 16, test_error_pct=99.0)
    other = rows.assign(setting="gone", **{"round": 7})
    write_rows(tmp_path / "small.csv", pd.concat([stale, other, rows]))
    assert collect(study, tmp_path).equals(rows)
    assert "small.csv: 4 of 6 rows are of no training of small" in caplog.text
    assert [job.number for job in finished(study, tmp_path)] == [1, 1]
    list(run_jobs(study.jobs(2), tmp_path))
    assert list(collect(study, tmp_path)["round"]) == [1, 2, 1, 2]
    assert len(read_rows(tmp_path / "small.csv")) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "received an empty file"),
        ("job,arch,setting,round,test_error_pct\na,b,c,1\n", "expected 5 cells, received 4"),
        ("job,arch,setting,round,test_error_pct\na,b,c,1,nan\n", "a finite number, received 'nan'"),
        ("job,arch,setting,round,test_error_pct\na,b,c,1,\n", "a finite number, received ''"),
        ("job,arch,setting,round,test_error_pct\na,b,c,1,1e308\n", "received '1e308'"),
        ("job,arch,setting,round,test_error_pct\na,b,c,1,101\n", "expected 0 to 100"),
        ("job,arch,setting,round,test_error_pct\na,b,c,1.5,1\n", "round: expected whole numbers"),
        ("job,job,arch,setting,round,test_error_pct\n", "received 'job' twice"),
        ('job,arch,setting,round,test_error_pct\na,b,c,1,"1\n', "expected a CSV file"),
        ("job,arch\na,b\n", "it lacks setting, round, test_error_pct"),
        ("job,arch,setting,round,test_error_pct\na,b,c,1,many\n", "'many'"),
        ("job,arch,setting,round,test_error_pct\na,b,c,1,2,3,4\n", "expected 5 cells, received 7"),
    ],
)
def test_files_that_are_no_rows(text, message, study, tmp_path):
    file = tmp_path / "small.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        study_rows(tmp_path, study)
    assert str(file) in str(caught.value)


def test_a_file_without_rows_is_as_none(study, tmp_path):
    none = study_rows(tmp_path, study)
    (tmp_path / "small.csv").write_text(",".join(none.columns) + "\n")
    (tmp_path / "small-curves.csv").write_text(
        "arch,setting,round,epoch,test_error_pct,train_comparison_loss,test_comparison_loss,"
        "train_digit_loss,test_digit_loss\n"
    )
    pd.testing.assert_frame_equal(study_rows(tmp_path, study), none, check_dtype=False)
    assert not len(rows_of(tmp_path, study, "curves"))


def test_texts_stay_texts_and_numbers_are_exact(tmp_path):
    """A setting may be called NA, 1 or nothing; errors are the very floats that were written."""
    rows = pd.DataFrame(
        {"arch": ["NA", "null", ""], "setting": ["1", "", "<b>"], "round": [1, 2, 3]}
        | {"test_error_pct": [0.1 + 0.2, 1e-300, float("nan")]}
    )
    write_rows(tmp_path / "rows.csv", rows)
    again = read_rows(tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(again, rows, check_exact=True)


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Cluster:
    """A scheduler and two workers, processes of their own on the loopback."""

    def __init__(self, folder):
        self.folder, self.address = folder, f"tcp://127.0.0.1:{_free_port()}"
        port = self.address.rpartition(":")[2]
        self.scheduler = self.start("dask_scheduler", "--host", "127.0.0.1", "--port", port)
        self.workers = [
            self.start("dask_worker", self.address, "--nthreads", "1", "--no-nanny")
            for _ in range(2)
        ]

    def start(self, program, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments, "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.folder}
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (self.scheduler, *self.workers):
            process.kill()
            process.wait()


@pytest.mark.slow
def test_killed_dask_workers_and_schedulers_lose_nothing(study, tmp_path):
    """One scheduler is killed after the first result, of the next one's workers one."""
    pytest.importorskip("distributed")
    done, jobs, studies = [], study.jobs(), tmp_path / "studies"

    def run(cluster, kill):
        for job in run_jobs(jobs, studies, scheduler=cluster.address):
            done.append(job.id)
            kill.kill()

    gone = pytest.raises(WorkerError, match="the same command goes on once a scheduler is back")
    with Cluster(tmp_path) as cluster, gone:
        run(cluster, cluster.scheduler)
    assert 1 <= len(done) < len(jobs)
    with Cluster(tmp_path) as cluster:
        run(cluster, cluster.workers[0])
    assert sorted(done) == sorted(job.id for job in jobs)
    list(run_jobs(jobs, tmp_path / "local"))
    there, here = (
        collect(study, tmp_path / name).drop(columns="seconds") for name in ("studies", "local")
    )
    assert there.equals(here)


@pytest.mark.slow
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
