"""`kpairs bench infer` and `rank`: reports, the count of operations, and refusals."""

import json

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode
from torch_reference import REFERENCES, as_nchw

from kpairs.cli import main
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.model import CHUNK
from kpairs.exports.writing import benchmark_ranking
from kpairs.exports.writing.benchmark import flops_per_pair
from kpairs.exports.writing.export import export
from kpairs.exports.writing.runners import RUNNERS, random_pairs
from kpairs.training.train import train

FILE_RUNNERS = ["onnx", "onnx_checked", "onnx_whole", "int8"]


def kpairs(*arguments):
    result = CliRunner().invoke(main, ["bench", "infer", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_runner_of_a_run_and_of_a_file(tiny, workplace):
    run = train(tiny("auxws"), "run", engine="keras")
    (made,) = export(run)
    file = made.path
    arguments = ["--quick", "--batches", f"{CHUNK + 1}", "--plot", "speed.png"]
    done = kpairs("run", file, *arguments, "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (workplace / "speed.png").read_bytes().startswith(b"\x89PNG")
    assert result["runners"] == RUNNERS
    assert [model["skipped"] for model in result["models"]] == [{}, {}]
    flops = {model["model"]: model["flops_per_pair"] for model in result["models"]}
    assert flops["run"] == flops[str(file)] == flops_per_pair(file)
    assert result["peaks"] == [{"threads": 1, "gflops": result["peak_gflops"]}]
    assert result["peak_gflops"] > 0
    expected = [
        (model, 1, batch, runner)
        for model, names in (("run", list(RUNNERS)), (str(file), FILE_RUNNERS))
        for batch in (CHUNK + 1,)
        for runner in names
    ]
    rows = result["rows"]
    places = [tuple(row[key] for key in ("model", "threads", "batch", "runner")) for row in rows]
    assert places == expected
    for row in rows:
        assert 0 < row["p50_us"] <= row["p95_us"] <= row["p99_us"]
        assert row["calls"] >= 15
        assert row["pairs_per_s"] == pytest.approx(1e6 * row["batch"] / row["p50_us"])
        work = 1e-9 * flops[row["model"]]
        assert row["gflops"] == pytest.approx(work * row["pairs_per_s"])
        assert min(row["share_of_peak"], row["cpu_us"]) > 0
        assert row["over_onnx"] > 0
        assert row["over_onnx"] == 1 or row["runner"] != "onnx"
    text = kpairs(file, "--quick", "--batches", "1", "--threads", "2,1").stdout
    assert "1 thread: 1.07 MFLOP per pair" in text
    assert "2 threads: 1.07 MFLOP per pair" in text


@pytest.mark.parametrize(("name", "norms"), [("auxnet2", 0), ("c2l2_ws", 0), ("conv_1", 2)])
def test_operations_are_torchs_count_and_batch_norm_is_one_node(name, norms, exported):
    pairs = random_pairs(2 * CHUNK + 3, (14, 14, 1))
    file = exported(name)[1][0].path
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        REFERENCES[name]().eval()(as_nchw(pairs.left[:1]), as_nchw(pairs.right[:1]))
    assert flops_per_pair(file) == counter.get_total_flops()
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert kinds.count("BatchNormalization") == norms
    assert not {"Sub", "Mul"} & set(kinds)
    loaded = PairModel.load(file)
    pieces = loaded.run(pairs.left, pairs.right)
    for key, values in loaded.run(pairs.left, pairs.right, len(pairs)).items():
        np.testing.assert_allclose(pieces[key], values, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["auxvs"], 2, "did you mean auxws"),
        (["missing.onnx"], 4, "missing.onnx: cannot read the model: no such file"),
        (["text.onnx"], 4, "text.onnx: expected an ONNX model"),
        (["."], 4, "expected a run folder"),
        (["--batches", "1,0"], 2, "expected whole numbers such as 1,64"),
        (["--threads", "two"], 2, "expected whole numbers such as 1,64"),
        (["--plot", "speed.txt"], 2, "expected a picture's name"),
        (["--plot", "nowhere/speed.png"], 2, "no such folder"),
    ],
)
def test_refusals(arguments, code, message, workplace):
    (workplace / "text.onnx").write_text("hello")
    done = kpairs(*arguments)
    assert done.exit_code == code
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_every_runner_ranks_the_same_folder(monkeypatch):
    monkeypatch.setattr(benchmark_ranking, "PICTURES", {"small": (40, 30, 8)})
    monkeypatch.setattr(benchmark_ranking, "SIDES", {"ranker": 64})
    result = benchmark_ranking.bench_ranking(quick=True)
    (row,) = result["rows"]
    assert set(row["images_per_core_second"]) == set(benchmark_ranking.RUNNERS)
    assert all(speed > 0 for speed in row["images_per_core_second"].values())
