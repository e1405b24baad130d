"""Pages: what they say is what the rows say, and nothing that a row holds is read as markup."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from command_line import kpairs
from markdown_it import MarkdownIt

from kpairs.markdown import code, environment, escape, literal, table, to_html
from kpairs.numbers import plus_minus
from kpairs.reports import REPORTS
from kpairs.reports.reported import reported
from kpairs.studies.catalogue import STUDIES
from kpairs.studies.compare import METRICS, VERDICTS
from kpairs.studies.pages import write_pages
from kpairs.studies.rows import COLUMNS, write_rows

DOCS = Path(__file__).parents[2] / "docs"
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """All pages of the committed rows."""
    folder = tmp_path_factory.mktemp("pages")
    write_pages(DOCS / "rows", folder)
    return folder


def parts_of(markdown):
    """The tables of a page as lists of rows of cells, its addresses, and its sentences."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    tables, links, sentences, inside = [], [], [], False
    for token in tokens:
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        inside = token.type in ("th_open", "td_open") or (inside and token.type == "inline")
        if token.type == "inline":
            text = "".join(child.content for child in token.children)
            (tables[-1][-1] if inside else sentences).append(text)
            for child in token.children:
                links += [v for k, v in (child.attrs or {}).items() if k in ("href", "src")]
    return tables, links, sentences


def numbers(text):
    """The numbers of a text, each with what half a unit of its last digit is worth."""
    found = [n.replace(",", "") for n in _NUMBER.findall(text)]
    return [(float(n), 10.0 ** -len(n.partition(".")[2].partition("e")[0])) for n in found]


def assert_same(committed, now, place):
    """Equal words, and numbers that are equal but for the rounding of their last digit."""
    assert _NUMBER.sub("#", committed) == _NUMBER.sub("#", now), f"{place}: run 'make pages'"
    for (a, unit), (b, _) in zip(numbers(committed), numbers(now), strict=True):
        assert a == pytest.approx(b, abs=1.01 * unit), f"{place}: run 'make pages'"


def test_pages_are_up_to_date(pages):
    """The committed pages have the tables, links and numbers of the committed rows."""
    names = {file.name for file in pages.glob("*.md")}
    assert names == {f"{r.number}-{key}.md" for key, r in REPORTS.items()} | {
        *("mini.md", "posterior.md", "reports.md")
    }
    for name in sorted(names):
        committed, now = (parts_of((folder / name).read_text()) for folder in (DOCS, pages))
        assert committed[1] == now[1], f"{name}: run 'make pages'"
        for mine, theirs in zip(committed[0], now[0], strict=True):
            for row, other in zip(mine, theirs, strict=True):
                for cell, new in zip(row, other, strict=True):
                    assert_same(cell, new, f"{name}, {row[:2]}")
        for mine, theirs in zip(committed[2], now[2], strict=True):
            assert_same(mine, theirs, name)


def test_results_are_up_to_date(pages):
    committed, now = (pd.read_csv(folder / "results.csv") for folder in (DOCS, pages))
    pd.testing.assert_frame_equal(committed, now, rtol=1e-4, atol=1e-9)


def test_the_readme_counts_as_the_pages_do(pages):
    told = "Of {} numbers {} agree, {} differ"
    readme = " ".join((DOCS.parent / "README.md").read_text().split())
    counts = re.search(r"Of (\d+) numbers (\d+) agree, (\d+) differ", readme).groups()
    untold, chance = (
        re.search(r"of (\d+) one cannot tell", readme),
        re.search(r"about (\d+) beyond", readme),
    )
    page = (pages / "reports.md").read_text()
    assert f"**{told.format(*counts)}, and of {untold[1]} one cannot tell.**" in page
    assert f"about {chance[1]} of the {counts[0]} intervals would exclude 0" in page
    first = re.search(r"as many rounds as were reported (\d+) of the intervals exclude 0", readme)
    assert f" {first[1]} do in as many rounds as were reported" in page
    alike = re.search(r"not told apart in any of (\d+) numbers", readme)
    assert f"For {alike[1]} of these numbers the authors' own code" in page
    assert f"of {alike[1]} intervals none excludes 0" in page
    assert "ours and the reports' are no further apart than the luck" in readme
    together = re.findall(
        r"([-+][\d.]+) to ([-+][\d.]+); median",
        "".join(file.read_text() for file in pages.glob("00?-*.md")),
    )
    assert len(together) == 11
    assert all(float(low) < 0 < float(high) for low, high in together)


