"""Search: which candidates there are, what they are judged on, and what is never trained twice."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from idx_writer import write_idx
from scipy import stats

from kpairs.cli import main
from kpairs.data.source import open_source
from kpairs.errors import InputError, KpairsError, UsageError
from kpairs.reports import RECIPES
from kpairs.reports.altunina.studies import count_parameters
from kpairs.reports.resolve import load_recipe
from kpairs.studies.rows import read_rows
from kpairs.studies.run import fold_of, load_result
from kpairs.studies.search import Between, Search, behind, grid, rank, run_grid, run_tpe
from kpairs.training.prepare import draw_round


@pytest.fixture
def search(tiny, idx_folder):
    """Two candidates that train in a second, two folds."""
    return Search((tiny("basicnet1", data=str(idx_folder)),), {"dropout": (0.1, 0.5)}, folds=2)


def _run(search, folder):
    recipes = grid(search)
    jobs = list(run_grid(search, folder, recipes))
    return jobs, rank(search, folder, recipes)


def test_grid_is_every_combination():
    recipes = RECIPES["auxws"], RECIPES["wsal_bd"]
    space = {"learning_rate": (1e-3, 1e-2, 1e-3), "batch_size": (50, 100), "epochs": (3,)}
    search = Search(recipes, space)
    found = grid(search)
    assert [(r.network.arch, r.optimizer.learning_rate, r.fit.batch_size) for r in found] == [
        (arch, rate, size)
        for arch in ("auxws", "wsal_bd")
        for rate in (1e-3, 1e-2)
        for size in (50, 100)
    ]
    assert {r.fit.epochs for r in found} == {3}
    assert {r.optimizer.l2 for r in found} == {r.optimizer.l2 for r in recipes}
    assert search.label(found[0]) == "auxws learning_rate=0.001 batch_size=50"


def test_grid_keeps_to_the_parameters():
    """Counted on the built networks; the report's arithmetic counts the same."""
    widths = [(a, b, 64, d) for a in (16, 32) for b in (16, 32) for d in (64, 128, 256)]
    search = Search((RECIPES["auxnet2"],), {"widths": widths}, parameters=(30_000, 70_572))
    expected = [w for w in widths if 30_000 <= count_parameters("auxnet2", w) <= 70_572]
    assert 0 < len(expected) < len(widths)
    assert (32, 32, 64, 256) in expected  # at the limit
    assert [r.network.options["widths"] for r in grid(search)] == expected


def test_folds_are_of_the_training_pairs_alone(search, tmp_path, rng):
    """Other test images change nothing; the folds' errors are over all training pairs, once."""
    jobs, ranked = _run(search, tmp_path / "a")
    assert len(jobs) == 4
    source = open_source(search.recipes[0].data.source)
    splits = [source.split(part, search.recipes[0].pixels) for part in ("train", "test")]
    pairs, _ = draw_round(search.recipes[0], 1, *splits)
    parts = [fold_of(pairs, job, 0)[1] for job in search.jobs(search.recipes[0])]
    validated = np.concatenate([part.left for part in parts])
    assert sorted(map(bytes, validated)) == sorted(map(bytes, pairs.left))
    images = rng.integers(0, 256, (100, 28, 28), dtype=np.uint8)
    write_idx(splits[1].folder / "t10k-images-idx3-ubyte", images)
    _, again = _run(search, tmp_path / "b")
    assert [(r.label, r.errors) for r in again] == [(r.label, r.errors) for r in ranked]


def test_ranking_and_what_it_writes(search, tmp_path):
    _, ranked = _run(search, tmp_path)
    assert ranked[0].mean == min(r.mean for r in ranked)
    assert ranked[0].behind is None
    rows = read_rows(tmp_path / "search.csv")
    for r in ranked:
        mine = rows.loc[rows["setting"] == r.label, "test_error_pct"]
        jobs = search.jobs(r.recipe)
        measured = [load_result(tmp_path, job)["row"]["test"] for job in jobs]
        assert tuple(mine) == r.errors == tuple(m["comparison_error_pct"] for m in measured)
    best = load_recipe(str(tmp_path / "best.json"))
    assert best == ranked[0].recipe.replace(origin=best.origin)
    assert "best of 2 by 2-fold cross-validation" in best.origin


def test_more_values_train_only_what_is_new(search, tmp_path):
    _run(search, tmp_path)
    jobs, _ = _run(search, tmp_path)
    assert jobs == []
    more = replace(search, space={"dropout": (0.1, 0.3, 0.5)})
    jobs, ranked = _run(more, tmp_path)
    assert {job.recipe.network.options["dropout"] for job in jobs} == {0.3}
    assert len(ranked) == 3


