"""The model card beside an exported file: what it is, how good, how to run it, its limits."""

from kpairs.models.outputs import OUTPUT_KINDS
from kpairs.reports import REPORTS

_RUN = {
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("{file}")
values = session.run({names}, {{"left": left, "right": right}})
""",
    "torchscript": """import torch

model = torch.jit.load("{file}")
values = model(left, right)  # {listed}
""",
    "torch-export": """import torch

model = torch.export.load("{file}").module()
values = model(left, right)  # {listed}
""",
}
_RUN["int8"] = _RUN["onnx"]
_TITLES = {
    "onnx": "ONNX",
    "torchscript": "TorchScript",
    "torch-export": "torch.export program",
    "int8": "ONNX, quantised to int8",
}


def card(export):
    """The Markdown text for an `Export`."""
    d = export.description
    names = list(d["outputs"])
    report = REPORTS.get(d["report"])
    origin = f"report {report.number} ({d['source']})" if report else d["source"]
    facts = [
        ("file", f"`{d['file']}`, {d['bytes']:,} bytes"),
        ("SHA-256", f"`{d['sha256']}`"),
        ("format", _TITLES[d["format"]] + (f", opset {d['opset']}" if "opset" in d else "")),
        ("architecture", f"`{d['arch']}`, {origin}"),
        ("trainable parameters", f"{d['parameters']:,}"),
        ("input", d["input"]),
        ("pictures", d["pictures"]),
        ("preprocessing", d["preprocessing"]),
        ("classes, lowest rank first", ", ".join(d["classes"]).replace("|", "\\|") or "none"),
        ("made by", f"kpairs {d['kpairs']}"),
    ]
    parts = [
        f"# {d['file']}",
        "Says which of two images ranks higher: `comparison` is 1 where left <= right in the order "
        "of the classes, else 0.",
        "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts)]),
        "## Outputs",
        "\n".join(
            [
                "| output | shape | holds |",
                "|---|---|---|",
                *(
                    f"| `{name}` | (batch, {_width(name, kind, d)}) | {OUTPUT_KINDS[kind]} |"
                    for name, kind in d["outputs"].items()
                ),
            ]
        ),
        "## How good it is",
        *_quality(export),
        "## Running it",
        "```python\n" + _RUN[d["format"]].format(file=d["file"], names=names, listed=names) + "```",
        "## Limits",
        "It has seen one kind of picture: those of its training data, or what is placed, taken and "
        f"prepared like them ({d['pictures']}). On others its answers mean nothing, and its "
        "probabilities do not say so.",
    ]
    return "\n\n".join(parts) + "\n"


def _width(name, kind, description):
    if kind == "score":
        return 1
    if name != "comparison":
        return len(description["classes"])
    return 1 if kind == "sigmoid" else 2


def _quality(export):
    d = export.description
    errors = ", ".join(f"{name} {value:.2f} %" for name, value in d["test_error_pct"].items())
    yield f"Wrong on {d['test_pairs']:,} test pairs: {errors}."
    if training := d["training"]:
        yield (
            f"Trained on {training['pairs']:,} pairs of {training['data']}, "
            f"{training['epochs']} epochs (seed {training['seed']}, round {training['round']}, "
            f"{training['backend']}). One training: another seed gives another error."
        )
    if export.parity:
        largest = max(export.parity.max_difference.values())
        batches = ", ".join(map(str, export.parity.batches))
        yield (
            f"Checked against Keras on {export.parity.pairs:,} test pairs at batches of {batches}: "
            f"outputs differ by {largest:.1e} at most, every decision is the same."
        )
    if q := export.quantization:
        before = ", ".join(f"{name} {value:.2f} %" for name, value in q.error_pct_before.items())
        times = " and ".join(f"{r:.2f} at batch {n}" for n, r in q.time_ratio.items())
        yield (
            f"Before quantisation: {before}, {q.bytes_before:,} bytes. Time against the float32 "
            f"file, on the machine that exported: {times}; above 1 is slower."
        )
