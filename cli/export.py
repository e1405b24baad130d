"""`kpairs export`: from a run to a file that onnxruntime runs."""

import click

from kpairs.cli.options import as_json, data_dir, print_json


@click.command()
@click.argument("run", required=False)
@click.option("--onnx", is_flag=True, help="Write ONNX, the default format.")
@click.option(
    "--round",
    "number",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Round whose model is exported.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False), help="File to write.  [default: RUN/<arch>.onnx]"
)
@data_dir
@as_json
def export(run, onnx, number, out, data_dir, as_json):
    """Export a model of RUN, by default the latest in runs/, and check it against Keras.

    The file is written only if onnxruntime gives Keras' outputs and decisions on all test pairs.
    An earlier export of the same name is replaced.
    """
    from kpairs import Run
    from kpairs.exports.onnx import export_run

    run = Run.latest() if run is None else Run.open(run)
    path, nodes, parity = export_run(run, number, out, data_dir)
    if as_json:
        print_json(
            {
                "file": str(path),
                "round": number,
                "bytes": path.stat().st_size,
                "nodes": nodes,
                "pairs": parity.pairs,
                "batches": parity.batches,
                "max_difference": parity.max_difference,
                "max_value": parity.max_value,
            }
        )
        return
    from kpairs.cli.tables import console

    screen = console()
    batches = ", ".join(map(str, parity.batches))
    lines = [
        f"wrote {path} (round {number}, {path.stat().st_size:,} bytes, {nodes} nodes)",
        f"onnxruntime agrees with Keras on {parity.pairs} test pairs at batch {batches}:",
        *(
            f"  {name}: largest difference {d:.1e} (values up to {parity.max_value[name]:.3g})"
            for name, d in parity.max_difference.items()
        ),
        "  every decision is the same",
        f"next: kpairs predict {path} LEFT.png RIGHT.png",
    ]
    screen.print("\n".join(lines), soft_wrap=True)
