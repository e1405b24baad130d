"""`kpairs data`: where the images are, what they are like, and examples of one's own images."""

import click

from kpairs.cli import options as shared
from kpairs.cli import shown

_SPLITS = ("train", "test")


@click.command()
@click.argument("source", required=False)
@click.option("--data", "named", metavar="SOURCE", help="SOURCE, as other commands take it.")
@shared.data_dir
@shared.option("--fetch/--no-fetch", default=True, help="Fetch what is missing.")
@shared.classes
@shared.table
@shared.group
@shared.white
@shared.file("--sheet", help="Draw labelled pairs to this PNG, PDF or SVG.")
@shared.choice("--split", *_SPLITS, default="train", help="Split that the sheet shows.")
@shared.seed
@shared.folder(
    "--samples",
    help="Write a test image of each class into this folder, to try 'kpairs predict' on.",
)
@shared.choice(
    "--example",
    *("photographs", "digits"),
    help="Write graded folders to try one's own images by, into the folder SOURCE: photographs, "
    "degraded by five grades and compared in pairs.csv, or MNIST's digits as PNGs.",
)
@click.option("--clean", is_flag=True, help="Remove the prepared copies of one's own images.")
@shared.force
@shared.as_json
def data(source, named, data_dir, fetch, example, clean, as_json, force, **options):
    """Show where SOURCE's images are; fetch and check them; draw a sheet of labelled pairs.

    SOURCE is mnist (the default), fashionmnist, kmnist, qmnist, or your own: a folder with IDX
    files, a folder with one folder of images per class, as they are or under train/ and test/, a
    table with the columns image and grade or score, or one of compared pairs with the columns
    left, right and label. Of a table the first rows are said in words: check their direction.

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
        shared.show(told, as_json, lambda told: [told["said"]])
        return
    if options["sheet"]:
        from kpairs.files import check_output

        check_output(options["sheet"], [source], force=force)
    drawn = {name: options.pop(name) for name in ("sheet", "split", "seed", "samples")}
    found = _open(source, options, data_dir, fetch)
    facts = _facts(found)
    written = _written(found, facts, **drawn)
    shared.show({"source": source, **facts, "written": written}, as_json, _tables)


def _tables(facts):
    """Yield the table of a source's splits, and sentences about it."""
    from rich.table import Table

    from kpairs.cli.image_tables import judge_table

    counts = [name for name in ("pairs", "images") if name in next(iter(facts["splits"].values()))]
    classed = any(row["classes"] for row in facts["splits"].values())
    table = Table("split", *counts, "pixels", *["classes in rank order"] * classed)
    for name, row in facts["splits"].items():
        size = " x ".join(map(str, row["pixels"]))
        classes = [", ".join(row["classes"])] * classed
        table.add_row(name, *(f"{row[n]:,}" for n in counts), size, *classes)
    yield table
    yield from (shown(facts[name]) for name in ("said", "pictures", "kept") if name in facts)
    if "judges" in facts:
        yield judge_table(facts["judges"], facts["alpha"])
    yield from facts.get("examples", ())
    yield shown(f"read from {facts['folder']}")
    yield from (f"wrote {file}" for file in facts["written"])


def _open(source, how, data_dir, fetch):
    from kpairs.bars import reading
    from kpairs.data.source import open_source

    with reading(shared.console(stderr=True)) as read:
        return open_source(source, **how, root=data_dir, fetch=fetch, progress=read)


def _facts(source):
    """Return a source's facts, JSON-ready."""
    from kpairs.data.cache import usage

    if source.word == "digit":
        splits = {name: source.split(name) for name in _SPLITS}
        rows = {
            name: {
                "images": len(part),
                "pixels": list(part.images.shape[1:]),
                "classes": list(part.classes),
            }
            for name, part in splits.items()
        }
        return {"folder": str(splits["train"].folder.absolute()), "splits": rows}
    whole = source.whole()  # of a table that tells no split
    undivided = whole is not source
    settings = whole.settings()
    rows = {
        name: {
            **whole.counts(_SPLITS[0] if undivided else name),
            "pixels": list(settings.shape),
            "classes": list(source.classes),
        }
        for name in (("all",) if undivided else _SPLITS)
    }
    said = whole.describe()
    if undivided:
        said += "; networks other than linear test on a fifth of the images"
    facts = {"folder": source.name, "said": said, "splits": rows}
    facts["pictures"] = f"a network sees {settings}"
    if source.vectors is None:
        facts["pictures"] = (
            f"images are {whole.look}; a network sees {settings}; linear and linear_grades see "
            "larger images in more detail, about 128x128 pixels"
        )
    facts["settings"] = settings.to_dict()
    files, size = usage(source.root)
    facts["kept"] = (
        f"prepared images of all sources: {files} files, {size / 1e6:,.1f} MB in {source.root} "
        "(--clean removes them)"
    )
    if source.judged:
        facts["examples"] = source.examples()
        if source.listed.judge is not None:
            facts |= _judges(source.listed)
    return facts


def _judges(listed):
    """Return what the table says of who judged: no fit, as 'kpairs score' makes one."""
    from kpairs.judging import Judgements, alpha, describe_judges

    answers = Judgements.of(listed)
    found = alpha(answers)
    rows = [one.row(answers.judges) for one in describe_judges(answers)]
    return {"judges": rows, "alpha": None if found != found else found}


def _written(source, facts, *, sheet, split, seed, samples):
    """Draw the sheet and write the samples that are asked for; return the files' names."""
    files = []
    if source.vectors is not None and (sheet or samples):
        raise click.UsageError("--sheet and --samples: expected images, received features")
    if sheet:
        from kpairs import draw_pairs, seeds
        from kpairs.plots import draw_pair_sheet

        images = source.whole().split(split)
        count = min(32, len(images) if source.judged else len(images) // 2)
        pairs = draw_pairs(images, count, seeds.generator(seed, 1, "pairs"))
        draw_pair_sheet(pairs, images.classes, sheet, f"{images.name}, seed {seed}")
        files.append(sheet)
    if samples:
        from kpairs.data.examples import write_samples

        files += map(str, write_samples(source, samples))
    return files


def _clean(data_dir):
    from pathlib import Path

    from kpairs.data.cache import clean
    from kpairs.data.source import cache_root

    files, freed = clean(Path(data_dir or cache_root()))
    said = f"removed {files} files of prepared images, {freed / 1e6:,.1f} MB"
    return {"files": files, "bytes": freed, "said": said}


def _write(example, folder, data_dir):
    from kpairs.data.examples import write_digits, write_photographs
    from kpairs.data.source import open_source

    if example == "photographs":
        counts = write_photographs(folder)
    else:
        mnist = open_source("mnist", root=data_dir)
        digits = {name: mnist.split(name) for name in _SPLITS}
        counts = write_digits(digits, folder)
    said = f"wrote {counts['train']:,} train and {counts['test']:,} test images into {folder}"
    if "pairs" in counts:
        said += f", and {counts['pairs']:,} comparisons of them into its pairs.csv"
    return {"folder": folder, **counts, "said": said}
