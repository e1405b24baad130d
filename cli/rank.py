"""`kpairs rank`: images in the order of a run or of an exported model."""

import os
from pathlib import Path

import click

from kpairs.cli import options as shared
from kpairs.cli.models import is_model, latest_run, model_file, solved_run


def split_models(arguments, columns=None, solved=False):
    """Load the runs and .onnx files among the arguments, and list the images of the others.

    Without a model it is the latest run in runs/. Of models that take features the others are one
    file of them. With `solved`, linear runs are not exported: each is a
    `kpairs.exports.solved.SolvedRun`.
    """
    from kpairs.data.vectors import read_vectors
    from kpairs.errors import missing
    from kpairs.exports.runtime import PairModel
    from kpairs.exports.runtime.sources import find_images

    models = [name for name in arguments if is_model(name)]
    places = [name for name in arguments if name not in models]
    if gone := [place for place in places if not Path(place).exists()]:  # before a run is exported
        raise missing(gone[0])
    names = models or [latest_run()]
    loaded = [
        (solved_run(name) if solved else None) or PairModel.load(model_file(name)) for name in names
    ]
    if not any(model.pixels.features for model in loaded):
        return loaded, find_images(places, columns)
    if len(places) != 1:
        raise click.UsageError(f"expected one file of features, received {len(places)} arguments")
    return loaded, read_vectors(places[0])


@click.command()
@click.argument(
    "models_and_images", metavar="[RUN|MODEL.onnx]... IMAGES...", nargs=-1, required=True
)
@shared.top
@shared.by_group
@shared.group
@shared.sheet
@click.option("--maps", is_flag=True, help="Show on the sheet which places raise or lower a score.")
@shared.columns
@click.option(
    "--than", metavar="IMAGE", help="Give each image's probability to rank higher than this one."
)
@shared.force
@shared.as_json
@shared.as_csv
def rank(models_and_images, top, by, group, sheet, maps, columns, than, force, as_json, as_csv):
    """Rank images by a run or an exported model; by the mean of several models.

    Without a RUN or MODEL.onnx the latest run in runs/ ranks. IMAGES are image files, folders, or
    .csv files with a column image or file; of a run that learned from features, one file of them,
    of which every row is ranked. Rank 1 is the highest score, and equal scores share a rank. Scores
    are those of the network where it has them ('ranker'), expected ranks where it tells digits or
    grades, and else fitted to comparisons of sampled pairs. A linear head's scores have standard
    errors, and so have those of several models. Beside them stands the percentage of training
    images with a lower score.

    \b
    kpairs rank photographs
    kpairs rank runs/sharp photographs --top 20 --sheet best.png
    kpairs rank round-1.onnx round-2.onnx round-3.onnx photographs --csv > ranked.csv
    kpairs rank runs/scores/ranker.onnx bursts --by group --group folder --top 1
    """
    if maps and not sheet:
        raise click.UsageError("--maps: expected --sheet too, on which the maps are drawn")
    from kpairs.bars import counting
    from kpairs.cli.image_tables import ranked_groups, ranking_table, write_sheet
    from kpairs.data.groups import name_groups
    from kpairs.data.source import cache_root
    from kpairs.data.vectors import Vectors
    from kpairs.exports.runtime.ranking import METHODS, rank
    from kpairs.exports.runtime.sheet import check_sheet_name
    from kpairs.files import check_output

    if sheet:
        check_sheet_name(sheet)
    models, files = split_models(models_and_images, columns, solved=not maps)
    if maps and len(models) > 1:
        raise click.UsageError(f"--maps: expected one model, received {len(models)}")
    pictures = files
    if isinstance(files, Vectors):
        if sheet:
            raise click.UsageError("--sheet: expected images to draw, received features")
        pictures, files = files.values, list(files.names)
    place = None if than is None else _place(than, files, pictures)
    if sheet:
        check_output(sheet, [*models_and_images, *files], force=force)
    with counting(shared.console(stderr=True), "images") as count:
        ranking = rank(models, pictures, count, cache=cache_root())
    rows = _rows(files, ranking, place)
    if by:
        rows = ranked_groups(rows, files, group and name_groups(files, group), top)
    rows = rows if by else rows[:top]
    if sheet:
        write_sheet(rows, sheet, models[0].pixels.white, models[0] if maps else None)
    if as_csv:
        rows = [{**row, "method": ranking.method} for row in rows]
        shared.print_csv(rows, list(rows[0]))
        return
    told = {"method": ranking.method, "scores": METHODS[ranking.method], "images": rows}
    title = f"{len(files):,} images in order of {METHODS[ranking.method]}"
    shared.show(told, as_json, lambda _: [ranking_table(rows, title)])


def _place(than, files, pictures):
    """Return the number of the image to compare with; it is added where it is not there."""
    if pictures is not files:  # names of features
        if than not in files:
            raise click.UsageError(f"--than: expected a name among the features, received {than}")
        return files.index(than)
    known = [os.path.abspath(file) for file in files]
    if os.path.abspath(than) not in known:
        files.append(Path(than))
        return len(files) - 1
    return known.index(os.path.abspath(than))


def _rows(files, ranking, place=None):
    """Return the images, highest first, as `file`, `score`, `rank`, and what else is known."""
    told = {"deviation": ranking.deviation, "percentile": ranking.percentile}
    told["higher"] = None if place is None else ranking.higher(place)
    rows = []
    for i in ranking.order().tolist():
        row = {
            "file": str(files[i]),
            "score": float(ranking.score[i]),
            "rank": int(ranking.rank[i]),
        }
        row |= {name: float(values[i]) for name, values in told.items() if values is not None}
        if ranking.far is not None:
            row["far"] = bool(ranking.far[i])
        rows.append(row)
    return rows