def test_unfinished_candidates_are_not_ranked(search, tmp_path):
    recipes = grid(search)
    trainings = run_grid(search, tmp_path, recipes)
    for _ in range(3):  # both first folds, one second fold
        next(trainings)
    trainings.close()
    assert [r.recipe for r in rank(search, tmp_path, recipes)] == recipes[:1]


@given(st.lists(st.tuples(*[st.floats(0, 100)] * 2), min_size=2, max_size=8))
def test_interval_is_the_paired_t_test(pairs):
    errors, best = zip(*pairs, strict=True)
    low, high = behind(errors, best)
    differences = np.subtract(errors, best)
    if np.ptp(differences) > 1e-6:
        expected = stats.ttest_rel(errors, best).confidence_interval(0.95)
        assert (low, high) == pytest.approx(tuple(expected))
    assert low - 1e-9 <= differences.mean() <= high + 1e-9


@pytest.mark.slow
def test_a_stopped_tpe_search_goes_on_as_if_it_was_not(search, tmp_path, monkeypatch):
    """Killed in the middle of its second proposal: the same proposals, none trained twice."""
    space = {"dropout": Between(0.0, 0.6), "batch_size": (10, 20), "learning_rate": (1e-3, 1e-2)}
    search = replace(search, space=space)
    import optuna

    from kpairs.studies.search import proposals as module

    # By default the first ten proposals are drawn at random, whatever was scored before.
    informed = partial(optuna.samplers.TPESampler, n_startup_trials=1)
    monkeypatch.setattr(optuna.samplers, "TPESampler", informed)
    whole = list(run_tpe(search, tmp_path / "whole", 3))
    trained = []

    def die(jobs, *args, **options):
        for job in run_jobs(jobs, *args, **options):
            trained.append(job.id)
            yield job
            if len(trained) == 3:
                raise KeyboardInterrupt

    run_jobs = module.run_jobs
    monkeypatch.setattr(module, "run_jobs", die)
    with pytest.raises(KeyboardInterrupt):
        list(run_tpe(search, tmp_path / "cut", 3))
    assert list(run_tpe(search, tmp_path / "cut", 3)) == whole
    assert len(trained) == len(set(trained)) == len({j.id for r in whole for j in search.jobs(r)})
    scores = [r.mean for r in rank(search, tmp_path / "cut", whole)]
    assert scores == [r.mean for r in rank(search, tmp_path / "whole", whole)]
    assert list(run_tpe(search, tmp_path / "cut", 2)) == whole  # nothing left to do


def test_a_diverging_candidate_stops_nothing(search, tmp_path, caplog):
    search = replace(search, space={"learning_rate": (1e-3, 1e20)})
    jobs, ranked = _run(search, tmp_path / "grid")
    assert len(jobs) == 4
    assert [r.recipe.optimizer.learning_rate for r in ranked] == [1e-3]
    assert "loss became nan" in caplog.text
    assert set(read_rows(tmp_path / "grid/search.csv")["setting"]) == {ranked[0].label}
    only = replace(search, space={"learning_rate": (1e20,)})
    (recipe,) = run_tpe(only, tmp_path / "grid", 1)
    assert rank(only, tmp_path / "grid", [recipe]) == []


def test_files_that_cannot_be_read(search, tmp_path):
    job = search.jobs(grid(search)[0])[0]
    for content in ("{", "[]", '{"row": {}}', '"'):
        file = tmp_path / job.id / "result.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        with pytest.raises(InputError, match=r"result.json: expected the result of a training"):
            load_result(tmp_path, job)
    for content in (b"{\n", b"\xff\n", b"[]\n", b'{"op_code": 7}\n'):
        (tmp_path / "optuna.log").write_bytes(content)
        with pytest.raises(InputError, match=r"optuna.log: expected optuna's journal"):
            list(run_tpe(search, tmp_path, 1))


def test_what_a_training_is_known_by(search, workplace, idx_folder):
    """Its folder of images from anywhere, every digit of a number, but no number of test pairs."""
    idx_folder.rename(workplace / "photos")
    recipe = search.recipes[0].replace(data="photos")
    one = replace(search, recipes=(recipe,), space={"dropout": (0.1, 0.1 + 1e-9)})
    assert one.recipes[0].data.source == str(workplace / "photos")
    assert len(grid(one)) == 2
    other = replace(one, recipes=(recipe.replace(test_pairs=77),))
    assert [j.id for j in one.jobs(grid(one)[0])] == [j.id for j in other.jobs(grid(other)[0])]


def test_tpe_keeps_to_the_parameters(tiny, idx_folder, tmp_path):
    widths = [(4, 4, 4, 4), (64, 64, 64, 64)]
    recipe = tiny("basicnet1", data=str(idx_folder))
    search = Search((recipe,), {"widths": widths}, folds=2, parameters=(0, 5_000))
    assert [r.network.options["widths"] for r in run_tpe(search, tmp_path, 2)] == [widths[0]] * 2
    none = replace(search, parameters=(1, 2))
    with pytest.raises(UsageError, match="1 to 2 parameters: none of 100 proposals"):
        list(run_tpe(none, tmp_path, 2))


