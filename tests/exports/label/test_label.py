"""`kpairs label` over its own HTTP interface: who may ask what, and what comes of answers."""

import csv
import http.client
import io
import json
import os
import shutil
import time
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from label_visits import Visitor, command, write_images
from PIL import Image

import kpairs
from kpairs.errors import InputError, KpairsError, UsageError
from kpairs.exports.web.label.pictures import shown
from kpairs.exports.web.label.sitting import Sitting


@contextmanager
def sitting(folder, **options):
    """Run a sitting in this process; yields its links and the session."""
    with Sitting(folder, **options) as running:
        thread = Thread(target=running.run)
        thread.start()
        try:
            yield running.links, running.session
        finally:
            running.stop()
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label") / "photos"
    write_images(folder, 12)
    return folder


@pytest.fixture(scope="module")
def several(folder, tmp_path_factory):
    """A sitting of two judges."""
    out = tmp_path_factory.mktemp("several") / "pairs.csv"
    with sitting(folder, judges=("anna", "ben"), out=out) as (links, session):
        yield {name: Visitor(link) for name, link in links.items()}, session


def answer(visitor, label="left", seconds=1.0):
    question = visitor.ask("state")["queue"][0]
    return question, visitor.ask("answer", question=question["id"], label=label, seconds=seconds)


def test_an_interrupt_while_the_server_starts_ends_it(folder, tmp_path, monkeypatch):
    """Ctrl-C may come within `Thread.start`: the thread serves already."""
    begun = []

    class Interrupted(Thread):
        def start(self):
            super().start()
            begun.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr("kpairs.exports.web.label.sitting.Thread", Interrupted)
    with Sitting(folder, out=tmp_path / "pairs.csv") as running:
        running.run()
        (thread,) = begun
        thread.join(1)
        assert not thread.is_alive()


def test_answers_undo_and_ties(folder, tmp_path):
    out = tmp_path / "pairs.csv"
    with sitting(folder, judge="anna", out=out) as (links, session):
        visitor = Visitor(links[""])
        asked = [answer(visitor, label)[0] for label in ("left", "right", "tie", "")]
        rows = list(csv.DictReader(out.read_text().splitlines()))
        assert [row["label"] for row in rows] == ["left", "right", "tie", ""]
        for row, question in zip(rows, asked, strict=True):
            assert row["left"].endswith(session.images.names[question["left"]])
            assert row["judge"] == "anna"
        for question in reversed(asked):  # as often as one likes, and the same sides
            first = visitor.ask("undo")["queue"][0]
            assert (first["left"], first["right"]) == (question["left"], question["right"])
        assert list(csv.DictReader(out.read_text().splitlines())) == []
        assert visitor.request("POST", "undo")[0] == 400


def test_an_answer_sent_twice_is_kept_once(folder, tmp_path):
    with sitting(folder, judge="anna", out=tmp_path / "pairs.csv") as (links, session):
        visitor = Visitor(links[""])
        question = visitor.ask("state")["queue"][0]
        for _ in range(3):
            visitor.ask("answer", question=question["id"], label="left", seconds=2)
        assert len(session.answers.rows) == 1
        status, _, data = visitor.request(
            "POST", "answer", {"question": "other", "label": "left", "seconds": 1}
        )
        assert status == 400
        assert "not asked" in json.loads(data)["error"]


def test_a_small_folder_is_compared_completely_and_no_pair_twice(tmp_path):
    write_images(tmp_path / "few", 4)
    with sitting(tmp_path / "few", judge="anna") as (links, _):
        visitor, pairs = Visitor(links[""]), []
        for _ in range(200):
            state = visitor.ask("state")
            if state["done"]:
                break
            if not state["queue"]:
                time.sleep(0.1)
                continue
            question, _ = answer(visitor)
            pairs.append(frozenset((question["left"], question["right"])))
        assert len(pairs) == len(set(pairs)) == 6
        assert state["done"]


