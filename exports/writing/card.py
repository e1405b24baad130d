"""The model card beside an exported file: contents, test error, how to run it, limits."""

from typing import TYPE_CHECKING

from markupsafe import Markup

from kpairs.exports.writing.formats import FORMATS
from kpairs.markdown import environment, literal
from kpairs.models.outputs import OUTPUT_KINDS
from kpairs.reports import REPORTS

if TYPE_CHECKING:
    from kpairs.exports.writing.export import Export


def card(export: "Export") -> str:
    """Fill in `card.md.j2` for one exported file: Markdown."""
    d, format_ = export.description, FORMATS[export.format]()
    template = environment("kpairs.exports.writing").get_template("card.md.j2")
    text = template.render(
        d=d,
        title=format_.title,
        usage=Markup(format_.usage(literal(d["file"]), literal(list(d["outputs"])))),
        report=REPORTS.get(d["report"]),
        kinds=OUTPUT_KINDS,
        parity=export.parity,
        quantization=export.quantization,
    )
    return text.strip() + "\n"
