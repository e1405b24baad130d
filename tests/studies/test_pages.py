"""Pages: what they say is what the rows say, and nothing that a row holds is read as markup."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import kpairs
from markdown_it import MarkdownIt
from scipy import stats

from kpairs.markdown import code, environment, escape, literal, table, to_html
from kpairs.reports import REPORTS
from kpairs.reports.reported import reported
from kpairs.studies.catalogue import STUDIES, declared
from kpairs.studies.compare import VERDICTS
from kpairs.studies.pages import write_pages
from kpairs.studies.results import QUESTIONS
from kpairs.studies.rows import COLUMNS, write_rows

DOCS = Path(__file__).parents[2] / "docs"
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
OF_REPORTS = [f"{r.number}-{key}.md" for key, r in REPORTS.items()]
PAGES = [*OF_REPORTS, "mini.md", "weight-sharing.md", "posterior.md", "reports.md"]
PAGES += ["method.md", "results.md"]


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """All pages of the committed rows."""
    folder = tmp_path_factory.mktemp("pages")
    write_pages(DOCS / "rows", folder)
    return folder


def test_a_few_rows_of_one_report_are_enough(tmp_path):
    """As `kpairs report` finds them after one `kpairs study`; other pages have no numbers then."""
    rows = tmp_path / "rows"
    rows.mkdir()
    name = "haidinger-figure-2.csv"
    lines = (DOCS / "rows" / name).read_text().splitlines(keepends=True)
    (rows / name).write_text("".join(lines[:7]))
    files = {file.name for file in write_pages(rows, tmp_path / "pages")}
    assert {"001-haidinger.md", "posterior.html", "reports.md", "results.csv"} <= files


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
    """The numbers of a text, each with what a unit of its last digit is worth."""
    found = [n.replace(",", "") for n in _NUMBER.findall(text)]
    return [(float(n), 10.0 ** -len(n.partition(".")[2].partition("e")[0])) for n in found]


def states(text, *values):
    """Whether a text has each of these values among its numbers, however it is worded."""
    known = numbers(text)
    return [any(abs(n - v) <= 0.51 * unit for n, unit in known) for v in map(float, values)]


def test_pages_are_up_to_date(pages):
    """The committed pages have the words and numbers of the committed rows, but for rounding."""
    assert {file.name for file in pages.glob("*.md")} == set(PAGES)
    for name in PAGES:
        committed, now = ((folder / name).read_text() for folder in (DOCS, pages))
        assert _NUMBER.sub("#", committed) == _NUMBER.sub("#", now), f"{name}: run 'make pages'"
        for (a, unit), (b, _) in zip(numbers(committed), numbers(now), strict=True):
            assert a == pytest.approx(b, abs=1.01 * unit), f"{name}: run 'make pages'"


def test_results_are_up_to_date_and_every_column_is_explained(pages):
    committed, now = (pd.read_csv(folder / "results.csv") for folder in (DOCS, pages))
    pd.testing.assert_frame_equal(committed, now, rtol=1e-4, atol=1e-9)
    (rows, *_), _, _ = parts_of((DOCS / "results.md").read_text())
    explained = [name for cells in rows[1:] for name in cells[0].split(", ")]
    assert sorted(explained) == sorted(committed.columns)


# Column of the rows, and the metric of an error in percent.
_MEASURED = {
    "test_error_pct": ("test_error_pct", lambda error: error),
    "train_accuracy_pct": ("train_error_pct", lambda error: 100 - error),
    "test_accuracy_pct": ("test_error_pct", lambda error: 100 - error),
    "validation_accuracy": ("test_error_pct", lambda error: 1 - error / 100),
    "final_epoch_val_accuracy_pct": ("test_error_pct", lambda error: 100 - error),
    "best_epoch_val_accuracy_pct": ("best_epoch_error_pct", lambda error: 100 - error),
    "best_epoch_train_accuracy_pct": ("least_train_error_pct", lambda error: 100 - error),
}


def _expected(ours, mean, std, count):
    """Whether Welch's 95 % interval holds 0; one reported number deviates as ours do."""
    count = 1 if np.isnan(count) else count
    if np.isnan(std) or count < 2:
        error = ours.std() * (1 / len(ours) + 1 / count) ** 0.5
        return abs(ours.mean() - mean) <= stats.t.ppf(0.975, len(ours) - 1) * error
    mine = ours.mean(), ours.std(), len(ours)
    return stats.ttest_ind_from_stats(*mine, mean, std, count, equal_var=False).pvalue >= 0.05


