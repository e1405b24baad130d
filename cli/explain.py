"""`kpairs explain`: which places of an image a score or a comparison rests on."""

from pathlib import Path

import click

from kpairs.cli.options import as_json, force, print_json


@click.command()
@click.argument("model", metavar="RUN|MODEL.onnx", type=click.Path())
@click.argument("left", metavar="A", type=click.Path())
@click.argument("right", metavar="[B]", type=click.Path(), required=False)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="Draw the images and their maps to this PNG, JPEG or WebP.",
)
@force
@as_json
def explain(model, left, right, out, force, as_json):
    """Draw which places of image A raise or lower its score; with B, which decide.

    Bright places speak for an image, dark ones against it, also printed in grey. With B, each image
    is held against the other, and both maps have one scale.

    Where a score is linear in means over the image (`linear` on lite0 and other networks), the map
    is exact: the contributions of all places add up to the score. For other networks each place is
    hidden in turn, and the map shows the change. The picture names its method. An exported file
    needs neither keras nor torch; a run is exported first.

    \b
    kpairs explain runs/photos a.png --out map.png
    kpairs explain runs/photos/linear.onnx a.png b.png --out map.png
    """
    from kpairs.cli.rank import split_models
    from kpairs.exports.runtime.explain import explanation_row
    from kpairs.exports.runtime.heat import caption, draw_explanation
    from kpairs.exports.runtime.sheet import check_sheet_name
    from kpairs.files import check_output

    images = [name for name in (left, right) if name is not None]
    if out:
        check_sheet_name(out)
        check_output(out, [model, *images], force=force)
    (loaded,), _ = split_models([model, *images])
    found = loaded.explain(*images)
    if out:
        draw_explanation(found, [Path(name).name for name in images], Path(out))
    if as_json:
        print_json(explanation_row(found, images))
        return
    for name, value in zip(images, found.values, strict=True):
        click.echo(f"{name}: {value:+.3f}")
    click.echo("\n".join(caption(found)))
    click.echo(f"wrote {out}" if out else "add --out map.png to draw the map")
