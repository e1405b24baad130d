"""`kpairs rank`: images in the order of a run or of an exported model."""

import click

from kpairs.cli.models import is_model, latest_run, model_file
from kpairs.cli.options import (
    as_json,
    by_group,
    columns,
    force,
    group,
    print_csv,
    print_json,
    sheet,
    top,
)
from kpairs.errors import UsageError


def split_models(arguments, columns=None):
    """Load the runs and .onnx files among the arguments, and list the images of the others.

    Without a model it is the latest run in runs/.
    """
    from kpairs.exports.runtime import PairModel
    from kpairs.exports.runtime.sources import find_images

    models = [name for name in arguments if is_model(name)]
    images = find_images([name for name in arguments if name not in models], columns)
    return [PairModel.load(model_file(name)) for name in models or [latest_run()]], images


@click.command()
@click.argument(
    "models_and_images", metavar="[RUN|MODEL.onnx]... IMAGES...", nargs=-1, required=True
)
@top
@by_group
@group
@sheet
@click.option("--maps", is_flag=True, help="Show on the sheet which places raise or lower a score.")
@columns
@force
@as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
def rank(models_and_images, top, by, group, sheet, maps, columns, force, as_json, as_csv):
    """Rank images by a run or an exported model; by the mean of several models.

    Without a RUN or MODEL.onnx the latest run in runs/ ranks. IMAGES are image files, folders, or
    .csv files with a column image or file. Rank 1 is the highest score, and equal scores share a
    rank. Scores are those of the network where it has them ('ranker'), expected ranks where it
    tells digits or grades, and else fitted to comparisons of sampled pairs. Several models give the
    scores' deviation too.

    \b
    kpairs rank photographs
    kpairs rank runs/sharp photographs --top 20 --sheet best.png
    kpairs rank round-1.onnx round-2.onnx round-3.onnx photographs --csv > ranked.csv
    kpairs rank runs/scores/ranker.onnx bursts --by group --group folder --top 1
    """
    if as_json and as_csv:
        raise click.UsageError("expected --json or --csv, received both")
    if maps and not sheet:
        raise click.UsageError("--maps: expected --sheet too, on which the maps are drawn")
    from kpairs.bars import counting
    from kpairs.cli.tables import console, ranked_groups, ranking_table, write_sheet
    from kpairs.data.groups import name_groups
    from kpairs.exports.runtime.ranking import METHODS, rank
    from kpairs.exports.runtime.sheet import check_sheet_name
    from kpairs.files import check_output

    if sheet:
        check_sheet_name(sheet)
    models, files = split_models(models_and_images, columns)
    if maps and len(models) > 1:
        raise UsageError(f"--maps: expected one model, received {len(models)}")
    if sheet:
        check_output(sheet, [*models_and_images, *files], force=force)
    with counting(console(stderr=True), "images") as count:
        ranking = rank(models, files, count)
    rows = _rows(files, ranking)
    if by:
        rows = ranked_groups(rows, files, group and name_groups(files, group), top)
    rows = rows if by else rows[:top]
    if sheet:
        write_sheet(rows, sheet, models[0] if maps else None)
    if as_csv:
        rows = [{**row, "method": ranking.method} for row in rows]
        print_csv(rows, list(rows[0]))
    elif as_json:
        told = {"method": ranking.method, "scores": METHODS[ranking.method]}
        print_json({**told, "images": rows})
    else:
        title = f"{len(files):,} images by {METHODS[ranking.method]}"
        console().print(ranking_table(rows, title))


def _rows(files, ranking):
    """Return the images, highest first, as `file`, `score`, `rank` and perhaps `deviation`."""
    rows = []
    for i in ranking.order().tolist():
        row = {
            "file": str(files[i]),
            "score": float(ranking.score[i]),
            "rank": int(ranking.rank[i]),
        }
        if ranking.deviation is not None:
            row["deviation"] = float(ranking.deviation[i])
        rows.append(row)
    return rows
