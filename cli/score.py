"""`kpairs score`: a ranking from judgements, without a trained network."""

import click

from kpairs.cli import options as shared
from kpairs.cli import shortest
from kpairs.cli.judged import features, find_features, read_arguments


@click.command()
@click.argument("arguments", metavar="PAIRS.csv... [IMAGES]... [MODEL.onnx]...", nargs=-1)
@features
@shared.option(
    "--stop-at",
    type=click.FloatRange(0, 1),
    default=0.8,
    help="Expected Kendall's tau at which enough is judged.",
)
@shared.top
@shared.by_group
@shared.group
@shared.sheet
@shared.file("--plot", help="Draw scores and intervals to this PNG, PDF or SVG.")
@shared.table
@shared.white
@shared.force
@shared.as_json
@shared.as_csv
def score(arguments, features, stop_at, top, by, sheet, plot, white, force, as_json, as_csv, **how):
    """Rank images by judgements of pairs: scores with 95 % intervals, judges, agreement.

    PAIRS.csv are tables with the columns left, right and label, and judge where several people
    judged. IMAGES, such as a folder, are ranked too, judged or not: judgements of some images tell
    of others by their features. Scores have mean 0 and deviation 1 over the images.

    \b
    kpairs score pairs.csv
    kpairs score pairs.csv photographs --csv > scores.csv
    kpairs score pairs.csv photographs --group folder --by group --top 1
    """
    from kpairs.bars import counting
    from kpairs.cli.image_tables import judge_table, ranked_groups, score_table, write_sheet
    from kpairs.errors import UsageError
    from kpairs.exports.runtime.sheet import check_sheet_name
    from kpairs.files import check_output
    from kpairs.judging import score as scored

    if sheet:
        check_sheet_name(sheet)
    judgements, models, tables = read_arguments(arguments, **how)
    if not tables:
        raise UsageError(
            "expected a table of judged pairs, as 'kpairs label' writes one; received none"
        )
    for picture in filter(None, (sheet, plot)):
        check_output(picture, [*arguments, *judgements.files], force=force)
    if plot:
        from kpairs.plots import check_picture_name, draw_intervals

        check_picture_name(plot)
    with counting(shared.console(stderr=True), "images") as count:
        known = find_features(features, models, judgements.files, count, white, how["images"])
    result = scored(judgements, known)
    rows = result.rows()
    if by:
        rows = ranked_groups(rows, judgements.files, judgements.group, top)
    rows = [{**row, "file": shortest(row["file"])} for row in (rows if by else rows[:top])]
    facts = _facts(result, stop_at)
    if sheet:
        write_sheet(rows, sheet, white)
    if plot:
        draw_intervals(rows, plot, f"{len(judgements):,} judgements, 95 % intervals")
    if as_csv:
        shared.print_csv(rows, list(rows[0]))
        return
    tables = score_table(rows, facts), judge_table(facts["judges"], facts["alpha"])
    texts = *result.notes, _advice(facts)
    shared.show({**facts, "images": rows}, as_json, lambda _: [*tables, *texts])


def _facts(result, stop_at):
    """Return what is known of the ranking as a whole, JSON-ready."""
    judges = result.posterior.judgements.judges
    return {
        "expected_tau": result.expected_tau,
        "gain": result.gain,
        "gained_by": result.last,
        "enough": result.stop(stop_at),
        "alpha": None if result.alpha != result.alpha else result.alpha,
        "logits_per_unit": result.logit,
        "notes": result.notes,
        "judges": [one.row(judges) for one in result.judges],
    }


def _advice(facts):
    """Say whether more judgements are worth their time."""
    if facts["enough"]:
        return f"Enough is judged: {facts['enough']}."
    said = "More judgements would improve the order: kpairs label or kpairs next-pairs."
    if facts["gain"] is None:
        return said
    return f"The last {facts['gained_by']} judgements gained {facts['gain']:.2f}. {said}"