def test_links_lead_somewhere(pages):
    for file in pages.glob("*.md"):
        for address in parts_of(file.read_text())[1]:
            assert "://" in address or (pages / address).is_file(), f"{file.name}: {address}"
    for file in pages.glob("*.html"):
        for address in re.findall(r'<a href="([^"#]+)"', file.read_text()):
            assert "://" in address or (pages / address).is_file(), f"{file.name}: {address}"


def test_every_figure_says_what_it_shows_and_what_to_see():
    """Words for those who do not see it, a caption below, and letters that are letters."""
    shown = []
    for file in DOCS.glob("*.md"):
        blocks = file.read_text().split("\n\n")
        for block, below in pairwise(blocks):
            if found := re.fullmatch(r"!\[(.*)\]\((.*\.svg)\)", block):
                assert len(found[1]) > 30, f"{file.name}: {block}"
                assert re.fullmatch(r"\*[^*]{30,}\*", below.strip()), f"{file.name}: {below}"
                assert "<text" in (DOCS / found[2]).read_text(), found[2]
                shown.append(found[2])
    assert set(shown) == {f"figures/{file.name}" for file in (DOCS / "figures").iterdir()}


def test_no_reported_number_is_lost(pages):
    """A row of results.csv for every line of every reported.csv, in its order."""
    results = pd.read_csv(pages / "results.csv", keep_default_na=False)
    lines = [
        (key, r.table, r.arch, r.setting, r.metric, f"{r.mean:.6g}")
        for key in REPORTS
        for r in reported(key)
    ]
    columns = ["report", "table", "arch", "setting", "metric"]
    keys = results[columns].itertuples(index=False, name=None)
    means = [f"{float(mean):.6g}" for mean in results["reported"]]
    assert [(*key, mean) for key, mean in zip(keys, means, strict=True)] == lines
    assert (results["verdict"] != "").all()
    assert set(results.loc[results["margin"] != "", "verdict"]) <= set(VERDICTS)


def rows_by_head(tables):
    """Rows of tables as dicts by their head."""
    for head, *rows in tables:
        for row in rows:
            yield dict(zip(head, row, strict=True))


def test_every_reported_number_is_in_its_own_row(pages):
    """Of its page's table: under its architecture, setting and metric, not just anywhere."""
    for key, report in REPORTS.items():
        names = [f"{report.number}-{key}.md"] + (["mini.md"] if key == "chassagne" else [])
        rows = [
            row for name in names for row in rows_by_head(parts_of((pages / name).read_text())[0])
        ]
        compared = {
            (t, m) for s in STUDIES.values() if s.report == key for t in s.tables for m in s.metrics
        }
        for number in reported(key):
            if number.table.startswith("framework"):
                place = f"{number.table.removeprefix('framework ')}, {number.setting}"
                found = [r for r in rows if r.get("network") == place and _is(r, number)]
            elif (number.table, number.metric) in compared:
                found = [
                    r
                    for r in rows
                    if r.get("network") == f"{number.arch} {number.setting}".strip()
                    and r.get("metric", METRICS[number.metric].label)
                    == METRICS[number.metric].label
                    and _is(r, number)
                ]
            else:
                what = f"{number.metric} {number.setting}".strip()
                found = [
                    r
                    for r in rows
                    if (r.get("place"), r.get("number")) == (number.table, what)
                    and r["what"] == (number.arch or number.model)
                    and r["reported"] == f"{number.mean:,.10g}"
                ]
            assert found, number