def test_pairs_stay_within_folders(tmp_path):
    for name in ("p1", "p2", "p3"):
        write_images(tmp_path / name, 3)
    out = tmp_path / "pairs.csv"
    with sitting(tmp_path, judge="anna", group="folder") as (links, session):
        visitor = Visitor(links[""])
        for _ in range(9):
            while not visitor.ask("state")["queue"]:
                time.sleep(0.1)
            question, _ = answer(visitor)
            places = {
                os.path.dirname(session.images.names[question[side]]) for side in ("left", "right")
            }
            assert len(places) == 1
    assert {row["group"] for row in csv.DictReader(out.read_text().splitlines())} == {
        "p1",
        "p2",
        "p3",
    }


def test_going_on_with_more_and_fewer_images(tmp_path):
    folder = tmp_path / "photos"
    write_images(folder, 5)
    with sitting(folder, judge="anna") as (links, session):
        link = links[""]
        questions = [answer(Visitor(link))[0] for _ in range(4)]
        gone = session.images.names[questions[0]["left"]]
    (folder / gone).unlink()
    shutil.copy(next(folder.glob("*.png")), folder / "added.png")
    with sitting(folder, judge="anna") as (links, session):
        assert links[""] == link  # a link lasts
        assert "added.png" in session.images.names
        assert len(session.notes) == 1  # and nothing about the table itself
        assert "images that are gone" in session.notes[0]
        state = Visitor(link).ask("state")
        assert state["judged"] == 4
        assert len(session.answers.rows) == 4


def test_an_image_that_cannot_be_read_is_asked_no_more(tmp_path):
    folder = tmp_path / "photos"
    write_images(folder, 4)
    (folder / "bad.png").write_bytes(b"no image")
    with sitting(folder, judge="anna") as (links, session):
        visitor = Visitor(links[""])
        bad = session.images.names.index("bad.png")
        assert visitor.request("GET", f"image/{bad}/640")[0] == 400
        for _ in range(6):
            while not (state := visitor.ask("state"))["queue"]:
                time.sleep(0.1)
            assert bad not in {q[side] for q in state["queue"] for side in ("left", "right")}
            answer(visitor)
        ranked = until(lambda: visitor.ask("ranking")["images"])
        assert bad not in {one["number"] for one in ranked}


def test_a_folder_in_which_no_two_images_can_be_read_is_refused_at_once(tmp_path):
    write_images(tmp_path / "photos", 1)
    for number in range(3):
        (tmp_path / f"photos/bad{number}.png").write_bytes(b"no image" * number)
    with pytest.raises(InputError, match=r"3 of the 4 images cannot be read, such as bad0\.png: "):
        Sitting(tmp_path / "photos")
    assert sorted(os.listdir(tmp_path / "photos"))[0] == "0000.png"  # no table


@pytest.mark.parametrize("name", [" first.png", "'; -x.png", 'a,b " c.png', "ä%2F#?.png", "=1.png"])
def test_names_of_any_kind_reach_the_ranking(tmp_path, name):
    write_images(tmp_path / "photos", 2)
    os.rename(tmp_path / "photos/0000.png", tmp_path / "photos" / name)
    for _ in range(2):  # the answer is found again
        with sitting(tmp_path / "photos", judge="anna", repeat=0.5) as (links, session):
            if not session.answers.rows:
                answer(Visitor(links[""]))
            assert name in session.images.names
            assert not session.notes
            assert len(session.pairs_table()) == 1
    found = kpairs.Judgements.read(tmp_path / "photos/pairs.csv", session.images.files)
    assert sorted(Path(file).name for file in found.files) == sorted([name, "0001.png"])


def until(found, seconds=60):
    for _ in range(10 * seconds):
        if value := found():
            return value
        time.sleep(0.1)
    pytest.fail("nothing came")


