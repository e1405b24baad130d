"""`kpairs next-pairs`: which pairs to ask a person about."""

from pathlib import Path

import click

from kpairs.cli import options as shared
from kpairs.cli import shortest
from kpairs.cli.judged import features, find_features, read_arguments


def _share(flag, default, help):
    return shared.option(flag, type=click.FloatRange(0, 1), default=default, help=help)


@click.command("next-pairs")
@click.argument("arguments", metavar="IMAGES... [PAIRS.csv]... [MODEL.onnx]...", nargs=-1)
@shared.count("--count", default=20, help="How many pairs.")
@shared.file(
    "--out",
    help="CSV file with the columns left, right, an empty label and reason, to be filled in.",
)
@click.option("--judge", metavar="NAME", help="Who is asked; nobody is asked about a pair twice.")
@shared.file(
    "--known",
    multiple=True,
    help="CSV of pairs, with columns left and right, that wait for an answer; may be repeated.",
)
@_share("--random", 0.15, "Share of pairs drawn at random; they check the intervals of scores.")
@_share("--repeat", 0.0, "Share of pairs that the judge has answered once.")
@_share("--overlap", 0.0, "Share of pairs that other judges have answered.")
@shared.option(
    "--gap",
    type=click.FloatRange(0),
    default=0.0,
    help="Least predicted difference in logits, for people's patience; 1 costs about 30 % more "
    "judgements.",
)
@shared.group
@shared.choice("--pairs-within", "group", help="Ask about images of one group alone.")
@features
@shared.table
@shared.white
@shared.seed
@shared.force
@shared.as_json
def next_pairs(
    arguments, count, out, judge, known, pairs_within, features, white, force, as_json, **how
):
    """Propose the pairs of images that are most worth asking a person about.

    IMAGES are image files, folders, or .csv files with a column image or file. PAIRS.csv are the
    answers so far; without them the first pairs are drawn by chance. Every other pair is the one
    whose answer sorts the order of all images best. In the file, fill in label: left, right or tie,
    whichever ranks higher. Scores of exported models may stand in for the images' features.

    \b
    kpairs next-pairs photographs --out ask-1.csv
    kpairs next-pairs photographs ask-1.csv --out ask-2.csv
    kpairs score ask-1.csv ask-2.csv photographs
    """
    from kpairs.bars import counting
    from kpairs.cli.image_tables import proposals_table
    from kpairs.data.groups import number_groups
    from kpairs.errors import UsageError
    from kpairs.files import check_output
    from kpairs.judging import fit, fit_judges, propose
    from kpairs.judging.questions import check_names, write_questions

    shares = {name: how.pop(name) for name in ("random", "repeat", "overlap", "gap", "seed")}
    judgements, models = _read(arguments, pairs_within, how)
    files = judgements.files
    if out:
        check_names(files)
        check_output(out, [*arguments, *files, *known], force=force)
    with counting(shared.console(stderr=True), "images") as counted:
        found = find_features(features, models, files, counted, white)
    posterior, _ = fit_judges(fit(judgements, found))
    names = judgements.judges
    proposals = propose(
        posterior,
        count,
        judge=names.index(judge or "") if (judge or "") in names else len(names),
        group=number_groups(judgements.group) if pairs_within else None,
        asked=_waiting(known, how["columns"], files),
        **shares,
    )
    if not proposals:
        raise UsageError("no pair is left that was not asked about")
    if out:
        write_questions(Path(out), files, proposals, judge)
    rows = [
        {
            "left": shortest(files[p.left]),
            "right": shortest(files[p.right]),
            "probability": p.probability,
            "reason": p.reason,
        }
        for p in proposals
    ]
    written = [f"wrote {out}; fill in its column label: left, right or tie"] if out else []
    shared.show(rows, as_json, lambda rows: [proposals_table(rows), *written])


def _read(arguments, within, how):
    """Return the answers so far, which name all images, and the models."""
    from kpairs.data.vectors import are_vectors

    if how["images"] is not None and are_vectors(how["images"]):
        raise click.UsageError(
            "--images: expected a folder, received features; pairs are of images"
        )
    judgements, models, _ = read_arguments(arguments, **how)
    if len(judgements.files) < 2:
        raise click.UsageError(f"expected at least two images, received {len(judgements.files)}")
    if within and judgements.group is None:
        raise click.UsageError("--pairs-within group: add --group folder, or a column group")
    return judgements, models


def _waiting(known, columns, files):
    """Return the pairs that tables name, as numbers of the images."""
    from os.path import realpath

    from kpairs.exports.runtime.sources import listed_pairs

    number = {realpath(file): i for i, file in enumerate(files)}
    pairs = [pair for name in known for pair in listed_pairs(Path(name), columns)]
    found = [[number.get(realpath(file)) for file in pair] for pair in pairs]
    return [pair for pair in found if None not in pair]
