"""`kpairs predict`: which of two images ranks higher, by onnxruntime alone."""

import click

from kpairs.cli.models import is_model, latest_run, model_file
from kpairs.cli.options import as_csv, as_json, choice, columns, print_csv, show
from kpairs.errors import printable


@click.command()
@click.argument(
    "names", metavar="[RUN|MODEL.onnx] LEFT [RIGHT]", nargs=-1, required=True, type=click.Path()
)
@choice(
    "--ink",
    *("auto", "bright", "dark"),
    help="What these pictures are: bright on dark, dark on bright, or to be told by each one's "
    "border.  [default: what the model stores]",
)
@columns
@as_json
@as_csv
def predict(names, ink, columns, as_json, as_csv):
    """Compare images by a run or an exported model, without one by the latest run in runs/.

    LEFT and RIGHT are two images; or a folder and an image, for each image in the folder; or two
    folders, whose images are paired by name. LEFT alone is a CSV file of pairs with the columns
    left and right, its paths relative to the file.

    PNG, JPEG, BMP, WebP or TIFF of any size. Their pixels are prepared as those of the training
    were, by the settings that the model stores. For a network of MNIST a digit should fill about
    three quarters of its picture. An exported model needs neither keras nor torch.

    \b
    kpairs predict samples/3.png samples/7.png
    kpairs predict auxws.onnx samples/3.png samples/7.png
    kpairs predict runs/sharp pairs.csv --csv
    """
    from kpairs.exports.runtime.predict import COLUMNS, predict_pairs
    from kpairs.exports.runtime.sources import find_pairs

    own = len(names) > 2 or is_model(names[0])
    sides = names[1:] if own else names
    if not 1 <= len(sides) <= 2:
        raise click.UsageError(
            f"expected LEFT and RIGHT, or a .csv file of pairs; received {len(sides)} images"
        )
    pairs, single = find_pairs(*sides, columns=columns)
    rows = predict_pairs(model_file(names[0] if own else latest_run()), pairs, ink)
    if as_csv:
        print_csv(rows, [name for name in COLUMNS if name in rows[0]])
    elif single:
        show(rows[0], as_json, _lines)
    else:
        from kpairs.cli.image_tables import prediction_table

        show(rows, as_json, lambda rows: [prediction_table(rows)])


def _lines(row):
    """Yield sentences about one pair."""
    from kpairs.numbers import decimals, plus_minus

    for side in ("left", "right"):
        start = shown = f"{side:<5} {printable(row[side])}"
        for name in (f"{side}_digit", f"{side}_grade"):
            if name in row:
                shown += f": {row[name]} ({row[f'{name}_probability']:.1%})"
        if f"{side}_score" in row:
            score = f"{row[f'{side}_score']:.4g}"
            if (deviation := row.get(f"{side}_score_deviation")) is not None:
                digits = decimals([deviation])
                score = plus_minus(row[f"{side}_score"], deviation, digits=digits)
            shown += f": score {score}"
        if f"{side}_score_percentile" in row:
            above = row[f"{side}_score_percentile"]
            shown += f", above {above:.1f} % of the training images"
        if row.get(f"{side}_far"):
            shown += "; unlike the training images"
        if row[f"{side}_inverted"]:
            shown += "; dark on bright, inverted"
        if shown != start:
            yield shown
    if row["same"]:
        yield "left = right: one and the same picture"
        return
    holds = row["probability"]
    relation, sure = ("<=", holds) if row["left_not_higher"] else (">", 1 - holds)
    yield f"left {relation} right ({sure:.1%})"
