"""`kpairs data`: where the digits are, and what they look like."""

import click

from kpairs.cli.options import as_json, data_dir, print_json


@click.command()
@click.argument("source", default="mnist")
@data_dir
@click.option("--fetch/--no-fetch", default=True, show_default=True, help="Fetch what is missing.")
@click.option(
    "--sheet", type=click.Path(dir_okay=False), help="Draw labelled pairs to this PNG, PDF or SVG."
)
@click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="Split that the sheet shows.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the sheet."
)
@click.option(
    "--samples",
    type=click.Path(file_okay=False),
    help="Write a test image of each class into this folder, to try 'kpairs predict' on.",
)
@as_json
def data(source, data_dir, fetch, sheet, split, seed, samples, as_json):
    """Show where SOURCE's images are; fetch and check them; draw a sheet of labelled pairs.

    SOURCE is mnist (the default), fashionmnist, kmnist, qmnist, or a folder of your own: IDX files,
    or one folder of images per class, named in rank order, as they are or under train/ and test/.
    """
    from kpairs import draw_pairs, load_digits, seeds
    from kpairs.data.images import write_samples

    splits = {name: load_digits(source, name, data_dir, fetch) for name in ("train", "test")}
    files = []
    if sheet:
        from kpairs.plots import draw_pair_sheet

        digits = splits[split]
        rng = seeds.generator(seed, 1, "pairs")
        pairs = draw_pairs(digits, min(32, len(digits) // 2), rng)
        draw_pair_sheet(pairs, digits.classes, sheet, f"{digits.name}, seed {seed}")
        files.append(sheet)
    if samples:
        files += map(str, write_samples(splits["test"], samples))
    if as_json:
        print_json(
            {
                "source": source,
                "folder": str(splits["train"].folder.absolute()),
                "splits": {name: _facts(digits) for name, digits in splits.items()},
                "written": files,
            }
        )
        return
    from rich.table import Table

    from kpairs.cli.tables import console

    table = Table("split", "images", "pixels", "classes in rank order")
    for name, digits in splits.items():
        facts = _facts(digits)
        height, width = facts["pixels"]
        table.add_row(name, f"{len(digits):,}", f"{height} x {width}", ", ".join(facts["classes"]))
    out = console()
    out.print(table)
    out.print(f"in {splits['train'].folder.absolute()}", soft_wrap=True)
    for file in files:
        out.print(f"wrote {file}", soft_wrap=True)


def _facts(digits):
    return {
        "images": len(digits),
        "pixels": list(digits.images.shape[1:]),
        "classes": list(digits.classes),
    }
