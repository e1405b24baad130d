"""The documentation site: `make docs` builds it, and every warning is an error."""

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click
from docutils import nodes
from sphinx.errors import ConfigError

import kpairs
from kpairs.cli import main
from kpairs.markdown import inlined

HERE = Path(__file__).parent

project = "kpairs"
author = copyright = "The kpairs developers"
release = version = kpairs.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "rows"]
smartquotes_action = "qe"  # two hyphens of an option are no dash
default_role = "code"  # what our docstrings put between single backticks
highlight_language = "none"  # what commands print
html_theme = "furo"
html_title = "kpairs"
html_copy_source = False
html_static_path = ["../kpairs/studies/tables.css"]
html_css_files = ["tables.css"]
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0072b2",
        "color-brand-content": "#0072b2",
        "font-stack": "system-ui, sans-serif",
    },
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# A report's headings follow its tables, not a hierarchy.
suppress_warnings = ["myst.header"]
autodoc_member_order = "bysource"
napoleon_attr_annotations = False
autodoc_typehints = "none"  # docstrings say shapes, which types do not
add_module_names = False
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True


def public_names():
    """Return the names of `kpairs`, each with what it is."""
    return {name: getattr(kpairs, name) for name in kpairs.__all__ if name != "__version__"}


def documented(value):
    """Whether somebody wrote a docstring; dataclasses without one list their fields."""
    name = getattr(value, "__name__", "")
    return bool(value.__doc__) and not value.__doc__.startswith(f"{name}(")


def check_reference(app):
    """Refuse to build where a public name has no docstring, or is on no page of the reference."""
    page = "\n".join(file.read_text() for file in HERE.glob("api*.md"))
    shown = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", page, re.MULTILINE))
    for name, value in public_names().items():
        if isinstance(value, dict):  # a registry, described by hand
            missing = f"`{name}`" not in page
        elif isinstance(value, ModuleType):
            missing = not any(known.startswith(f"{value.__name__}.") for known in shown)
        else:
            missing = f"{value.__module__}.{value.__name__}" not in shown
        if missing or not documented(value):
            raise ConfigError(f"docs/api.md: expected kpairs.{name} with a docstring")
    for name in shown:
        module, _, attribute = name.rpartition(".")
        if not documented(getattr(import_module(module), attribute)):
            raise ConfigError(f"{name}: expected a docstring")


def inline_pictures(app, doctree, name):
    """Put SVGs into the page, so that their text is text and their ink has the page's colours."""
    for image in list(doctree.findall(nodes.image)):
        if image["uri"].endswith(".svg"):
            words = nodes.Text(image.get("alt", "")).astext().replace('"', "&quot;")
            svg = inlined((HERE / image["uri"]).read_text())
            html = f'<figure role="img" aria-label="{words}">{svg}</figure>'
            alone = isinstance(image.parent, nodes.paragraph) and len(image.parent) == 1
            raw = nodes.raw("", html, format="html")  # HTML has no figure within a paragraph
            (image.parent if alone else image).replace_self(raw)


def part_fields(app, doctree, name):
    """Put a dash between a parameter and its text: `smartquotes_action` leaves two hyphens."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def show_commands(app, context, lines):
    """Make the examples of a command's help a block that can be copied."""
    examples = [line for line in lines if line.startswith("| kpairs ")]
    if examples:
        at = lines.index(examples[0])
        lines[:] = [line for line in lines if line not in examples]
        code = [f"   {line.removeprefix('| ')}" for line in examples]
        lines[at:at] = ["", ".. code-block:: sh", "", *code, ""]


def show_options(app, context, lines):
    """List the options as `--help-all` does: in its sections, with the values that they take."""
    command = context.command
    options = [option for option in command.params if isinstance(option, click.Option)]
    records = (option.get_help_record(context) for option in options)
    sections = {"": [record for record in records if record]}
    if hasattr(command, "sections"):
        sections = command.sections(context)
    lines.clear()
    for title, records in sections.items():
        lines += [f".. rubric:: {title}", ""] if title not in ("", "Options") else []
        for flags, text in records:
            if "--help" in flags:
                continue
            lines += [f".. option:: {flags.replace(' / ', ', ')}", "", f"   {text}", ""]


def hide_arguments(app, context, lines):
    """Leave the arguments to the usage line and the description."""
    lines.clear()


def title_examples(app, what, name, value, options, lines):
    """Give every example the same heading; napoleon leaves those behind a last section as text."""
    for at in [n for n, line in enumerate(lines) if line == "Example:"][::-1]:
        end = next((n for n in range(at + 1, len(lines)) if lines[n][:1].strip()), len(lines))
        lines[at:end] = [".. rubric:: Example", "", *(line[4:] for line in lines[at + 1 : end])]


def write_commands():
    """Write a page for each command; its words come from the command itself."""
    folder = HERE / "commands"
    folder.mkdir(exist_ok=True)
    for name in main.list_commands(None):
        module = name.replace("-", "_")
        text = (
            f".. click:: kpairs.cli.{module}:{module}\n   :prog: kpairs {name}\n   :nested: full\n"
        )
        (folder / f"{name}.rst").write_text(text)


def setup(app):
    """Connect them."""
    write_commands()
    app.connect("builder-inited", check_reference)
    app.connect("doctree-resolved", inline_pictures)
    app.connect("doctree-resolved", part_fields)
    app.connect("sphinx-click-process-description", show_commands)
    app.connect("sphinx-click-process-options", show_options)
    app.connect("sphinx-click-process-arguments", hide_arguments)
    app.connect("autodoc-process-docstring", title_examples, priority=600)
