"""Markdown made by templates, and HTML made of that Markdown.

Whatever a template prints is escaped, so that a name in somebody's file is shown as it is and never
read as Markdown or HTML; only what is `Markup` already passes. Of HTML in Markdown only folds pass.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from kpairs.errors import printable
from kpairs.numbers import plus_minus, span, summary

if TYPE_CHECKING:
    import pandas as pd

# Underscores within words are no emphasis.
_SPECIAL = re.compile(r"[\\`*\[\]<>|&]|(?<!\w)_|_(?!\w)")
_FOLD = re.compile(r"<details>\n<summary>[^<>&]*</summary>\n?|</details>\n?")


def escape(value: object) -> Markup:
    """Return any value as one line of Markdown that shows it as it is."""
    if isinstance(value, Markup):
        return value
    return Markup(_SPECIAL.sub(r"\\\g<0>", printable(" ".join(str(value).split()))))


def code(value: object) -> Markup:
    """Return a name as code, or as escaped text where code could not hold it."""
    text = str(value)
    if not text.isprintable() or not text or re.search(r"[`|\s]", text):
        return escape(text)
    return Markup(f"`{text}`")


def literal(value: object) -> Markup:
    """Return a value as Python writes it, safe inside a fenced block of code."""
    return Markup(repr(value).replace("`", "\\x60"))


def table(rows: "pd.DataFrame") -> Markup:
    """Return a table of the columns that are not empty, under their names."""
    cells = rows.astype(object).where(rows.notna(), "").map(escape)
    cells = cells.loc[:, (cells != "").any()]
    lines = [cells.columns.map(escape), ["---"] * cells.shape[1], *cells.to_numpy()]
    return Markup("".join(f"| {' | '.join(line)} |\n" for line in lines if len(line)))


def environment(package: str) -> Environment:
    """Return a package's Markdown templates, which escape every expression."""
    made = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,  # so that what a macro or block gives is Markup
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"code": code, "literal": literal, "table": table}
    made.filters |= {"number": _number, "signed": _signed}
    made.filters["rows"] = lambda frame: frame.to_dict("records")
    made.globals |= {"plus_minus": plus_minus, "span": span, "summary": summary}
    return made


def _number(value: float, digits: int = 2) -> str:
    return "" if value != value else f"{value:,.{digits}f}"


def _signed(value: float, digits: int = 2) -> str:
    return "" if value != value else f"{value:+.{digits}f}"


def to_html(markdown: str, pictures: Mapping[str, str]) -> str:
    """Return a page of HTML that needs no other file, links to `.md` pages pointing to `.html`.

    `pictures` holds SVG by the address under which the page shows it.
    """
    parser = MarkdownIt("commonmark").enable("table")

    def image(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        address = tokens[index].attrs["src"]
        if address not in pictures:
            return self.image(tokens, index, options, env)
        alt = Environment(autoescape=True).from_string("{{ x }}").render(x=tokens[index].content)
        return f'<figure role="img" aria-label="{alt}">{inlined(pictures[address])}</figure>'

    def html(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        text: str = tokens[index].content
        return text if _FOLD.fullmatch(text) else str(Markup.escape(text))

    def link(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        address = tokens[index].attrs["href"]
        if address.endswith(".md") and "://" not in address:
            tokens[index].attrSet("href", address.removesuffix(".md") + ".html")
        return self.renderToken(tokens, index, options, env)

    parser.add_render_rule("html_block", html)
    parser.add_render_rule("html_inline", html)
    parser.add_render_rule("image", image)
    parser.add_render_rule("link_open", link)
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(markdown)
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if token.children and [part.type for part in token.children] == ["image"]:
            before.hidden = after.hidden = True  # HTML has no figure within a paragraph
    heading = next((t.children for t in tokens if t.type == "inline"), [])
    title = "".join(part.content for part in heading or ())
    body = parser.renderer.render(tokens, parser.options, {})
    page = Environment(loader=PackageLoader("kpairs", ""), autoescape=True)
    css = Markup(files("kpairs.studies").joinpath("tables.css").read_text("utf-8"))
    return page.get_template("studies/page.html.j2").render(title=title, body=Markup(body), css=css)


def inlined(svg: str) -> str:
    """Return a picture as part of a page, with the page's colours."""
    return re.sub(r"<style>@media.*?</style>", "", svg[svg.index("<svg") :])