def test_every_verdict_comes_out_again_from_the_rows(pages):
    """By other code: means of the rows' files, the reported numbers' file, and scipy's own test."""
    results = pd.read_csv(pages / "results.csv", keep_default_na=False)
    found = {}
    for study in STUDIES.values():
        rows = pd.read_csv(DOCS / f"rows/{study.name}.csv", keep_default_na=False)
        rows = rows[rows["round"] <= study.rounds]
        for n in reported(study.report) if study.report in REPORTS else ():
            if n.table in study.tables and n.metric in study.metrics:
                column, metric = _MEASURED[n.metric]
                mine = rows[(rows["arch"] == n.arch) & (rows["setting"] == n.setting)]
                ours = metric(mine[column].astype(float))
                stated = (np.nan if v is None else v for v in (n.mean, n.std, n.rounds))
                key = n.report, n.table, n.arch, n.setting, n.metric
                found[key] = ours.mean(), "yes" if _expected(ours, *stated) else "no"
    disc = pd.read_csv(DOCS / "rows/mini-disc.csv").query("round <= 50")
    for n in reported("chassagne"):
        if n.table.startswith("framework"):
            kind, rate = n.table.split()[-1].replace("run", "tanh"), float(n.setting.split()[0][4:])
            mine = disc[(disc["activation"] == kind) & (disc["learning_rate"] == rate)]
            stated = (np.nan if v is None else v for v in (n.mean, n.std, n.rounds))
            key = n.report, n.table, n.arch, n.setting, n.metric
            found[key] = (
                mine[n.metric].mean(),
                "yes" if _expected(mine[n.metric], *stated) else "no",
            )
    judged = results[results["as_expected"] != ""]
    columns = ["report", "table", "arch", "setting", "metric"]
    keys = list(judged[columns].itertuples(index=False, name=None))
    assert sorted(keys) == sorted(found)
    assert [found[key][1] for key in keys] == list(judged["as_expected"])
    assert [found[key][0] for key in keys] == pytest.approx(
        list(judged["first_ours"].astype(float)), rel=1e-4
    )
    expected = sum(verdict == "yes" for _, verdict in found.values())
    counts = expected, len(found), round(0.05 * len(found))
    plain = judged[~judged["table"].str.contains("framework")].astype(
        {"reported": float, "first_ours": float}
    )
    alike = [g["reported"].corr(g["first_ours"]) for _, g in plain.groupby("report")]
    readme = (
        (DOCS.parent / "README.md").read_text().partition("## How well the reports reproduce")[2]
    )
    for text in ((pages / "reports.md").read_text(), readme.partition("\n## ")[0]):
        assert all(states(text, *counts, min(alike), max(alike)))
    for name, report in zip(OF_REPORTS, REPORTS, strict=True):
        own = [v for k, (_, v) in found.items() if k[0] == report and "framework" not in k[1]]
        assert all(states((pages / name).read_text(), own.count("yes"), len(own)))


def test_tables_show_reported_and_our_numbers(pages):
    """A cell "reported / ours" for every number, marked where it is not as expected."""
    results = pd.read_csv(pages / "results.csv").query("as_expected in ('yes', 'no')")
    for name, key in zip(OF_REPORTS, REPORTS, strict=True):
        tables, _, _ = parts_of((pages / name).read_text())
        cells = [cell for rows in tables for row in rows for cell in row if " / " in cell]
        shown = [(*(n for n, _ in numbers(cell)), "✗" in cell) for cell in cells]
        mine = results[(results["report"] == key) & ~results["table"].str.contains("framework")]
        for row in mine.itertuples():
            near = 0.0006 if row.reported < 1 else 0.051
            marks = [
                mark
                for theirs, ours, mark in shown
                if abs(theirs - row.reported) < near and abs(ours - row.first_ours) < near
            ]
            assert (row.as_expected == "no") in marks, row


