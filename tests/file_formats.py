"""Every file format that kpairs reads: a good file of each, how it is damaged, how it is read."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import damage
import numpy as np
import onnx
from fuzz_script import damaged
from idx_writer import write_idx
from PIL import Image
from rounds import compiled

from kpairs.data.decode import decode
from kpairs.data.idx import read_idx
from kpairs.data.pairs import packed
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.source import open_source
from kpairs.data.splits import draw_pairs
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.loading import seal
from kpairs.exports.runtime.sources import find_pairs, listed_images
from kpairs.exports.writing.onnx import write_proto
from kpairs.judging.linear import Linear, fit_linear
from kpairs.networks import build, build_options
from kpairs.recipes import Trial
from kpairs.reports import RECIPES
from kpairs.reports.chassagne.disc.page import compare_rows
from kpairs.reports.chassagne.disc.trainings import CURVES, DISC
from kpairs.reports.chassagne.disc.trainings import rows_of as disc_rows
from kpairs.reports.resolve import load_recipe
from kpairs.studies.catalogue import STUDIES
from kpairs.studies.compare import compare
from kpairs.studies.rows import job_row, records, rows_of, study_rows
from kpairs.studies.run import load_result
from kpairs.training.checkpoint import Checkpoint, load
from kpairs.training.network import load_saved
from kpairs.training.rounds import _curves  # what a resumed run's curves are drawn from
from kpairs.training.run import Run

BEFORE = Path(__file__).parent / "training" / "before"
ROWS = Path(__file__).parents[1] / "docs" / "rows"


@dataclass(frozen=True)
class FileFormat:
    """A format.

    Attributes:
        name: of it.
        make: writes a good file into a folder, with what belongs to it; the file.
        change: damages its bytes.
        read: reads the file as kpairs does, whatever it is; may raise `KpairsError`.
        exported: whether it needs an exported model, which takes some seconds to make.
    """

    name: str
    make: Callable[[Path], Path]
    change: Callable[[bytes, object], bytes]
    read: Callable[[Path], object]

    @property
    def exported(self) -> bool:
        return self.read in (_predict, _predict_whole)


def _run(name: str, folder: Path) -> Path:
    return shutil.copytree(BEFORE, folder / "run") / name


@cache
def _model():
    """A network to train on, and the one that `before` saved."""
    run = Run.open(BEFORE)
    saved = build(run.recipe.network.arch, 10, run.row(1)["rescaling"], **build_options(run.recipe))
    return compiled(run.recipe, 2, 10, (1.0, 0.0)), saved


def _checkpoint(folder: Path) -> Path:
    checkpoint = Checkpoint(folder)
    checkpoint.set_model(_model()[0])
    checkpoint.on_train_begin()
    checkpoint.on_epoch_end(0)
    return checkpoint.path


def _head(folder: Path) -> Path:
    file, rng = folder / "head.npz", np.random.default_rng(0)
    left, right = rng.integers(0, 9, (2, 40))
    fit_linear(rng.normal(size=(9, 3)), left, right, rng.integers(0, 2, 40)).save(file)
    return file


def _recipe(folder: Path) -> Path:
    file = folder / "recipe.json"
    file.write_text(RECIPES["auxnet2"].to_json())
    return file


def _few_rows(name: str, folder: Path) -> Path:
    lines = (ROWS / f"{name}.csv").read_text().splitlines(keepends=True)
    (folder / f"{name}.csv").write_text("".join(lines[:12]))
    return folder / f"{name}.csv"


def _beside_rows(name: str, kind: str, folder: Path) -> Path:
    _few_rows(name, folder)
    return _few_rows(f"{name}-{kind}", folder)


def _compared(name: str, file: Path) -> None:
    rows = study_rows(file.parent, STUDIES[name])
    records(compare(STUDIES[name], rows))


TRIAL = Trial(RECIPES["conv_1"].replace(rounds=1), 1)


def _result(folder: Path) -> Path:
    run, place = Run.open(BEFORE), folder / TRIAL.id
    place.mkdir()
    value = {"number": 1, "folds": 0, "machine": run.environment, "row": run.row(1)}
    (place / "result.json").write_text(json.dumps({**value, "history": run.history(1)}))
    return place / "result.json"


def _read_result(file: Path) -> None:
    result = load_result(file.parent.parent, TRIAL)
    if result is not None and result["row"] is not None:
        job_row(TRIAL, result)


@cache
def _search():
    from kpairs.studies.search import Search

    return Search((RECIPES["auxws"],), {"dropout": (0.1, 0.2), "epochs": (1, 2)}, folds=2)


def _journal(folder: Path) -> Path:
    """Of two scored proposals and one that is under way."""
    import optuna

    from kpairs.studies.search import proposals

    study, _, _ = proposals.known_proposals(optuna, _search(), folder)
    for score in (5.0, 6.0, None):
        trial = study.ask()
        proposals._proposed(_search(), trial)
        if score is not None:
            study.tell(trial, score)
    return folder / "optuna.log"


def _read_journal(file: Path) -> None:
    import optuna

    from kpairs.studies.search.proposals import known_proposals

    known_proposals(optuna, _search(), file.parent)


def _idx(folder: Path, name: str = "train-images-idx3-ubyte") -> Path:
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 20), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return folder / name


def _packed_idx(folder: Path) -> Path:
    file = _idx(folder)
    packed = file.with_name(f"{file.name}.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    return packed


def _picture(ending: str, folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"a.{ending}")
    return folder / f"a.{ending}"


def _read_picture(file: Path) -> None:
    prepare(decode(file)[None])


def _listed(header: str, rows: tuple[str, ...], folder: Path) -> Path:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        Image.new("L", (4, 4)).save(folder / name)
    (folder / "list.csv").write_text("\n".join((header, *rows)) + "\n")
    return folder / "list.csv"


def _open(data: Path) -> None:
    source = open_source(data)
    source.describe()
    source.digest()


def _kept(name: str, folder: Path) -> Path:
    """A file of a run's folder that says which images it was trained on."""
    source = open_source(_listed("image,grade,split", GRADES, folder))
    split = source.split("train", PixelSettings(4, 4, 1, "pad", "bright", rounded=True))
    pairs = [draw_pairs(split, 2)] * 2
    run = Run.create(RECIPES["ranker"], {}, source, folder / "run", packed(*pairs))
    return run.path / name


