"""The model card beside an exported file: what it is, how good, how to run it, its limits."""

from typing import TYPE_CHECKING

from kpairs.markdown import environment
from kpairs.models.outputs import OUTPUT_KINDS
from kpairs.reports import REPORTS

if TYPE_CHECKING:
    from kpairs.exports.export import Export

_TITLES = {
    "onnx": "ONNX",
    "torchscript": "TorchScript",
    "torch-export": "torch.export program",
    "int8": "ONNX, quantised to int8",
}


def card(export: "Export") -> str:
    """Fill in `card.md.j2` for one exported file: Markdown."""
    template = environment("kpairs.exports").get_template("card.md.j2")
    text = template.render(
        d=export.description,
        title=_TITLES[export.description["format"]],
        report=REPORTS.get(export.description["report"]),
        kinds=OUTPUT_KINDS,
        parity=export.parity,
        quantization=export.quantization,
    )
    return text.strip() + "\n"
