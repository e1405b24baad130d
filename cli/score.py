"""`kpairs score`: a ranking from judgements, without a trained network."""

import click

from kpairs.cli.options import as_json, columns, images, print_csv, print_json, words


@click.command()
@click.argument("pairs", type=click.Path(dir_okay=False))
@click.option(
    "--features",
    metavar="statistics|FILE.npy",
    help="What images have in common: classical statistics of photographs, or one row of numbers "
    "per image, in the order of the images' names.",
)
@columns
@words
@images
@as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of tables.")
def score(pairs, features, columns, words, images, as_json, as_csv):
    """Rank images by judgements of pairs: scores with 95 % intervals, judges, agreement.

    PAIRS is a table with the columns left, right and label, and judge where several people judged.
    Scores have mean 0 and deviation 1 over the images. Features let judgements of some images tell
    of others; they save most of the judgements where they fit the question.

    \b
    kpairs score pairs.csv
    kpairs score pairs.csv --features statistics --csv > scores.csv
    """
    if as_json and as_csv:
        raise click.UsageError("expected --json or --csv, received both")
    from kpairs.bars import counting
    from kpairs.cli.tables import console, judge_table, score_table
    from kpairs.data.compared import read_compared
    from kpairs.judging import Judgements
    from kpairs.judging import score as scored

    table = read_compared(pairs, columns=columns, words=words, images=images)
    with counting(console(stderr=True), "images") as count:
        known = features and _features(features, table.files, count)
    result = scored(Judgements.of(table), known)
    rows = _rows(table.files, result)
    facts = {
        "expected_tau": result.expected_tau,
        "alpha": None if result.alpha != result.alpha else result.alpha,
        "logits_per_unit": result.logit,
        "notes": result.notes,
        "judges": _judges(table.judge, result.judges),
    }
    if as_csv:
        print_csv(rows, list(rows[0]))
    elif as_json:
        print_json({**facts, "images": rows})
    else:
        screen = console()
        screen.print(score_table(rows, facts))
        screen.print(judge_table(facts["judges"]))
        for note in result.notes:
            screen.print(note)


def _features(name, files, progress):
    """Return prepared features of the files: from a file of numbers, or the images' statistics."""
    import numpy as np

    from kpairs.errors import InputError
    from kpairs.judging import prepare_features

    if name == "statistics":
        from kpairs.models.statistics import file_statistics

        return prepare_features(file_statistics(files, progress))
    try:
        rows = np.load(name, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name}: expected a .npy file with one row of numbers per image, or 'statistics'"
        ) from error
    if len(rows) != len(files):
        raise InputError(
            f"{name}: expected a row for each of {len(files)} images, received {len(rows)}"
        )
    order = np.argsort(np.argsort(np.array(files)))
    return prepare_features(rows[order])


def _rows(files, result):
    order = (-result.score).argsort(kind="stable")
    return [
        {
            "file": files[i],
            "score": float(result.score[i]),
            "low": float(result.low[i]),
            "high": float(result.high[i]),
            "rank": int(result.rank[i]),
            "best": int(result.best[i]),
            "worst": int(result.worst[i]),
            "judgements": int(result.count[i]),
        }
        for i in order
    ]


def _judges(names, judges):
    """Judges as JSON; a share is a number with its interval, None where nothing was compared."""
    import numpy as np

    known = [""] if names is None else np.unique(names).tolist()

    def told(share):
        return [share.value, share.low, share.high] if share.of else None

    return [
        {
            "judge": known[one.judge],
            "judgements": one.count,
            "agreement": told(one.agreement),
            "consistency": told(one.consistency),
            "right_side": told(one.right_side),
            "slope": one.slope,
            "pull": one.pull,
            "counts": one.counts,
        }
        for one in judges
    ]