def test_python_api_refuses(tiny):
    recipe = RECIPES["auxws"]
    with pytest.raises(UsageError, match="unknown hyperparameter 'seed'"):
        Search((recipe,), {"seed": (1, 2)})
    with pytest.raises(UsageError, match="at least one value"):
        Search((recipe,), {"epochs": ()})
    with pytest.raises(UsageError, match="same data, pairs and seed"):
        Search((recipe, RECIPES["ws"].replace(seed=1)))
    with pytest.raises(UsageError, match="one recipe for each"):
        Search((recipe, recipe))
    with pytest.raises(UsageError, match=r"range of low\.\.high"):
        Between(1.0, 0.5)
    with pytest.raises(UsageError, match=r"range of low\.\.high"):
        Between(1.0, float("inf"))
    with pytest.raises(UsageError, match="dropout: expected at least 0 and less than 1"):
        Search((recipe,), {"dropout": Between(0.5, 1.5)})
    with pytest.raises(UsageError, match="at most 10,000 combinations, received 20,000"):
        grid(Search((recipe,), {"epochs": range(1, 20_001)}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arch", "auxwz"], "did you mean auxws"),
        (["--arch", "auxws", "--try", "rate=1"], "unknown field in --try 'rate'"),
        (["--arch", "auxws", "--try", "dropout"], "--try: expected NAME="),
        (["--arch", "auxws", "--try", "dropout=high"], "dropout: expected a number"),
        (
            ["--arch", "auxws", "--try", "dropout=1.5"],
            "dropout: expected at least 0 and less than 1",
        ),
        (["--arch", "auxws", "--try", "dropout=0..0.5"], "a grid takes values"),
        (["--arch", "auxws", "--try", "optimizer=adam..sgd"], "received the range"),
        (
            ["--arch", "auxws", "--try", "optimizer=sgd"],
            "unknown optimizer 'sgd': expected one of adadelta, adam",
        ),
        (
            ["--arch", "auxws", "--try", "optimizer=adam sgd", "--sampler", "tpe"],
            "unknown optimizer 'sgd': expected one of adadelta, adam",
        ),
        (["--arch", "auxws", "--try", "shuffle=perhaps"], "expected true or false"),
        (["--arch", "auxws", "--try", "loss_weights=1"], "auxws expects 2"),
        (["--arch", "auxws", "--try", "epochs=1", "--try", "epochs=2"], "each name once"),
        (["--arch", "auxws", "--parameters", "80000"], "expected LEAST:MOST"),
        (["--arch", "auxws", "--parameters", ":80"], "0 to 80 parameters: none of 1"),
        (["--arch", "auxws", "--sizes", "16,32"], "architecture that takes widths"),
        (["--arch", "auxws", "--arch", "c1l2", "--try", "dropout=0.1 0.2"], "c1l2 takes no argum"),
        (["--arch", "c1l2", "--try", "dropout=0.1 0.2"], "unknown field in --try 'dropout'"),
        (["--arch", "ws", "--folds", "11", "--pairs", "10"], "expected 2 to the 10 training pairs"),
    ],
)
def test_command_refuses(options, message, workplace):
    result = CliRunner().invoke(main, ["search", *options])
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert not list(workplace.iterdir())


def test_command(workplace, idx_folder):
    """Two networks, loss weights and a range, on data of one's own; the best trains."""
    command = ["search", "--arch", "auxnet2", "--data", str(idx_folder), "--pairs", "40"]
    command += ["--try", "loss_weights=0,1 1,0.5", "--try", "epochs=1", "--folds", "2"]
    command += ["--try", "widths=8,8,8,8 16,8,8,8", "--parameters", ":1500", "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    best, other = found["candidates"]
    assert {best["candidate"], other["candidate"]} == {
        f"auxnet2 loss_weights=comparison={c},left_digit={d},right_digit={d} widths=8,8,8,8"
        for c, d in (("0", "1"), ("1", "0.5"))
    }
    assert best["validation_error_pct"]["mean"] <= other["validation_error_pct"]["mean"]
    assert len(other["behind_best_95"]) == 2
    train = ["train", "--recipe", found["best_recipe"], "--test-pairs", "40"]
    result = CliRunner().invoke(main, train)
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, [*command[:-1], "--sampler", "tpe", "--trials", "2"])
    assert result.exit_code == 0, result.output
    assert "2/2 auxnet2" in result.output
    assert "best.json" in result.output


def test_tpe_without_optuna(search, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(KpairsError, match=r"pip install 'kpairs\[search\]'"):
        list(run_tpe(search, tmp_path, 1))
