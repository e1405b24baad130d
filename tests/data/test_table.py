"""One strict reader for every table: separators, encodings, JSON lines, rows of other length."""

import csv
import io
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpairs.data.table import Header, is_table, number, read_table
from kpairs.errors import InputError

PLAIN = [["left", "right", "label"], ["a.png", "b.png", "left"], ["ä b.png", "c.png", "tie"]]


def write(folder, data, name="pairs.csv"):
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder / name


def cells(path):
    return [row for _, row in read_table(path, "pairs")]


def as_text(rows, mark=",", first=""):
    out = io.StringIO()
    csv.writer(out, delimiter=mark).writerows(rows)
    return first + out.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.csv", as_text(PLAIN).encode()),
        ("marked.csv", as_text(PLAIN).encode("utf-8-sig")),
        ("utf16.csv", as_text(PLAIN).encode("utf-16")),
        ("be.csv", b"\xfe\xff" + as_text(PLAIN).encode("utf-16-be")),
        ("utf32.csv", as_text(PLAIN).encode("utf-32")),
        ("excel.csv", as_text(PLAIN, ";", "sep=;\r\n").encode("cp1252")),
        ("quoted.csv", as_text(PLAIN, "|", '"sep=|"\n').encode()),
        ("semicolon.csv", as_text(PLAIN, ";").encode()),
        ("tab.csv", as_text(PLAIN, "\t").encode()),
        ("table.tsv", as_text(PLAIN, "\t").encode()),
        ("unix.csv", as_text(PLAIN).replace("\r\n", "\n").rstrip("\n").encode()),
        ("old.csv", as_text(PLAIN).replace("\r\n", "\r").encode()),
        (
            "a.jsonl",
            "\n".join(json.dumps(dict(zip(PLAIN[0], r, strict=True))) for r in PLAIN[1:]).encode(),
        ),
        (
            "a.ndjson",
            "\n\n".join(
                json.dumps(dict(zip(PLAIN[0], r, strict=True)), ensure_ascii=False)
                for r in PLAIN[1:]
            ).encode(),
        ),
    ],
)
def test_every_way_to_write_the_same_table(tmp_path, name, data):
    assert cells(write(tmp_path, data, name)) == PLAIN
    assert is_table(name.upper())


def test_windows_1252_is_read_and_said_once(tmp_path, caplog):
    path = write(tmp_path, as_text(PLAIN).encode("cp1252"))
    table = read_table(path, "pairs")
    assert next(table)[1] == PLAIN[0]
    assert not caplog.records  # who reads the header alone says nothing
    assert len(list(table)) == 2
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: its text is no UTF-8; read as Windows-1252. If names come out wrong, save the "
        "file as UTF-8"
    ]


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t;,\"'"), max_size=8
).map(str.strip)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), mark=st.sampled_from(",;\t"), encoding=st.sampled_from(["utf-8", "utf-16"]))
def test_what_a_csv_writer_writes_is_read(data, mark, encoding, tmp_path_factory):
    """Quoted marks and newlines in cells too."""
    width = data.draw(st.integers(2, 4))
    header = data.draw(
        st.lists(
            st.text("abcXYZ ;,\t", min_size=1).filter(str.strip).map(str.strip),
            min_size=width,
            max_size=width,
            unique_by=str.lower,
        )
    )
    rows = data.draw(st.lists(st.lists(texts, min_size=width, max_size=width), max_size=4))
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(as_text([header, *rows], mark, f"sep={mark}\n").encode(encoding))
    received = cells(path)
    assert received[0].written == header
    assert received[1:] == [[c.replace("\r\n", "\n") for c in row] for row in rows if any(row)]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", "left,right,probability\na.png,b.png,0,75\n", "row 2: .* 3 cells, received 4; q"),
        ("a.csv", "a,b\n\n1,2\n3\n", "row 4: expected 2 cells, received 1$"),
        ("a.tsv", "a\tb\n1,2\n", "row 2: expected 2 cells"),
        ("a.csv", "a,b,a\n1,2,3\n", "expected each column once, received 'a' twice"),
        ("a.jsonl", '{"a": 1, "a": 2}\n', "row 1: expected a JSON object, received: 'a' twice"),
        ("a.jsonl", '{"a": {"b": 1}, "a.b": 2}\n', "row 1: .*'a.b' twice"),
        ("a.jsonl", '{"a": 1}\n[1, 2]\n', r"row 2: expected a JSON object, received: \[1, 2\]"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "row 2: expected a JSON object, received: Expecting"),
        ("a.jsonl", "[" * 100_000, "row 1: expected a JSON object"),
        ("a.jsonl", "", "expected a JSON-lines file of pairs, received an empty file"),
        ("a.csv", ",,\n1,2,3\n", "received an empty file"),
        ("a.csv", "sep=;\n", "received an empty file"),
        ("a.csv", "left,right\n".encode("utf-16-le"), "received zero bytes, as UTF-16"),
        ("a.csv", b"left\n\xc3\xa4\n\xe4\n", "expected a CSV file of pairs, received: 'utf-8'"),
        ("a.csv", b"left\n\x81\n", "expected a CSV file of pairs, received: 'charmap'"),
        ("a.csv", b"\xff\xfel\0e", "expected a CSV file of pairs, received: 'utf-16"),
        ("none.csv", None, "none.csv: no such file or folder"),
    ],
)
def test_tables_that_are_refused(tmp_path, name, data, message):
    if data is not None:
        write(tmp_path, data, name)
    with pytest.raises(
        InputError, match=f"{name}:? ?{message}" if message[:3] == "row" else message
    ):
        cells(tmp_path / name)


def test_json_cells(tmp_path):
    """Texts of numbers as they are written, so that `number` judges them."""
    lines = (
        '{"id": 1.50, "scores": {"Left": 1e400, "right": NaN}, "more": [1, "x"]}',
        '{"id": null, "tie": true, "name": " ä "}',
    )
    header, one, other = cells(write(tmp_path, "\n".join(lines), "a.jsonl"))
    assert header == ["id", "scores.left", "scores.right", "more", "tie", "name"]
    assert header.written[1] == "scores.Left"
    assert one == ["1.50", "1e400", "NaN", '["1", "x"]', "", ""]
    assert other == ["", "", "", "", "true", "ä"]


def test_columns_that_users_name():
    header = Header(["Image, left", "label", "LABEL", "Note"])
    assert header == ["image, left", "label", "LABEL", "note"]
    found = [header.find(n) for n in ("image, LEFT", " label", "LABEL", "note", "Label", "none")]
    assert found == [0, 1, 2, 3, 1, None]


@pytest.mark.parametrize(
    "text",
    [
        *("1_5", "0_1", "1,5", "nan", "inf", "-Infinity", "1e400", "0x10", "١٢", "²", "", " "),
        *("1 2", "1e", ".", "+", "--1", "1.2.3", "1\n", "True", "１", "1%", "½", "e5"),
    ],
)
def test_what_is_no_number(text):
    assert number(text) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_a_number(value):
    for text in (repr(value), f"{value:e}", f" {value!r} ", f"{value:.3f}"):
        assert number(text) == float(text)
    assert [number(text) for text in ("7", ".5", "5.", "+1E-2", "007")] == [7, 0.5, 5, 0.01, 7]


@given(st.text(max_size=6))
def test_whatever_is_a_number_python_reads_alike(text):
    value = number(text)
    assert value is None or (math.isfinite(value) and value == float(text))
