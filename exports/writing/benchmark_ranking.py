"""Speed of ranking a folder: kpairs beside what a good user of torch or onnxruntime writes."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kpairs.bench.memory import peak_mib

if TYPE_CHECKING:
    import torch

# Runners' processes import this file; what only one of them needs is imported there, so that the
# memory of each is its own.

# Width and height, and how many.
PICTURES = {"256x256": (256, 256, 600), "12 megapixels": (4000, 3000, 24)}
SIDES = {"ranker": 64, "lite0": 128}
RUNNERS = {
    "kpairs": "the exported file by kpairs.rank",
    "onnxruntime": "the same file by onnxruntime; Pillow's thumbnail and draft, in two threads",
    "torch": "torchvision's decode_jpeg and resize in a DataLoader with two workers, and the "
    "network in torch: ranker by hand, lite0 by Keras' layers",
}
_BATCH = 64
Progress = Callable[[str, int, int], None]


def bench_ranking(
    *, quick: bool = False, progress: Progress = lambda what, done, total: None
) -> dict[str, Any]:
    """Measure how fast images are ranked, from their files to their scores.

    Each runner works in a process of its own, and takes turns with the others, so that a slower
    moment of the machine meets all of them. A ratio is the median of the turns' ratios. Weights are
    drawn: they make no difference to the time. `progress` hears how many turns of how many are
    done.

    Returns a JSON-ready dict: `rows` with `network`, `pictures`, `images_per_core_second` by
    runner, `kpairs_over`, how many times as fast kpairs is as each other runner, and `peak_mib` of
    the runners' processes after all pictures (None where the system does not say); `runners`, and
    `machine`.
    """
    from kpairs.training.device import describe

    turns, context, rows = (2 if quick else 5), multiprocessing.get_context("spawn"), []
    with tempfile.TemporaryDirectory() as folder:
        pictures = {
            name: _write(Path(folder, name), *size, quick) for name, size in PICTURES.items()
        }
        for network in list(SIDES)[: 1 if quick else None]:
            file = _export(network, Path(folder, f"{network}"))
            # Not multiprocessing's own pool, whose processes may have no children.
            pools = {name: ProcessPoolExecutor(1, context) for name in RUNNERS}
            for kind, files in pictures.items():
                seconds: dict[str, list[float]] = {name: [] for name in RUNNERS}
                for turn in range(turns + 1):
                    progress(f"{network}, {kind}", turn, turns + 1)
                    for name, pool in pools.items():
                        passed = pool.submit(_timed, name, network, file, files).result()
                        if turn:  # the first warms up
                            seconds[name].append(passed)
                rows.append({"network": network, "pictures": kind, **_row(seconds, len(files))})
            peaks = {name: pool.submit(peak_mib).result() for name, pool in pools.items()}
            for row in rows[-len(pictures) :]:
                row["peak_mib"] = peaks
            for pool in pools.values():
                pool.shutdown()
    return {"rows": rows, "runners": RUNNERS, "machine": describe("cpu", 1)}


def _row(seconds: dict[str, list[float]], count: int) -> dict[str, Any]:
    ours = np.array(seconds["kpairs"])
    others = {name: np.array(each) for name, each in seconds.items() if name != "kpairs"}
    return {
        "images_per_core_second": {n: count / float(np.median(s)) for n, s in seconds.items()},
        "kpairs_over": {name: float(np.median(each / ours)) for name, each in others.items()},
    }


def _write(folder: Path, width: int, height: int, count: int, quick: bool) -> list[str]:
    """Write crops of photographs as JPEG files, enlarged to a size."""
    from kpairs.data.examples import degraded_photographs

    folder.mkdir()
    count = count // 4 if quick else count
    crops, _ = degraded_photographs(count, side=256)
    names = [str(folder / f"{number:04d}.jpg") for number in range(count)]
    for crop, name in zip(crops, names, strict=True):
        image = Image.fromarray(crop).resize((width, height), Image.Resampling.BICUBIC)
        image.save(name, quality=90)
    return names


def _export(network: str, stem: Path) -> Path:
    """Export a network with drawn weights."""
    from kpairs.data.settings import PixelSettings
    from kpairs.exports.writing.export import export_model
    from kpairs.exports.writing.trained import Trained
    from kpairs.models.initialization import initialize
    from kpairs.networks import ARCHS, build
    from kpairs.training.device import compute

    side = SIDES[network]
    arch, options = network, dict[str, Any](input_shape=(side, side, 3))
    if network not in ARCHS:
        arch, options = "linear", {**options, "backbone": network}
    pixels = PixelSettings(side, side, 3, ink="mixed", rounded=True)
    with compute("cpu"):
        model = build(arch, 0, **options)
        initialize(model, "torch", np.random.default_rng(1))
        trained = Trained.from_architecture(model, ARCHS[arch], (), options=options, pixels=pixels)
        return export_model(trained, None, stem)[0].path


_LOADED: dict[tuple[str, str], Callable[[Sequence[str]], Any]] = {}  # of a runner's process


def _timed(name: str, network: str, file: Path, files: Sequence[str]) -> float:
    """Return the seconds of processor time in which a runner scores all files."""
    if (name, network) not in _LOADED:
        make = {"kpairs": _kpairs, "onnxruntime": _onnxruntime, "torch": _torch}[name]
        _LOADED[name, network] = make(network, file)
    begun = _processor_seconds()
    _LOADED[name, network](files)
    return _processor_seconds() - begun


def _processor_seconds() -> float:
    """Return the seconds of this process and of its children that ended."""
    each = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in each)


def _kpairs(network: str, file: Path) -> Callable[[Sequence[str]], Any]:
    from kpairs.exports.runtime import PairModel
    from kpairs.exports.runtime.ranking import rank

    model = PairModel.load(file)
    return lambda files: rank([model], files).score


def _onnxruntime(network: str, file: Path) -> Callable[[Sequence[str]], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
    size = SIDES[network], SIDES[network]

    def read(name: str) -> np.ndarray:
        with Image.open(name) as image:
            image.draft("RGB", (2 * size[0], 2 * size[1]))
            small = image.convert("RGB").resize(size, Image.Resampling.BOX)
            return np.asarray(small, np.float32) / 255

    def run(files: Sequence[str]) -> list[np.ndarray]:
        found = []
        with ThreadPoolExecutor(2) as pool:
            for start in range(0, len(files), _BATCH):
                images = np.stack(list(pool.map(read, files[start : start + _BATCH])))
                half = len(images) // 2  # each side takes half: an image passes once
                pair = {"left": images[:half], "right": images[half:]}
                found += session.run(["left_score", "right_score"], pair)
        return found

    return run


class _Files:
    """A data set as torch's DataLoader takes it."""

    def __init__(self, files: Sequence[str], side: int) -> None:
        self.files, self.side = files, side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> torch.Tensor:
        from torchvision.io import ImageReadMode, decode_jpeg, read_file
        from torchvision.transforms.v2.functional import resize

        image = decode_jpeg(read_file(self.files[number]), ImageReadMode.RGB)
        return resize(image, [self.side, self.side], antialias=True)


def _torch(network: str, file: Path) -> Callable[[Sequence[str]], Any]:
    import torch
    import torchvision.transforms.v2  # noqa: F401  here, and not once in each worker

    from kpairs.bench.handwritten import NETWORKS

    torch.set_num_threads(1)
    if network in NETWORKS:
        module = NETWORKS[network]().tower.eval()
        tower: Callable[[torch.Tensor], torch.Tensor] = module.to(memory_format=torch.channels_last)
    else:
        from kpairs.models.backbone import backbone_of
        from kpairs.networks import build

        shape = (SIDES[network], SIDES[network], 3)
        backbone = backbone_of(build("linear", 0, backbone=network, input_shape=shape))

        def tower(images: torch.Tensor) -> torch.Tensor:
            return backbone(images.movedim(1, 3), training=False)

    @torch.inference_mode()
    def run(files: Sequence[str]) -> list[torch.Tensor]:
        data: Any = _Files(files, SIDES[network])
        loader: Any = torch.utils.data.DataLoader(
            data, _BATCH, num_workers=2, multiprocessing_context="fork"
        )
        return [tower(images.float() / 255) for images in loader]

    return run