def test_best_sizes_and_further_rounds_are_those_of_the_rows(pages):
    text = (pages / "004-altunina.md").read_text()
    frame = pd.read_csv(pages / "results.csv").query(
        "report == 'altunina' and table == 'Figure 1' and metric == 'best_epoch_val_accuracy_pct'"
    )
    for arch, rows in frame.groupby("arch"):
        theirs, ours = (rows.loc[rows[name].idxmax()] for name in ("reported", "ours"))
        sizes = [row["setting"].removeprefix("net_params ") for row in (theirs, ours)]
        assert (
            f"| `{arch}` | {sizes[0]} | {theirs['reported']:.2f} | {theirs['ours']:.2f} "
            f"| {sizes[1]} | {ours['ours']:.2f} | {ours['reported']:.2f} |"
        ) in text
    rows = pd.read_csv(DOCS / "rows/altunina-figure-1.csv")
    further = (rows.groupby(["arch", "setting"]).size() > 5).sum()
    first = rows[rows["round"] <= 5]
    assert f"{further} settings have more rounds than in the report" in text
    assert f"({first['collapsed'].sum()} of {len(first)} in the first 5 rounds)" in text


def test_how_many_pairs_others_take_is_by_the_rows(pages):
    """Each other network's error is above `posterior`'s with fewer pairs than the page says."""
    rows = pd.read_csv(DOCS / "rows/posterior-scaling.csv")
    rows["pairs"] = rows["setting"].str.split().str[0].astype(int)
    means = rows.groupby(["arch", "pairs"])["test_error_pct"].mean()
    text = (pages / "posterior.md").read_text()
    head, _, *lines = text.partition("by the means above:")[2].strip().split("\n\n")[0].split("\n")
    others = [cell.strip(" `") for cell in head.split("|")[2:-1]]
    assert others == ["auxws", "wsal_bd"]
    assert len(lines) == 6
    for line in lines:
        count, *said = (cell.strip() for cell in line.split("|")[1:-1])
        ours = means["posterior", int(count.split()[0].replace(",", ""))]
        for arch, pairs in zip(others, said, strict=True):
            number = int(pairs.removeprefix("over ").replace(",", ""))
            above = means[arch] > ours
            assert above[above.index < number].all()
            assert above[number] == pairs.startswith("over")


def _is(row, number):
    digits = METRICS[number.metric].digits
    return row["reported"] == plus_minus(number.mean, number.std, number.rounds, digits)


SCRIPT = "<script>alert('x')</script> | **b** [c](javascript:d) `e`"


def test_what_a_row_holds_is_never_markup(tmp_path):
    """A CSV may come from anywhere."""
    study = STUDIES["haidinger-figure-2"]
    job = study.jobs(1)[0]
    row = dict.fromkeys(COLUMNS, 1.0) | {
        "job": job.id,
        "arch": job.recipe.network.arch,
        "setting": job.setting,
        "round": 1,
        "collapsed": 0,
        **dict.fromkeys(("engine", "kpairs", "keras", "backend", "python", "hardware"), SCRIPT),
    }
    write_rows(tmp_path / f"{study.name}.csv", pd.DataFrame([row]))
    kpairs("report", "haidinger", "--rows", tmp_path, "--out", tmp_path / "out")
    html = (tmp_path / "out/001-haidinger.html").read_text()
    assert html.count("<script") == 1  # the page's own
    assert 'href="javascript' not in html
    assert "&lt;script&gt;alert('x')&lt;/script&gt; | **b** [c](javascript:d) `e`" in html
    assert "<script" not in (tmp_path / "out/001-haidinger.md").read_text().replace("\\<", "")


def test_templates_escape_all_but_markup():
    made = environment("kpairs").from_string(
        "{% macro shown(x) %}*{{ x }}*{% endmacro %}{{ shown(x) }} {{ x|code }} {{ rows|table }}"
    )
    text = made.render(x="<a>_b_|", rows=pd.DataFrame({"h|": ["<i>", "x\ny"], "empty": ["", ""]}))
    assert text.startswith(r"*\<a\>\_b\_\|* \<a\>\_b\_\| ")
    assert text.endswith("| h\\| |\n| --- |\n| \\<i\\> |\n| x y |\n")
    assert code("c4l2_ws") == "`c4l2_ws`"
    assert literal(["a*b", "```"]) == r"['a*b', '\x60\x60\x60']"
    assert escape("net_params 1-2") == "net_params 1-2"
    assert table(pd.DataFrame({"a": [None, 2.5]})) == "| a |\n| --- |\n|  |\n| 2.5 |\n"
    assert table(pd.DataFrame()) == ""


