"""`kpairs export`: from a run to files that onnxruntime or PyTorch run."""

import os

import click

from kpairs.cli import options as shared
from kpairs.exports.writing.formats import FORMATS, OPSET


def _formats(command):
    """Add a flag for each format."""
    for format_ in reversed(FORMATS.values()):
        command = click.option(f"--{format_.name}", is_flag=True, help=format_.help)(command)
    return command


@click.command()
@click.argument("run", required=False)
@_formats
@shared.count("--opset", most=1000, default=OPSET, help="Version of the ONNX operators.")
@shared.count("--round", "number", default=1, help="Round whose model is exported.")
@shared.file(
    "--out",
    help="File to write; of several formats, each gets its own ending.  [default: RUN/<arch>.onnx]",
)
@shared.data_dir
@shared.imports
@shared.force
@shared.as_json
def export(run, number, out, opset, data_dir, as_json, imports, force, **formats):
    """Export a model of RUN, by default the latest in runs/, and check it against Keras.

    Files are written only if onnxruntime, or PyTorch, gives Keras' outputs and decisions on all
    test pairs. Beside each stand a description (.json) and a model card (.md). An earlier export of
    the same name is replaced, another file only with --force. Runs trained on jax or tensorflow are
    exported by torch too.
    """
    os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported, whatever trained the run
    shared.import_own(imports)
    from kpairs import Run

    run = Run.latest() if run is None else Run.open(run)

    chosen = [name.replace("_", "-") for name, wanted in formats.items() if wanted] or ["onnx"]
    with shared.console(stderr=True).status(f"exporting round {number} of {run.path}"):
        from kpairs import export as export_models  # it takes seconds

        how = {"number": number, "formats": chosen, "opset": opset, "force": force}
        exports = export_models(run, out, **how, data_root=data_dir)
    rows = [{**export.description, "file": str(export.path)} for export in exports]
    told = {"run": str(run.path), "round": number, "exports": rows}
    shared.show(told, as_json, lambda _: _lines(exports, number))


def _lines(exports, number):
    for export in exports:
        yield from _lines_of(export, number)
    first = {row.path.suffix: shared.as_argument(row.path) for row in reversed(exports)}
    if ".html" in first:
        yield f"next: open {first['.html']} in a browser"
    if ".onnx" in first:
        ranks = "left_score" in exports[0].description["outputs"]
        words = ("rank", "IMAGES") if ranks else ("predict", "LEFT.png RIGHT.png")
        yield f"next: kpairs {words[0]} {first['.onnx']} {words[1]}"


def _lines_of(export, number):
    d, parity, q = export.description, export.parity, export.quantization
    nodes = f", {d['nodes']} nodes" if "nodes" in d else ""
    yield f"wrote {export.path} (round {number}, {d['bytes']:,} bytes{nodes})"
    if parity:
        batches = ", ".join(map(str, parity.batches))
        engine = d.get("checked_by") or FORMATS[export.format].engine
        yield f"{engine} agrees with Keras on {parity.pairs} test pairs at batch {batches}:"
        for name, difference in parity.max_difference.items():
            largest = parity.max_value[name]
            yield f"  {name}: largest difference {difference:.1e} (values up to {largest:.3g})"
        but = ", except between equal scores" if "left_score" in parity.max_difference else ""
        yield f"  every decision is the same (100 %){but}"
    elif "checked_by" in d:
        yield "not checked: found no Chromium, Chrome, Edge or node; opened, the page checks itself"
    if q:
        share = q.bytes_after / q.bytes_before
        yield f"  {share:.2f} of the float32 file's {q.bytes_before:,} bytes"
        for name, before in q.error_pct_before.items():
            after, same = q.error_pct_after[name], q.same_decisions_pct[name]
            yield f"  {name}: error {before:.2f} % before, {after:.2f} % after; {same:.1f} % alike"
        times = ", ".join(f"{ratio:.2f} at batch {n}" for n, ratio in q.time_ratio.items())
        slower = any(ratio > 1 for ratio in q.time_ratio.values())
        yield f"  time over float32's: {times}" + ("; int8 is not faster here" if slower else "")
