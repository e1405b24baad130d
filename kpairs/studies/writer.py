"""How pages are written: Markdown and self-contained HTML, the same bytes for the same rows."""

import io

import matplotlib
from markdown_it import MarkdownIt

from kpairs.files import write_text

RULE = (
    "An interval is the 95 % confidence interval of our mean minus the reported one (Welch's t, "
    "from means, standard deviations and counts). The verdict is *agrees* where it holds 0 and "
    "*differs* where it does not; few rounds make it wide."
)
_STYLE = """
body { max-width: 58rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff;
  font: 16px/1.55 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.25; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #ddd; text-align: left; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.5rem 0; }
svg { max-width: 100%; height: auto; }
"""


def write_page(out, name, text, drawn):
    """Write a page as Markdown and as HTML that needs no other file, and its figures.

    Args:
        out: folder; figures go into `figures/` in it.
        name: of the page's files, without their endings.
        text: Markdown; `![words]({key})` stands for the figure of that key.
        drawn: matplotlib figures by key.

    Returns:
        The files written.
    """
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    svgs = {key: _svg(figure) for key, figure in drawn.items()}
    files = {folder / f"{name}-{key}.svg": svg for key, svg in svgs.items()}
    markdown, html = text, text
    for key, svg in svgs.items():
        link = f"![{key.replace('-', ' ')}]({{{key}}})"
        markdown = markdown.replace(link, link.replace(f"{{{key}}}", f"figures/{name}-{key}.svg"))
        html = html.replace(link, f"<figure>{svg[svg.index('<svg') :]}</figure>")
    files[out / f"{name}.md"] = markdown
    files[out / f"{name}.html"] = _html(html.replace(".md)", ".html)"))
    for file, content in files.items():
        write_text(file, content)
    return list(files)


def _svg(figure):
    """The same bytes for the same data, whenever it is drawn."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "kpairs", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    lines = (line.rstrip() for line in buffer.getvalue().splitlines())
    return "\n".join(lines) + "\n"


def _html(markdown):
    body = MarkdownIt("commonmark").enable("table").render(markdown)
    body = body.replace("<table>", '<div class="scroll"><table>')
    body = body.replace("</table>", "</table></div>")
    title = markdown.splitlines()[0].removeprefix("# ")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def table(head, rows):
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def number(mean, std, count, digits):
    """Mean ± deviation (count), what there is of them."""
    spread = f" ± {std:.{digits}f}" if std is not None else ""
    return f"{mean:.{digits}f}{spread}" + (f" ({count})" if count else "")
