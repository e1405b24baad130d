"""`kpairs predict`: which of two image files ranks higher, by onnxruntime alone."""

import click

from kpairs.cli.options import as_json, print_json


@click.command()
@click.argument("model", type=click.Path())
@click.argument("left", type=click.Path())
@click.argument("right", type=click.Path())
@as_json
def predict(model, left, right, as_json):
    """Compare the images LEFT and RIGHT with an exported MODEL.onnx.

    Images are bright digits on black, 14x14 pixels or a square whose side is a multiple of 14
    (28x28 as in MNIST). Needs neither keras nor torch.
    """
    from kpairs.data.images import read_image
    from kpairs.exports.runtime import PairModel

    images = read_image(left), read_image(right)
    loaded = PairModel.load(model)
    rows = loaded.predict_probabilities(*images)
    holds = float(rows["comparison"][0, 1])
    answer = {
        "left": left,
        "right": right,
        "left_not_higher": holds >= 0.5,
        "probability": holds,
    }
    for side in ("left", "right"):
        if (name := f"{side}_digit") in rows:
            best = int(rows[name][0].argmax())
            answer[name] = loaded.classes[best]
            answer[f"{name}_probability"] = float(rows[name][0, best])
    if as_json:
        print_json(answer)
        return
    for side in ("left", "right"):
        if (name := f"{side}_digit") in answer:
            seen = f"{answer[name]} ({answer[f'{name}_probability']:.1%})"
            click.echo(f"{side:<5} {answer[side]}: {seen}")
    relation, sure = ("<=", holds) if answer["left_not_higher"] else (">", 1 - holds)
    click.echo(f"left {relation} right ({sure:.1%})")