def test_html_stands_alone():
    page = to_html(
        "# A <b> & C\n\n![f](figures/f.svg) [x](x.md) <i>\n", {"figures/f.svg": "<svg/>"}
    )
    assert "<title>A &lt;b&gt; &amp; C</title>" in page
    assert '<figure role="img" aria-label="f"><svg/></figure>' in page
    alone = to_html("![f](f.svg)\n\n*c*\n", {"f.svg": '<svg height="1pt" width="9pt"/>'})
    assert "<p><figure" not in alone  # which HTML does not have
    assert '<svg style="--wide: 9pt" height="1pt" width="9pt"/>' in alone
    assert '<a href="x.html">' in page
    assert "&lt;i&gt;" in page


def test_stale_rows_are_no_reason_to_stop(tmp_path):
    """Of a study that has changed since: the page is written without them."""
    study = STUDIES["haidinger-plain"]
    job = study.jobs(1)[0]
    row = dict.fromkeys(COLUMNS, 1.0) | dict.fromkeys(("engine", "kpairs", "keras"), "x")
    row |= {"job": "f" * 16, "arch": job.recipe.network.arch, "setting": job.setting, "round": 1}
    write_rows(tmp_path / f"{study.name}.csv", pd.DataFrame([row]))
    kpairs("report", "haidinger", "--rows", tmp_path, "--out", tmp_path / "out")
    assert "No training has been run yet." in (tmp_path / "out/001-haidinger.md").read_text()


SIXTH = {
    "__init__.py": 'NUMBER, AUTHORS, YEAR, TITLE = "005", "A. Nobody", 2026, "Sixth"\n',
    "networks.py": (
        "import keras\n"
        "from kpairs.models.registry import arch, outputs\n\n\n"
        '@arch(report="nobody", source="Table 9", outputs=outputs("logits"))\n'
        "def nobody_net(pair, *, classes=10):\n"
        "    x = keras.layers.Flatten()(keras.layers.Concatenate()([pair.left, pair.right]))\n"
        '    return {"comparison": keras.layers.Dense(2)(x)}\n'
    ),
    "recipes.py": (
        "from kpairs.reports.haidinger.recipes import RECIPES as OTHERS\n\n"
        'RECIPES = {"nobody_net": OTHERS["simple"].replace(arch="nobody_net", arch_options={})}\n'
    ),
    "studies.py": (
        "from kpairs.recipes import Setting, Study\n"
        "from kpairs.reports.nobody.recipes import RECIPES\n\n"
        'STUDIES = (Study("nobody-table-9", "nobody", ["Table 9"], "Table 9: one network",\n'
        '    [Setting(RECIPES["nobody_net"], "plain")], 3, ["test_error_pct"]),)\n'
    ),
    "reported.csv": (
        "table,arch,model,setting,metric,mean,std,rounds,source,note\n"
        "Table 9,nobody_net,N,plain,test_error_pct,27.25,1.5,3,report,\n"
        "Table 9,nobody_net,N,,parameters,786,,,report,\n"
    ),
}


def test_a_report_is_a_folder(tmp_path):
    """A sixth has its page, its numbers and its parameters with nothing else edited."""
    (tmp_path / "nobody").mkdir()
    for name, text in SIXTH.items():
        (tmp_path / "nobody" / name).write_text(text)
    script = f"""
import sys
from importlib.util import find_spec, module_from_spec
spec = find_spec("kpairs.reports")
spec.submodule_search_locations.append({str(tmp_path)!r})
sys.modules["kpairs.reports"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["kpairs.reports"])
from kpairs.studies.pages import write_pages
write_pages({str(tmp_path)!r}, {str(tmp_path / "out")!r}, ["nobody"])
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    page = (tmp_path / "out/005-nobody.md").read_text()
    rows = list(rows_by_head(parts_of(page)[0]))
    assert rows[0]["reported"] == "27.25 ± 1.50 (3)"
    assert rows[0]["verdict"] == "not run"
    assert rows[1]["kpairs"] == rows[1]["reported"] == "786"
    assert rows[1]["verdict"] == "agrees"
    assert len(pd.read_csv(tmp_path / "out/results.csv")) == 2