def test_the_ranking_and_taking_one_answer_back(folder, tmp_path):
    scores = {
        name: float(np.asarray(Image.open(folder / name)).mean())
        for name in os.listdir(folder)
        if name.endswith(".png")
    }
    with sitting(folder, judge="anna", out=tmp_path / "pairs.csv") as (links, session):
        visitor = Visitor(links[""])
        for _ in range(30):
            while not visitor.ask("state")["queue"]:
                time.sleep(0.05)
            question = visitor.ask("state")["queue"][0]
            left, right = (
                scores[session.images.names[question[side]]] for side in ("left", "right")
            )
            visitor.ask(
                "answer",
                question=question["id"],
                label="left" if left > right else "right",
                seconds=1,
            )
        ranked = until(lambda: (r := visitor.ask("ranking"))["answers"] == 30 and r["images"])
        places = [scores[one["name"]] for one in ranked]
        assert np.corrcoef(places, np.arange(len(places)))[0, 1] < -0.9
        table = list(csv.DictReader(io.StringIO(visitor.request("GET", "scores.csv")[2].decode())))
        assert [row["file"] for row in table] == [one["name"] for one in ranked]
        assert len(visitor.request("GET", "pairs.csv")[2].splitlines()) == 31
        first = ranked[0]["number"]
        found = visitor.ask("comparisons", image=first)["comparisons"]
        assert found
        visitor.ask("withdraw", row=found[0]["row"], key=found[0]["key"])
        again = {"row": found[0]["row"], "key": found[0]["key"]}
        assert len(session.answers.rows) == 29
        assert len(visitor.ask("comparisons", image=first)["comparisons"]) == len(found) - 1
        status = visitor.request("POST", "withdraw", again)[0]
        assert status == 400 or len(session.answers.rows) == 28  # an equal answer stands there now


def test_judges_have_their_own_pairs_and_no_more(several):
    visitors, session = several
    for name in ("anna", "ben"):
        for _ in range(3):
            answer(visitors[name])
        for place in ("ranking", "comparisons", "withdraw", "judges", "train", "training", "end"):
            assert visitors[name].request("POST", place, {"image": 1})[0] == 403
        for place in ("pairs.csv", "scores.csv", "network.onnx"):
            assert visitors[name].request("GET", place)[0] == 403
        told = json.dumps([visitors[name].ask("begin"), visitors[name].ask("state")])
        assert not any(image in told for image in session.images.names)
    assert visitors["anna"].ask("begin")["command"] is None
    assert visitors[""].request("POST", "answer", {})[0] == 403
    assert visitors[""].request("GET", "network.onnx")[0] == 404
    found = {one["name"]: one for one in visitors[""].ask("judges")["judges"]}
    assert found["anna"]["answers"] == found["ben"]["answers"] == 3
    assert found["ben"]["link"].endswith(visitors["ben"].path)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "kpairs.example"}, 403),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": None}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Length": "99999999999"}, 413),
    ],
)
def test_other_sites_are_refused(several, headers, status):
    assert several[0]["anna"].request("POST", "state", **headers)[0] == status
    if "Host" in headers:
        assert several[0]["anna"].request("GET", "", **headers)[0] == status


def test_strangers_are_refused_and_no_path_is_told(several, folder):
    visitors = several[0]
    anna = visitors["anna"]
    key = anna.path.strip("/")
    for wrong in ("x", key[:-1], key + "A", key.swapcase(), "%ff", "é"):
        for method, place in (
            ("GET", ""),
            ("GET", "page.js"),
            ("GET", "image/0/640"),
            ("POST", "state"),
            ("POST", "answer"),
            ("GET", "pairs.csv"),
        ):
            status, *_ = anna.request(
                method, f"/{wrong.encode('ascii', 'ignore').decode() or 'e'}/{place}"
            )
            assert status == 403, (wrong, place)
    assert anna.request("GET", "/")[0] == 403
    home = os.path.realpath(folder)
    told = [
        visitors[""].request("POST", place, {"image": 0})[2]
        for place in ("begin", "state", "ranking", "comparisons", "judges")
    ]
    told += [visitors[""].request("GET", place)[2] for place in ("", "pairs.csv", "scores.csv")]
    told += [anna.request("GET", f"image/{number}/640")[2] for number in (-1, 10**6, "a")]
    assert not any(home.encode() in text or str(folder.parent).encode() in text for text in told)


