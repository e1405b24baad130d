"""`kpairs bench`: how fast this machine trains and runs models."""

from pathlib import Path

import click

from kpairs.cli import options as shared


@click.group()
def bench():
    """Measure kpairs on this machine."""


@bench.command()
@click.option("--quick", is_flag=True, help="Fewer repeats: less than a minute, less certain.")
@shared.count("--jobs", default=2, most=1024, help="Processes for the rounds.")
@click.option("--profile", is_flag=True, help="Tell where a step of the engine spends its time.")
@shared.data_dir
@shared.device
@shared.as_json
def train(data_dir, as_json, **how):
    """Measure training: kpairs beside loops written in PyTorch and beside stock Keras.

    The tuned loop is what a good user of PyTorch writes: channels last, a fused optimizer, one call
    of the tower for both images where that is faster, no number read out in a step.

    \b
    kpairs bench train --quick
    kpairs bench train --profile
    kpairs bench train --json > bench.json
    """
    from kpairs.bench.training import bench_training
    from kpairs.cli.bench_tables import bench_tables
    from kpairs.cli.progress import measuring

    with measuring() as progress:
        result = bench_training(**how, data_root=data_dir, progress=progress)
    shared.show(result, as_json, bench_tables)


@bench.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--quick", is_flag=True, help="Few batch sizes and repeats, one thread.")
@click.option("--batches", metavar="N,N", help="Batch sizes.  [default: 1,2,4 ... 1024]")
@click.option("--threads", metavar="N,N", help="Numbers of threads.  [default: 1 and all cores]")
@shared.file("--plot", help="Picture to draw: png, pdf or svg.")
@shared.data_dir
@shared.imports
@shared.force
@shared.as_json
def infer(models, quick, batches, threads, plot, data_dir, as_json, imports, force):
    """Measure inference: exported files beside Keras, torch and Keras' own ONNX export.

    MODEL is an architecture, which gets fresh weights (default auxws), a run folder, or an
    exported .onnx file, of which only the file is measured.

    \b
    kpairs bench infer --quick
    kpairs bench infer auxws wsal_bd --batches 1,512 --threads 1 --plot speed.png
    """
    shared.import_own(imports)
    from kpairs.cli.bench_tables import inference_tables

    batches, threads = _counts("--batches", batches, 65536), _counts("--threads", threads, 1024)
    if plot:
        from kpairs.files import check_output
        from kpairs.plots import check_picture_name, draw_inference

        check_picture_name(plot)
        check_output(plot, models, force=force)
        if not Path(plot).absolute().parent.is_dir():
            raise click.BadParameter(f"{plot}: no such folder", param_hint="--plot")
    from kpairs.exports.writing.benchmark import bench_inference

    with shared.console(stderr=True).status("") as status:
        result = bench_inference(
            models or ("auxws",),
            quick=quick,
            batches=batches,
            threads=threads,
            data_root=data_dir,
            say=lambda text: status.update(f"measuring {text}"),
        )
    if plot:
        draw_inference(result, plot)
    written = [f"wrote {plot}"] if plot else []
    shared.show(result, as_json, lambda result: [*inference_tables(result), *written])


@bench.command()
@click.option("--quick", is_flag=True, help="A quarter of the images, one network: a minute.")
@shared.as_json
def rank(quick, as_json):
    """Ranking a folder: kpairs beside scripts by torch and by onnxruntime, from file to score.

    The scripts are what a good user writes. Images are JPEG files of photographs, 256x256 and of
    12 megapixels; a number is how many images pass in a second of one core.

    \b
    kpairs bench rank --quick
    """
    from kpairs.cli.bench_tables import rank_bench_table
    from kpairs.cli.progress import measuring
    from kpairs.exports.writing.benchmark_ranking import bench_ranking

    with measuring() as progress:
        result = bench_ranking(quick=quick, progress=progress)
    shared.show(result, as_json, lambda result: [rank_bench_table(result)])


@bench.command()
@click.option("--quick", is_flag=True, help="One session each, 200 judgements: about a minute.")
@shared.count("--seeds", most=1000, default=3, help="Sessions.")
@shared.count("--jobs", most=1024, default=1, help="Processes.")
@click.option(
    "--truth", multiple=True, help="What is true; several times for several. [default: all]"
)
@click.option("--method", multiple=True, help="What to measure; several times. [default: all]")
@shared.file("--rows", help="CSV file for every session's rows.")
@shared.as_json
def judging(truth, method, rows, as_json, **how):
    """Choice of pairs: how well 500 photographs are ordered after 50 to 1,600 judgements.

    Judges are simulated; they are right on about 87 % of random pairs. kpairs is held against
    random pairs with Bradley-Terry, TrueSkill and expected information gain. The photographs are
    those of scikit-learn and scikit-image.

    \b
    kpairs bench judging --quick
    kpairs bench judging --seeds 10 --rows judging.csv
    kpairs bench judging --truth grades --method kpairs
    """
    from kpairs.bench.judging import METHODS, TRUTHS, bench_judging
    from kpairs.cli.bench_tables import judging_tables
    from kpairs.cli.progress import measuring
    from kpairs.files import write_rows

    chosen = {"truths": truth or tuple(TRUTHS), "methods": method or tuple(METHODS)}
    with measuring() as progress:
        result = bench_judging(**chosen, **how, progress=progress)
    if rows:
        write_rows(Path(rows), result["rows"])
    shared.show(result, as_json, lambda result: judging_tables(result["means"], TRUTHS, METHODS))


def _counts(option, text, largest):
    """Read whole numbers between commas, sorted; None for None."""
    if text is None:
        return None
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = [0]
    if not 1 <= numbers[0] <= numbers[-1] <= largest:
        raise click.BadParameter(
            f"expected whole numbers such as 1,64 up to {largest}, received {text!r}",
            param_hint=option,
        )
    return tuple(numbers)
