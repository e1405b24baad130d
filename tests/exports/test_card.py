"""Model cards: every format's words, and names that are shown as they are."""

from pathlib import Path

import pytest

from kpairs.exports.writing.card import card
from kpairs.exports.writing.export import Export
from kpairs.markdown import to_html

DESCRIPTION = {
    "file": "a_b*`.onnx",
    "bytes": 12_345,
    "sha256": "ff",
    "arch": "auxws",
    "report": "haidinger",
    "source": "section 3",
    "parameters": 56_470,
    "input": "(batch, 14, 14, 1) float32",
    "pictures": "14x14 grey",
    "preprocessing": "none",
    "classes": ["<script>alert(1)</script>", "a | b", "**c**"],
    "kpairs": "0.1.0",
    "outputs": {"comparison": "sigmoid", "left_digit": "logits"},
    "test_pairs": 1000,
    "test_error_pct": {"comparison": 2.5},
    "training": None,
}


@pytest.mark.parametrize(
    ("format_", "call"),
    [
        ("onnx", "InferenceSession"),
        ("int8", "InferenceSession"),
        ("torchscript", "torch.jit.load"),
        ("torch-export", "torch.export.load"),
    ],
)
def test_names_are_shown_as_they_are(format_, call):
    export = Export(format_, Path("x"), {**DESCRIPTION, "format": format_})
    text = card(export)
    assert f"{call}('a_b*\\x60.onnx')" in text
    assert "| (batch, 1) |" in text
    assert "| (batch, 3) |" in text
    html = to_html(text, {})
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;, a | b, **c**</td>" in html
    assert html.count("<pre>") == 1
    assert "Trained on" not in text