GRADES = ("a.png,1,train", "b.png,2,train", "c.png,1,test", "d.png,2,test")
PAIRS = (
    *("a.png,b.png,left,1,2,train", "b.png,a.png,right,2,1,train"),
    *("c.png,d.png,left,1,2,test", "d.png,c.png,tie,2,1,test"),
)


@cache
def _export():
    """An exported file of a small network with first weights."""
    import tempfile

    from kpairs.exports.writing.formats import FORMATS
    from kpairs.exports.writing.trained import Trained
    from kpairs.networks import ARCHS

    trained = Trained.from_architecture(build("conv_1"), ARCHS["conv_1"], tuple("0123456789"))
    with tempfile.TemporaryDirectory() as folder:
        _idx(Path(folder))
        drawn = draw_pairs(open_source(folder).split("train"), 5)
        file = Path(folder) / "conv_1.onnx"
        FORMATS["onnx"]().write(trained, trained.description(drawn), file)
        return file.read_bytes()


def _onnx(folder: Path) -> Path:
    (folder / "a.onnx").write_bytes(_export())
    return folder / "a.onnx"


def _sidecar(folder: Path) -> Path:
    import hashlib

    file = _onnx(folder)
    beside = file.with_name("a.onnx.json")
    beside.write_text(json.dumps({"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}))
    return beside


def _resealed(data: bytes, rng) -> bytes:
    body = data[: len(data) - len(seal(b""))]
    return seal(damaged(body, np.random.default_rng(rng.getrandbits(32))))


def _other_metadata(data: bytes, rng) -> bytes:
    import tempfile

    proto = onnx.ModelProto.FromString(data)
    metadata = damage.in_json(proto.metadata_props[0].value.encode(), rng)
    with tempfile.NamedTemporaryFile() as file:
        write_proto(proto, metadata.decode(errors="replace"), Path(file.name))
        return Path(file.name).read_bytes()


# Operators that kpairs writes, others that are let through, and some that are not.
_OPERATORS = (
    *("Conv", "Relu", "Concat", "Gemm", "MaxPool", "Reshape", "Slice", "Add", "Cast", "Shape"),
    *("ConstantOfShape", "Expand", "Tile", "Range", "MatMul", "Einsum", "Pad", "Resize", "TopK"),
    *("Gather", "ScatterND", "Split", "Loop", "RandomNormal", "StringNormalizer", "NonZero", ""),
)
_SIZES = (-(2**63), -1, 0, 1, 2, 7, 2**20, 2**30, 2**31, 2**62)


def _other_graph(data: bytes, rng) -> bytes:
    """Other operators, sizes, types and wires, in a file that is sealed and parses."""
    import tempfile

    proto = onnx.ModelProto.FromString(data)
    metadata = proto.metadata_props[0].value
    for _ in range(rng.randrange(1, 4)):
        _change_graph(proto, rng)
    with tempfile.NamedTemporaryFile() as file:
        write_proto(proto, metadata, Path(file.name))
        return Path(file.name).read_bytes()


def _change_graph(proto: onnx.ModelProto, rng) -> None:
    graph, kind = proto.graph, rng.randrange(9)
    node, weights = rng.choice(graph.node), rng.choice(graph.initializer)
    values = [*graph.input, *graph.output, *graph.value_info]
    names = [*(name for n in graph.node for name in n.output), *(v.name for v in values)]
    numbers = [a.ints for n in graph.node for a in n.attribute if a.ints]
    if kind == 0:
        node.op_type = rng.choice(_OPERATORS)
    elif kind == 1 and numbers:
        ints = rng.choice(numbers)
        ints[rng.randrange(len(ints))] = rng.choice(_SIZES)
    elif kind == 2 and weights.dims:
        weights.dims[rng.randrange(len(weights.dims))] = rng.choice(_SIZES)
    elif kind == 3:
        weights.data_type = rng.randrange(24)
    elif kind == 4:
        graph.node.remove(node)
    elif kind == 5 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice((*names, "", "x"))
    elif kind == 6:
        dims = rng.choice(values).type.tensor_type.shape.dim
        (rng.choice(dims) if dims else dims.add()).dim_value = rng.choice(_SIZES)
    elif kind == 7:
        graph.node.add(op_type=rng.choice(_OPERATORS), input=[rng.choice(names)], output=["x"])
    else:
        whole = np.array([rng.choice(_SIZES) for _ in range(rng.randrange(5))], np.int64)
        weights.CopyFrom(onnx.numpy_helper.from_array(whole, weights.name))


def _predict_whole(file: Path) -> None:
    """As `_predict`; of what has no new seal, only the good file may run."""
    _predict(file)
    assert file.read_bytes() == _export(), "a damaged file was run"


def _predict(file: Path) -> None:
    image = np.zeros((2, 14, 14, 1), np.float32)
    PairModel.load(file.parent / "a.onnx").predict(image, image)


def _formats():
    yield "recipe.json", _recipe, damage.in_json, load_recipe
    open_ = lambda file: Run.open(file.parent)  # noqa: E731
    yield "metrics.json", partial(_run, "metrics.json"), damage.in_json, open_
    yield (
        "environment.json",
        partial(_run, "environment.json"),
        damage.in_json,
        lambda file: Run.open(file.parent).environment,
    )
    yield (
        "history.csv",
        partial(_run, "round-01/history.csv"),
        damage.in_csv,
        lambda file: _curves(Run.open(file.parents[1])),
    )
    for name, change in (("data.json", damage.in_json), ("data.jsonl", damage.in_lines)):
        reopen = lambda file: Run.open(file.parent).source()  # noqa: E731
        yield name, partial(_kept, name), change, reopen
    sample = lambda file: Run.open(file.parent).sample()  # noqa: E731
    yield "sample.npz", partial(_kept, "sample.npz"), damage.in_zip, sample
    yield (
        "checkpoint.npz",
        _checkpoint,
        damage.in_zip,
        lambda file: load(file, _model()[0]),
    )
    yield "head.npz", _head, damage.in_zip, Linear.load
    yield (
        "model.keras",
        partial(_run, "round-01/model.keras"),
        damage.in_zip,
        lambda file: load_saved(_model()[1], file),
    )
    for name in ("kong-table-2", "posterior-final"):
        yield f"{name}.csv", partial(_few_rows, name), damage.in_csv, partial(_compared, name)
    for name, kind in (("kong-table-2", "curves"), ("posterior-final", "wrong")):
        yield (
            f"{name}-{kind}.csv",
            partial(_beside_rows, name, kind),
            damage.in_csv,
            lambda file, name=name, kind=kind: rows_of(file.parent, STUDIES[name], kind),
        )
    yield (
        "mini-disc.csv",
        partial(_few_rows, DISC),
        damage.in_csv,
        lambda file: compare_rows(disc_rows(file.parent, DISC)),
    )
    yield (
        "mini-disc-curves.csv",
        partial(_few_rows, CURVES),
        damage.in_csv,
        lambda file: disc_rows(file.parent, CURVES),
    )
    yield "result.json", _result, damage.in_json, _read_result
    yield "optuna.log", _journal, damage.in_lines, _read_journal
    yield "IDX", _idx, damage.in_bytes, lambda file: _open(file.parent)
    labels = partial(_idx, name="train-labels-idx1-ubyte")
    yield "IDX, labels", labels, damage.in_bytes, lambda file: _open(file.parent)
    yield "IDX, .gz", _packed_idx, damage.in_bytes, read_idx
    for ending in ("png", "jpg", "bmp", "webp", "tif"):
        yield ending, partial(_picture, ending), damage.in_bytes, _read_picture
    grades = partial(_listed, "image,grade,split", GRADES)
    yield "grades CSV", grades, damage.in_csv, _open
    listed = partial(_listed, "left,right,label,left_grade,right_grade,split", PAIRS)
    yield "listed pairs CSV", listed, damage.in_csv, _open
    yield "predict's CSV", listed, damage.in_csv, find_pairs
    yield "rank's CSV", listed, damage.in_csv, lambda file: list(listed_images(file))
    yield "ONNX", _onnx, damage.in_bytes, _predict_whole
    yield "ONNX, sealed again", _onnx, _resealed, _predict
    yield "ONNX, graph", _onnx, _other_graph, _predict
    yield "ONNX, metadata", _onnx, _other_metadata, _predict
    yield "description JSON", _sidecar, damage.in_json, _predict


FORMATS = {name: FileFormat(name, *rest) for name, *rest in _formats()}
