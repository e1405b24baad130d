"""The page as one string of HTML: its markup, its scripts and what they are to show."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from kpairs.data.settings import PixelSettings

_SCRIPTS = ("network", "pictures", "page")


@cache
def script(name: str) -> str:
    """Read one of the page's scripts: "network", "pictures" or "page"."""
    return (files("kpairs.exports.web") / f"{name}.js").read_text(encoding="utf-8")


def about(name: str, description: Mapping[str, Any], pixels: PixelSettings) -> dict[str, Any]:
    """What the page knows of a model.

    Args:
        name: as it is shown.
        description: as an exported file's metadata hold it.
        pixels: how pictures become its input.
    """
    error = description.get("test_error_pct", {}).get("comparison")
    parts = [f"{description['parameters']:,} weights"] if "parameters" in description else []
    parts += [f"{error:.1f} % wrong on test pairs"] if error is not None else []
    return {
        "name": name,
        "about": ", ".join(parts),
        "classes": list(description["classes"]),
        "outputs": dict(description["outputs"]),
        "pixels": pixels.to_dict(),
    }


def page(config: Mapping[str, Any], *, title: str, footer: str, connect: str = "'none'") -> str:
    """Fill in the page.

    Args:
        config: what page.js reads: `models` as `about` gives them, and perhaps `samples`, and
            `graph` and `expected` where the page has a network of its own.
        title: of the window.
        footer: the page's last sentence.
        connect: whom the page may ask, as a content security policy says it.
    """
    shapes = {(m["pixels"]["height"], m["pixels"]["width"]) for m in config["models"]}
    drawable = shapes == {(14, 14)} and all(m["pixels"]["channels"] == 1 for m in config["models"])
    hint = "Draw two digits" if drawable else "Drop two pictures"
    environment = Environment(loader=PackageLoader("kpairs.exports.web", ""), autoescape=True)
    return environment.get_template("page.html.j2").render(
        config={**config, "drawable": drawable, "hint": hint},
        title=title,
        footer=footer,
        connect=connect,
        **{name: Markup(script(name)) for name in _SCRIPTS},
    )
