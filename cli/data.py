"""`kpairs data`: where the images are, what they are like, and examples of one's own images."""

import click

from kpairs.cli.options import as_json, classes, columns, data_dir, folder, print_json, seed
from kpairs.data.columns import parse_columns
from kpairs.errors import UsageError

_SPLITS = ("train", "test")


@click.command()
@click.argument("source", required=False)
@click.option("--data", "named", metavar="SOURCE", help="SOURCE, as other commands take it.")
@data_dir
@click.option("--fetch/--no-fetch", default=True, show_default=True, help="Fetch what is missing.")
@classes
@columns
@click.option(
    "--sheet", type=click.Path(dir_okay=False), help="Draw labelled pairs to this PNG, PDF or SVG."
)
@click.option(
    "--split",
    type=click.Choice(_SPLITS),
    default="train",
    show_default=True,
    help="Split that the sheet shows.",
)
@seed
@folder(
    "--samples",
    help="Write a test image of each class into this folder, to try 'kpairs predict' on.",
)
@click.option(
    "--example",
    type=click.Choice(["photographs", "digits"]),
    help="Write graded folders to try one's own images by, into the folder SOURCE: photographs, "
    "degraded by five grades and compared in pairs.csv, or MNIST's digits as PNGs.",
)
@click.option("--clean", is_flag=True, help="Remove the prepared copies of one's own images.")
@as_json
def data(source, named, data_dir, fetch, classes, columns, example, clean, as_json, **pictures):
    """Show where SOURCE's images are; fetch and check them; draw a sheet of labelled pairs.

    SOURCE is mnist (the default), fashionmnist, kmnist, qmnist, or your own: a folder with IDX
    files, a folder with one folder of images per class, as they are or under train/ and test/, a
    CSV file with the columns image, grade and, if it likes, split, or one of compared pairs with
    the columns left, right and label.

    \b
    kpairs data --sheet pairs.png
    kpairs data photos --classes mild,moderate,severe
    kpairs data photos --example photographs
    kpairs data --clean
    """
    if source is not None and named is not None:
        raise click.UsageError("expected SOURCE or --data SOURCE, received both")
    source = next((name for name in (source, named) if name is not None), "mnist")
    if clean or example:
        told = _clean(data_dir) if clean else _write(example, source, data_dir)
        if as_json:
            print_json(told)
        else:
            click.echo(told["said"])
        return
    from kpairs.data.settings import parse_classes

    columns = None if columns is None else parse_columns(columns)
    splits, facts = _look(source, data_dir, fetch, classes and parse_classes(classes), columns)
    written = _written(source, data_dir, splits, facts, columns, **pictures)
    if as_json:
        print_json({"source": source, **facts, "written": written})
        return
    from rich.table import Table

    from kpairs.cli.tables import console

    table = Table("split", *(["pairs"] if "judged" in facts else []), "images", "pixels")
    table.add_column("classes in rank order")
    for name in _SPLITS:
        row = facts["splits"][name]
        counts = (f"{row[what]:,}" for what in ("pairs", "images") if what in row)
        size = " x ".join(map(str, row["pixels"]))
        table.add_row(name, *counts, size, ", ".join(row["classes"]))
    out = console()
    out.print(table)
    if "judged" in facts:
        out.print(facts["judged"], soft_wrap=True)
    if "pictures" in facts:
        out.print(f"{facts['pictures']}; a network sees {facts['network']}", soft_wrap=True)
    out.print(f"in {facts['folder']}", soft_wrap=True)
    for file in written:
        out.print(f"wrote {file}", soft_wrap=True)


def _look(source, data_dir, fetch, classes, columns):
    """Return both splits, and what there is to say of them."""
    from pathlib import Path

    from kpairs import load_digits
    from kpairs.data.sources import is_compared, is_graded

    if not is_graded(source):
        splits = {name: load_digits(source, name, data_dir, fetch) for name in _SPLITS}
        facts = {"folder": str(splits["train"].folder.absolute())}
        pixels = list(splits["train"].images.shape[1:])
    else:
        from kpairs.data.survey import survey

        facts = {"folder": str(Path(source).absolute())}
        if is_compared(source, columns):
            from kpairs.bars import reading
            from kpairs.cli.tables import console
            from kpairs.data.divided import divided_pairs

            with reading(console(stderr=True)) as read:
                division = divided_pairs(source, columns, classes, read)
            splits = {name: getattr(division, name) for name in _SPLITS}
            facts["judged"], pictures = str(division), division.train.pictures
        else:
            from kpairs.data.grades import read_grades

            splits = {name: read_grades(source, name, classes) for name in _SPLITS}
            pictures = splits["train"]
        look = survey(pictures)
        settings = look.settings()
        facts |= {"pictures": str(look), "network": str(settings), "settings": settings.to_dict()}
        pixels = list(settings.shape)
    rows = {}
    for name, part in splits.items():
        counts = {"images": len(part)}
        if "judged" in facts:
            counts = {"pairs": len(part), "images": len(part.files)}
        rows[name] = {**counts, "pixels": pixels, "classes": list(part.classes)}
    return splits, {**facts, "splits": rows}


def _written(source, data_dir, splits, facts, columns, *, sheet, split, seed, samples):
    """Draw the sheet and write the samples that are asked for; the files' names."""
    files = []
    if samples and "judged" in facts:
        raise UsageError("samples: expected images with grades, received compared pairs")
    if sheet:
        from kpairs import draw_pairs, load_digits, seeds
        from kpairs.plots import draw_pair_sheet

        images = splits[split]
        if "settings" in facts:
            order = images.classes or None
            images = load_digits(source, split, data_dir, classes=order, columns=columns)
        count = len(images) if "judged" in facts else len(images) // 2
        pairs = draw_pairs(images, min(32, count), seeds.generator(seed, 1, "pairs"))
        draw_pair_sheet(pairs, images.classes, sheet, f"{images.name}, seed {seed}")
        files.append(sheet)
    if samples:
        from kpairs.data.examples import write_samples

        files += map(str, write_samples(splits["test"], samples))
    return files


def _clean(data_dir):
    from pathlib import Path

    from kpairs.data.cache import clean
    from kpairs.data.sources import cache_root

    files, freed = clean(Path(data_dir or cache_root()))
    said = f"removed {files} files of prepared images, {freed / 1e6:,.1f} MB"
    return {"files": files, "bytes": freed, "said": said}


def _write(example, folder, data_dir):
    from kpairs import load_digits
    from kpairs.data.examples import write_digits, write_photographs

    if example == "photographs":
        counts = write_photographs(folder)
    else:
        digits = {name: load_digits("mnist", name, data_dir) for name in _SPLITS}
        counts = write_digits(digits, folder)
    said = f"wrote {counts['train']:,} train and {counts['test']:,} test images into {folder}"
    if "pairs" in counts:
        said += f", and {counts['pairs']:,} comparisons of them into its pairs.csv"
    return {"folder": folder, **counts, "said": said}