@pytest.mark.parametrize("sent", [b"", b"[]", b"{", b"[" * 9000, b'{"label": 3}', b" " * 20_000])
def test_requests_that_make_no_sense_are_refused(several, sent):
    visitor, session = several[0]["anna"], several[1]
    before = len(session.answers.rows)
    own = {"Origin": visitor.origin, "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(visitor.host, visitor.port, timeout=30)) as connection:
        connection.request("POST", f"{visitor.path}answer", sent, own)
        assert connection.getresponse().status in (400, 413)
    assert len(session.answers.rows) == before


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"host": "0.0.0.0", "judges": ("a",)}, UsageError, "the address by which others"),
        ({"host": "127.0.0.2"}, UsageError, "add --judges"),
        ({"judges": ("a", "a")}, UsageError, "each name once"),
        ({"judges": "anna"}, UsageError, r"a list of names, such as \['anna'\]"),
        ({"judge": "a", "judges": ("b",)}, UsageError, "received both"),
        ({"out": "pairs.txt"}, UsageError, r"ends in \.csv"),
        ({"out": "nowhere/pairs.csv"}, InputError, "no such folder for the table"),
        ({"out": "/sys/pairs.csv"}, KpairsError, "cannot be written"),
        ({"host": "203.0.113.7", "judges": ("a",)}, KpairsError, "cannot listen"),
        ({"url": "label.example", "judges": ("a",)}, UsageError, "https://label.example.org"),
    ],
)
def test_bad_options_get_a_line(folder, workplace, options, error, match):
    with pytest.raises(error, match=match):
        Sitting(folder, **{"out": "pairs.csv", **options})
    assert not Path("pairs.csv.lock").exists()


def test_a_proxy_with_tls_may_stand_before_it(folder, tmp_path):
    options = {"judges": ("anna",), "url": "https://label.example.org/"}
    with sitting(folder, out=tmp_path / "pairs.csv", **options) as (links, _):
        assert links["anna"].startswith("https://label.example.org/")
        port = json.loads((tmp_path / ".pairs.csv.links.json").read_text())["port"]
        key = links["anna"].rstrip("/").rpartition("/")[2]
        visitor = Visitor(f"http://127.0.0.1:{port}/{key}/")
        proxied = {"Host": "label.example.org", "Origin": "https://label.example.org"}
        assert visitor.request("POST", "state", **proxied)[0] == 200
        assert visitor.request("POST", "state", Host="label.example.org")[0] == 200
        assert visitor.request("POST", "state", Origin="http://label.example.org")[0] == 403


def test_another_address_of_this_machine(folder, tmp_path):
    options = {"judges": ("anna",), "host": "127.0.0.2", "out": tmp_path / "pairs.csv"}
    with sitting(folder, **options) as (links, _):
        visitor = Visitor(links["anna"])
        assert visitor.host == "127.0.0.2"
        assert visitor.request("POST", "state")[0] == 200
        for other in ("127.0.0.1", "localhost", "127.0.0.2.example"):
            assert visitor.request("POST", "state", Host=f"{other}:{visitor.port}")[0] == 403


def test_links_are_for_their_owner_alone(folder, tmp_path):
    with sitting(folder, judges=("anna",), out=tmp_path / "pairs.csv"):
        assert (tmp_path / ".pairs.csv.links.json").stat().st_mode & 0o077 == 0


