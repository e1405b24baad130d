"""Tables of `kpairs bench`. They import rich."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from kpairs.cli.tables import Row, new_table

_RUNNERS = {"engine": "kpairs", "tuned": "tuned PyTorch", "torch": "PyTorch", "keras": "Keras"}
_SHOWN = 12  # operations of a profile


def bench_tables(result: Row) -> tuple[Table, ...]:
    """Print the tables of `kpairs bench train`."""
    others = [kind for kind in _RUNNERS if kind != "engine"]
    shares = (f"kpairs/{_RUNNERS[kind]}" for kind in others)
    title = "milliseconds per training step"
    steps = new_table([""], [*_RUNNERS.values(), *shares, "95 % interval"], title=title)
    for row in result["cases"]:
        cells = [row.get(f"{kind}_ms") for kind in _RUNNERS]
        cells += [row.get(f"engine_over_{kind}") for kind in others]
        interval = row["engine_over_tuned_95"]
        between = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "-"
        steps.add_row(row["case"], *("-" if c is None else f"{c:.2f}" for c in cells), between)
    if result["memory"]:
        memory = (result["memory"][kind] for kind in _RUNNERS)
        steps.add_section()
        name = f"peak memory, {result['memory']['case']}"
        steps.add_row(name, *(f"{m:,.0f} MiB" if m else "-" for m in memory))
    ours = f"kpairs, {result['rounds'][0]['jobs']} jobs"
    names = [ours, _RUNNERS["tuned"], f"kpairs/{_RUNNERS['tuned']}"]
    rounds = new_table([""], names, title="seconds for whole rounds")
    for row in result["rounds"]:
        seconds = (f"{row[name]:.1f}" for name in ("engine_s", "tuned_s"))
        rounds.add_row(row["case"], *seconds, f"{row['engine_over_tuned']:.2f}")
    profiles = [_profile_table(row) for row in result["cases"] if "profile" in row]
    return steps, rounds, *profiles


def _profile_table(case: Row) -> Table:
    title = f"where a step goes: {case['case']}, profiled"
    table = new_table(["operation"], ["ms", "calls"], title=title)
    for row in case["profile"][:_SHOWN]:
        table.add_row(row["operation"], f"{row['ms']:.3f}", f"{row['calls']:.1f}")
    rest = case["profile"][_SHOWN:]
    sums = (sum(row[name] for row in rest) for name in ("ms", "calls"))
    table.add_row("all others", *(f"{value:.{n}f}" for value, n in zip(sums, (3, 1), strict=True)))
    return table


def rank_bench_table(result: Row) -> Table:
    """Print the table of `kpairs bench rank`."""
    names = list(result["runners"])
    others = [name for name in names if name != "kpairs"]
    numbers = *names, *(f"kpairs/{name}" for name in others), "peak MiB"
    table = new_table([""], numbers, title="images per second of one core")
    for row in result["rows"]:
        speeds = (f"{row['images_per_core_second'][name]:,.0f}" for name in names)
        ratios = (f"{row['kpairs_over'][name]:.2f}" for name in others)
        peak = row["peak_mib"]["kpairs"]
        memory = f"{peak:,.0f}" if peak else "-"
        table.add_row(f"{row['network']}, {row['pictures']}", *speeds, *ratios, memory)
    return table


def judging_tables(
    means: Sequence[Row], truths: Mapping[str, str], methods: Mapping[str, str]
) -> Iterator[Table | str]:
    """Yield the tables of `kpairs bench judging`: one per truth, and the methods in words."""
    counts = sorted({row["judgements"] for row in means})
    for truth in dict.fromkeys(row["truth"] for row in means):
        rows = [row for row in means if row["truth"] == truth]
        title = f"Kendall's tau with the truth after judgements: {truth} ({truths[truth]})"
        table = new_table(["method"], [f"{count:,}" for count in counts], title=title)
        lines = (
            ("tau", ""),
            ("tau_unseen", ", unseen"),
            ("coverage", ", coverage of intervals"),
            ("coverage_pairs", ", coverage of differences"),
        )
        for method in dict.fromkeys(row["method"] for row in rows):
            cells = {row["judgements"]: row for row in rows if row["method"] == method}
            for measure, name in lines:
                values = [cells[count][measure] for count in counts]
                if values[0] is not None:
                    table.add_row(f"{method}{name}", *(f"{value:.2f}" for value in values))
        yield table
    yield "\n".join(f"{name}: {methods[name]}" for name in {row["method"]: 0 for row in means})


def inference_tables(result: Row) -> Iterator[Table | str]:
    """Print the tables of `kpairs bench infer`: one per model and number of threads."""
    peaks = {peak["threads"]: peak["gflops"] for peak in result["peaks"]}
    for model in result["models"]:
        flops = f"{model['flops_per_pair'] / 1e6:.2f} MFLOP per pair"
        for threads, peak in peaks.items():
            place = f"{model['model']}, {threads} thread{'s' * (threads > 1)}"
            title = f"{place}: {flops}, matrix product {peak:.0f} GFLOP/s"
            own = model["model"], threads
            rows = [row for row in result["rows"] if (row["model"], row["threads"]) == own]
            yield _inference_table(rows, title)
        for runner, reason in model["skipped"].items():
            yield f"{runner} is missing: {reason}"
    yield "\n".join(
        [
            *(f"{name}: {text}" for name, text in result["runners"].items()),
            "of product: share of the matrix product's speed, both at their fastest call",
        ]
    )


def _inference_table(rows: Sequence[Row], title: str) -> Table:
    numbers = "p50 µs", "p95 µs", "p99 µs", "pairs/s", "of product", "time/onnx"
    table = new_table(("batch", "runner"), numbers, title=title)
    table.columns[0].justify = "right"
    for before, row in zip([None, *rows], rows, strict=False):
        first = before is None or before["batch"] != row["batch"]
        if first and before is not None:
            table.add_section()
        times = (f"{row[key]:,.0f}" for key in ("p50_us", "p95_us", "p99_us", "pairs_per_s"))
        share = f"{100 * row['share_of_peak']:.1f} %"
        batch = str(row["batch"]) if first else ""
        table.add_row(batch, row["runner"], *times, share, f"{row['over_onnx']:.2f}")
    return table
