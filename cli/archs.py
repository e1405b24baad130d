"""`kpairs archs`: the table of architectures, and one of them in full."""

import click

from kpairs.cli import options as shared

_MOST_REPORTED = 24


@click.command()
@click.argument("name", required=False, shell_complete=shared.architecture_names)
@shared.file("--plot", help="Draw NAME's graph to this PNG, PDF or SVG.")
@shared.imports
@shared.force
@shared.as_json
def archs(name, plot, as_json, imports, force):
    """List the architectures, or show NAME: its layers, recipe and reported results.

    The table has each one's trainable parameters beside those that its report states; where they
    differ, the reason stands below.
    """
    from kpairs.files import check_output

    shared.import_own(imports)
    if plot and not name:
        raise click.UsageError("--plot expects the NAME of an architecture")
    if plot:
        check_output(plot, force=force)
    if name:
        _show(name, plot, as_json)
        return
    from kpairs.networks import ARCHS
    from kpairs.reports import REPORTS

    order = list(REPORTS)
    names = sorted(ARCHS, key=lambda n: [r == ARCHS[n].report for r in order], reverse=True)
    shared.show([_row(n) for n in names], as_json, _tables)


def _tables(rows):
    """Yield the table of all architectures, and why some parameters differ."""
    from rich.table import Table

    from kpairs.cli.tables import report_title

    table = Table("name", "report", "tells too")
    for heading in ("parameters", "stated", "agree"):
        table.add_column(heading, justify="right")
    for row in rows:
        stated = row["stated_parameters"]
        table.add_row(
            row["name"],
            report_title(row["report"]),
            _in_words(row["outputs"]),
            f"{row['parameters']:,}",
            f"{stated:,}" if stated else "-",
            {True: "yes", False: "no", None: "-"}[row["agrees"]],
        )
    yield table
    yield from (f"{row['name']}: {row['reason']}" for row in rows if row["agrees"] is False)


def _in_words(outputs):
    """Say what there is beside the comparison, both images' outputs by one word: scores, digits."""
    sides = [name.removeprefix("left_") for name in outputs if name.startswith("left_")]
    further = [name for name in outputs[1:] if not name.startswith(("left_", "right_"))]
    return ", ".join([*(f"{word}s" for word in sides), *further]) or "-"


def _row(name, model=None):
    from kpairs.models.registry import trainable_parameters
    from kpairs.networks import ARCHS, build
    from kpairs.reports.reported import stated_parameters

    architecture = ARCHS[name]
    parameters = trainable_parameters(model or build(name))
    stated = stated_parameters(architecture.report, name)
    return {
        "name": name,
        "report": architecture.report,
        "source": architecture.source,
        "outputs": list(architecture.outputs),
        "parameters": parameters,
        "stated_parameters": int(stated.mean) if stated else None,
        "agrees": stated.mean == parameters if stated else None,
        "reason": stated.note if stated and stated.mean != parameters else None,
    }


def _show(name, plot, as_json):
    from dataclasses import asdict

    from kpairs.reports.resolve import recipe_of

    recipe = recipe_of(name)
    from kpairs.models.diagram import draw_graph, layer_rows
    from kpairs.networks import ARCHS, build
    from kpairs.reports import REPORTS
    from kpairs.reports.reported import reported

    model, architecture = build(name), ARCHS[name]
    row, layers = _row(name, model), layer_rows(model)
    stated = reported(architecture.report) if architecture.report in REPORTS else []
    numbers = [r for r in stated if r.arch == name]
    # Of many sizes, those of the recipe come first.
    own = "-".join(map(str, recipe.network.options.get("widths", ())))
    numbers.sort(key=lambda r: r.table == "Figure 1" and not r.setting.endswith(f" {own}"))
    if plot:
        title = f"{name}, {row['parameters']:,} parameters"
        draw_graph(model, plot, title, recipe.fit.loss_weights)
    facts = {"layers": layers, "recipe": recipe.model_dump()}
    told = {**row, **facts, "reported": [asdict(r) for r in numbers]}
    shared.show(told, as_json, lambda _: _parts(row, layers, recipe, numbers))
    if plot and not as_json:
        click.echo(f"wrote {plot}")


def _parts(row, layers, recipe, numbers):
    """Yield the tables of one architecture."""
    from rich.table import Table

    from kpairs.cli.tables import layer_table, report_title
    from kpairs.networks import ARCHS
    from kpairs.numbers import plus_minus

    yield f"{row['name']} - {report_title(row['report'])}, {row['source']}"
    yield ARCHS[row["name"]].function.__doc__
    yield layer_table(layers)
    settings = Table(title="recipe", title_justify="left", show_header=False)
    values = recipe.flat()
    for key, value in {**values, **values.pop("arch_options")}.items():
        if value is not None and key != "word":
            settings.add_row(key.replace("_", " "), str(value))
    yield settings
    claims = Table("table", "setting", "metric", "reported", "rounds", "note", title="reported")
    for r in numbers[:_MOST_REPORTED]:
        rounds = str(r.rounds or "")
        claims.add_row(r.table, r.setting, r.metric, plus_minus(r.mean, r.std), rounds, r.note)
    if numbers:
        yield claims
    if len(numbers) > _MOST_REPORTED:
        yield f"and {len(numbers) - _MOST_REPORTED} more, which --json lists"
    if row["agrees"] is False:
        yield f"stated parameters: {row['reason']}"
