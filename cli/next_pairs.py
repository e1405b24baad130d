"""`kpairs next-pairs`: which pairs to ask a person about."""

from pathlib import Path

import click

from kpairs.cli.options import as_json, columns, force, print_json


@click.command("next-pairs")
@click.argument("models_and_images", metavar="MODEL.onnx... IMAGES...", nargs=-1, required=True)
@click.option(
    "--count", type=click.IntRange(min=1), default=20, show_default=True, help="How many pairs."
)
@click.option(
    "--known",
    multiple=True,
    type=click.Path(dir_okay=False),
    help="CSV of pairs, with columns left and right, that were asked about; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="CSV file with the columns left, right and an empty label, to be filled in.",
)
@columns
@force
@as_json
def next_pairs(models_and_images, count, known, out, columns, force, as_json):
    """Propose the pairs of images that are most worth asking a person about.

    Those are pairs whose answer the models do not know, of images that were compared little. In the
    file, fill in label: left, right or tie, whichever ranks higher; then train on it.

    \b
    kpairs next-pairs runs/scores/ranker.onnx photographs --known pairs.csv --out ask.csv
    kpairs train --arch ranker --data ask.csv
    """
    from kpairs.bars import counting
    from kpairs.cli.rank import split_models
    from kpairs.cli.tables import console, proposals_table
    from kpairs.exports.runtime.proposals import check_names, propose_pairs, write_questions
    from kpairs.files import check_output

    models, files = split_models(models_and_images, columns)
    if out:
        check_names(files)
        check_output(out, [*models_and_images, *files, *known], force=force)
    with counting(console(stderr=True), "images") as counted:
        proposals = propose_pairs(
            models, files, count, [Path(name) for name in known], columns, counted
        )
    if out:
        write_questions(Path(out), proposals)
    rows = [
        {"left": str(p.left), "right": str(p.right), "probability": p.probability}
        for p in proposals
    ]
    if as_json:
        print_json(rows)
        return
    screen = console()
    screen.print(proposals_table(rows))
    if out:
        screen.print(f"wrote {out}; fill in its column label: left, right or tie")