def test_effects_and_answers_come_out_again_from_the_rows(pages):
    """By scipy's paired t-test; one comparison has one number on every page."""
    overview, answers = (pages / "reports.md").read_text(), []
    overview_tables, _, _ = parts_of(overview)
    for key, ingredients in declared("INGREDIENTS").items():
        files = [DOCS / f"rows/{s.name}.csv" for s in STUDIES.values() if s.report == key]
        rows = pd.concat(pd.read_csv(file, keep_default_na=False) for file in files)
        names = (rows["arch"] + " " + rows["setting"]).str.strip()
        tables, _, _ = parts_of((pages / f"{REPORTS[key].number}-{key}.md").read_text())
        told = {row[0]: row[1:] for rows in tables for row in rows if len(row) == 3}
        (across,) = (r for r in overview_tables[0] if r[0].startswith(REPORTS[key].number))
        for one in (one for one in ingredients if one.claim):
            networks = {}
            for without, with_ in one.pairs:
                errors = (rows[names == n].set_index("round") for n in (with_, without))
                apart = np.subtract(*(each["test_error_pct"] for each in errors))
                networks.setdefault(without.split()[0], []).append(apart)
            each = [pd.concat(p, axis=1).mean(axis=1).dropna() for p in networks.values()]
            rounds = pd.concat(each, axis=1).dropna().mean(axis=1)
            low, high = stats.ttest_1samp(rounds, 0).confidence_interval(0.95)
            answer, effect = told[one.conclusion]
            assert all(states(effect, rounds.mean(), low, high)), (key, one.name)
            side = high < 0 if one.claim == "lowers" else low > 0
            answers.append("open" if low <= 0 <= high else "yes" if side else "no")
            assert answer == answers[-1], (key, one.name)
            if one.name in QUESTIONS:
                cell = across[1 + QUESTIONS.index(one.name)]
                assert all(states(cell, rounds.mean(), low, high)), (key, one.name)
    counts = [len(answers), answers.count("yes"), answers.count("open")]
    readme = (DOCS.parent / "README.md").read_text()
    assert "no" not in answers
    assert all(states(overview, *counts))
    assert all(states(readme.partition("## How well the reports reproduce")[2], *counts))


def test_the_first_screen_is_short():
    """Words that are seen before anything is unfolded, and with everything."""
    for name in PAGES:
        text = (DOCS / name).read_text()
        visible = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
        counts = [
            sum(bool(re.search(r"\w", word)) for word in " ".join(shown).split())
            for tables, _, sentences in map(parts_of, (visible, text))
            for shown in [[*sentences, *(cell for rows in tables for row in rows for cell in row)]]
        ]
        assert counts[0] <= 400, (name, counts)
        assert counts[1] <= (3000 if "altunina" in name else 1500), (name, counts)


def test_links_lead_somewhere(pages):
    for file in pages.glob("*.md"):
        for address in parts_of(file.read_text())[1]:
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
    assert set(shown) == {f"figures/{file.name}" for file in (DOCS / "figures").glob("*.svg")}


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
    assert "<script" not in html
    assert 'href="javascript' not in html
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
    assert "<p><figure" not in to_html("![f](f.svg)\n\n*c*\n", {"f.svg": "<svg/>"})
    fold = "<details>\n<summary>More</summary>\n\nx <b>y</b>\n\n</details>\n\n<details open>\n"
    page_ = to_html(fold, {})
    assert "<details>\n<summary>More</summary>" in page_
    assert "&lt;b&gt;" in page_
    assert "&lt;details open" in page_
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
        'STUDIES = (Study("nobody-table-9", "nobody", "Table 9: one network",\n'
        '    [Setting(RECIPES["nobody_net"], "plain")], 3, ["Table 9"], ["test_error_pct"]),)\n'
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
    assert "No training has been run yet." in page
    ((_, row),) = parts_of(page)[0]
    assert row == ["nobody_net", "786", "786", ""]
    results = pd.read_csv(tmp_path / "out/results.csv")
    assert list(results["reported"]) == [27.25, 786]
    assert list(results["verdict"]) == ["not run", "agrees"]