def test_images_are_upright_scaled_and_bare(tmp_path, rng):
    picture = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a patient's name"
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    small = shown(str(tmp_path / "a.png"), "a.png", 640)
    assert (small.width, small.height, small.kind) == (60, 90, "image/png")
    opened = Image.open(io.BytesIO(small.data))
    np.testing.assert_array_equal(np.asarray(opened), np.rot90(picture, -1))  # pixel by pixel
    assert b"patient" not in small.data
    large = rng.integers(0, 256, (300, 4000, 3), dtype=np.uint8)
    Image.fromarray(large).save(tmp_path / "b.tif")
    reduced = shown(str(tmp_path / "b.tif"), "b.tif", 1024)
    assert (reduced.width, reduced.height) == (4000, 300)
    assert max(Image.open(io.BytesIO(reduced.data)).size) <= 1024


def test_deep_grey_and_transparent_images(tmp_path):
    deep = np.linspace(0, 4095, 40 * 40).reshape(40, 40).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    made = np.asarray(
        Image.open(io.BytesIO(shown(str(tmp_path / "deep.png"), "d", 640, 4095).data))
    )
    assert (made.min(), made.max()) == (0, 255)
    Image.fromarray(deep).save(tmp_path / "deeper.png")
    for white, said in ((65535, "2 of 2 pictures have 16 bits"), (4095, "")):
        with sitting(tmp_path, judge="anna", white=white) as (links, session):
            dark = Visitor(links[""]).ask("begin")["dark"]  # the page says it at once
            assert dark[: len("2 of 2 pictures have 16 bits")] == said
            assert session.notes == [dark] * bool(said)
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:4, :, 3] = 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    made = np.asarray(Image.open(io.BytesIO(shown(str(tmp_path / "clear.png"), "c", 640).data)))
    assert made[:4].max() == 0
    assert made[4:].min() == 255


def test_python_gets_the_judgements(folder, tmp_path, monkeypatch):
    lines = []

    def say(line):
        lines.append(line)
        Thread(target=visit, args=(line.split()[0],)).start()

    def visit(link):
        visitor = Visitor(link)
        for label in ("left", "tie"):
            answer(visitor, label)
        visitor.ask("end")

    found = kpairs.label(folder, out=tmp_path / "pairs.csv", judge="anna", browser=False, say=say)
    assert found.outcome.tolist() == [0, 0.5]
    assert (found.count, found.judges) == (12, ("anna",))
    assert len(lines) == 1


def test_a_training_tells_what_it_needs(tmp_path, workplace):
    """Without answers it fails at once; no answer tells a path of the disk."""
    write_images(tmp_path / "photos", 3)
    with sitting("photos", judge="anna") as (links, _):
        command_ = Visitor(links[""]).ask("begin")["command"]["train"]
        assert command_ == "kpairs train --data photos/pairs.csv"
    with sitting("photos", judge="anna", white=4095) as (links, _):
        command_ = Visitor(links[""]).ask("begin")["command"]["train"]
        assert command_ == "kpairs train --data photos/pairs.csv --white 4095"
    with sitting(tmp_path / "photos", judge="anna") as (links, _):
        visitor = Visitor(links[""])
        command_ = visitor.ask("begin")["command"]["train"]
        assert command_ == "kpairs train --data pairs.csv"
        assert visitor.ask("training")["state"] == "none"
        assert visitor.request("GET", "places/0")[0] == 400  # no network is there
        assert visitor.request("GET", "places/3")[0] == 404
        visitor.ask("train")
        told = until(lambda: (t := visitor.ask("training"))["state"] == "failed" and t)
        assert "pairs.csv: expected judged pairs below the header" in told["error"]
        assert str(tmp_path) not in told["error"]


def test_the_command_says_where_and_goes_on(tmp_path):
    write_images(tmp_path / "photos", 6)
    for judged in (0, 1):
        with command(tmp_path / "photos", "--judge", "anna") as (_, links):
            visitor = Visitor(links["compare"])
            assert visitor.ask("state")["judged"] == judged
            answer(visitor)
    assert len((tmp_path / "photos/pairs.csv").read_text().splitlines()) == 3
