"""`kpairs explain`: which places of an image a score or a comparison rests on."""

from pathlib import Path

import click

from kpairs.cli.models import is_model, latest_run, model_file
from kpairs.cli.options import as_argument, as_json, file, force, show


@click.command()
@click.argument("names", metavar="[RUN|MODEL.onnx] A [B]", nargs=-1, type=click.Path())
@file("--out", help="Draw the images and their maps to this PNG, JPEG or WebP.")
@force
@as_json
def explain(names, out, force, as_json):
    """Draw which places of image A raise or lower its score; with B, which decide.

    Without a RUN or MODEL.onnx the latest run in runs/ is explained. Bright places speak for an
    image, dark ones against it, also printed in grey. With B, each image is held against the other,
    and both maps have one scale.

    Where a score is linear in means over the image (`linear` on lite0 and other networks), the map
    is exact: the contributions of all places add up to the score. For other networks each place is
    hidden in turn, and the map shows the change. The picture names its method. An exported file
    needs neither keras nor torch; a run is exported first.

    \b
    kpairs explain photos/1.png --out map.png
    kpairs explain runs/photos photos/1.png photos/2.png --out map.png
    """
    own = len(names) > 2 or (bool(names) and is_model(names[0]))
    images = names[1:] if own else names
    if not 1 <= len(images) <= 2:
        run = as_argument(names[0]) if own else "runs/photos"
        raise click.UsageError(
            f"expected one image or two, received {len(images)}; such as: kpairs explain {run} "
            "photos/1.png --out map.png"
        )
    from kpairs.exports.runtime import PairModel
    from kpairs.exports.runtime.explain import explanation_row
    from kpairs.exports.runtime.heat import caption, draw_explanation
    from kpairs.exports.runtime.sheet import check_sheet_name
    from kpairs.files import check_output

    if out:
        check_sheet_name(out)
        check_output(out, names, force=force)
    found = PairModel.load(model_file(names[0] if own else latest_run())).explain(*images)
    if out:
        draw_explanation(found, [Path(name).name for name in images], Path(out))
    values = (f"{name}: {value:+.3f}" for name, value in zip(images, found.values, strict=True))
    written = f"wrote {out}" if out else "add --out map.png to draw the map"
    lines = [*values, *caption(found), written]
    show(explanation_row(found, images), as_json, lambda _: lines)
