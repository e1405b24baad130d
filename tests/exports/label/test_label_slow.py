"""`kpairs label` killed fifty times, under 200 clients, and as a way from a folder to a network."""

import csv
import http.client
import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from label_visits import Visitor, command, write_images
from PIL import Image, ImageFilter
from scipy.stats import kendalltau

pytestmark = pytest.mark.slow


def labels(out):
    return [row["label"] for row in csv.DictReader(out.read_text().splitlines())]


def test_fifty_kills_lose_nothing_that_was_confirmed(tmp_path):
    write_images(tmp_path / "photos", 30, (8, 8))
    out, rng = tmp_path / "pairs.csv", random.Random(0)
    confirmed, unconfirmed = [], 0
    for _ in range(50):
        with command(tmp_path / "photos", "--out", out, "--judge", "anna") as (process, links):
            there = labels(out)
            extra = len(there) - len(confirmed)
            assert there[: len(confirmed)] == confirmed[: len(there)]
            assert extra in (0, 1, -1)  # an answer, or an undo, that was not confirmed
            unconfirmed += extra != 0
            confirmed = there
            children = _children(process.pid)
            killer = threading.Timer(rng.uniform(0.05, 0.6), process.kill)
            killer.start()
            try:
                visitor = Visitor(links["compare"])
                while True:
                    state = visitor.ask("state")
                    if confirmed and rng.random() < 0.2:
                        visitor.ask("undo")
                        confirmed.pop()
                        continue
                    if not state["queue"]:
                        time.sleep(0.01)
                        continue
                    label = rng.choice(["left", "right", "tie", ""])
                    visitor.ask("answer", question=state["queue"][0]["id"], label=label, seconds=1)
                    confirmed.append(label)
            except (OSError, http.client.HTTPException):
                killer.join()
        for _ in range(100):
            left = [child for child in children if Path(f"/proc/{child}").exists()]
            if not left:
                break
            time.sleep(0.05)
        assert not left
    assert len(confirmed) > 100


def _children(process):
    listed = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True)
    return listed.stdout.split()


def test_two_hundred_clients_at_once(tmp_path):
    """2,000 requests, slow clients among them: none is dropped, and memory does not grow."""
    write_images(tmp_path / "photos", 60, (300, 200))
    judges = [f"judge{number}" for number in range(200)]
    with command(tmp_path / "photos", "--judges", ",".join(judges)) as (process, links):
        slow = [_half_a_request(links[name]) for name in judges[:20]]

        def compare(name):
            visitor = Visitor(links[name])
            for _ in range(5):
                state = visitor.ask("state")
                question = state["queue"][0]
                assert visitor.request("GET", f"image/{question['left']}/320")[0] == 200
                visitor.ask("answer", question=question["id"], label="left", seconds=1)
            return 15

        memory = []
        for _ in range(2):
            with ThreadPoolExecutor(200) as pool:
                assert sum(pool.map(compare, judges)) == 3000
            memory.append(_memory(process.pid))
        for client in slow:
            client.close()
        assert memory[1] - memory[0] < 40 * 2**20
        assert memory[1] < 500 * 2**20
        found = Visitor(links["you"]).ask("judges")["judges"]
        assert [one["answers"] for one in found] == [10] * 200


def _half_a_request(link):
    visitor = Visitor(link)
    client = http.client.HTTPConnection(visitor.host, visitor.port)
    client.connect()
    client.sock.sendall(b"POST /x HTTP/1.1\r\nHost: ")
    return client


def _memory(process):
    text = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(text.split("VmRSS:")[1].split()[0])


def test_a_folder_becomes_a_ranking_and_a_network(tmp_path, workplace):
    """A judge by HTTP who errs as people do, then the network that the page trains."""
    folder = tmp_path / "photos"
    truth = write_photographs(folder, 300)
    rng = np.random.default_rng(1)
    with command(folder, "--judge", "anna") as (process, links):
        visitor = Visitor(links["compare"])
        names = _names_by_number(visitor, folder)
        while visitor.ask("state")["features"]:
            time.sleep(0.5)
        taus = []
        for count in range(300):
            while not (queue := visitor.ask("state")["queue"]):
                time.sleep(0.05)
            left, right = (truth[names[queue[0][side]]] for side in ("left", "right"))
            right_higher = rng.random() < 1 / (1 + np.exp(-(right - left)))
            label = "right" if right_higher else "left"
            visitor.ask("answer", question=queue[0]["id"], label=label, seconds=1)
            time.sleep(0.3)  # about as a person: the model is refitted meanwhile
            if count % 50 == 49:
                taus.append(_tau(_ranking(visitor, count + 1), truth))
        print("tau after 50, 100, ... 300 answers:", [round(tau, 3) for tau in taus])
        page = _ranking(visitor, 300)
        visitor.ask("train")
        assert visitor.request("POST", "train")[0] == 400  # one at a time
        while (told := visitor.ask("training"))["state"] == "running":
            time.sleep(1)
        assert told["state"] == "done", told
        assert visitor.ask("begin")["command"]["train"] == "kpairs train --data pairs.csv"
        status, _, picture = visitor.request("GET", "places/7")
        assert (status, picture[:4]) == (200, b"\x89PNG")
        (tmp_path / "linear.onnx").write_bytes(visitor.request("GET", "network.onnx")[2])
        process.send_signal(signal.SIGINT)
    assert max(taus) >= 0.75
    assert told["wrong"] < 0.45
    assert (workplace / told["run"] / "recipe.json").is_file()
    ranked = json.loads(_kpairs("rank", tmp_path / "linear.onnx", folder, "--json"))
    scores = {Path(one["file"]).name: one["score"] for one in ranked["images"]}
    agreed = kendalltau([scores[name] for name in page], -np.arange(len(page)))[0]
    print(f"tau of the network's order with the page's: {agreed:.3f}")
    assert agreed > 0.9  # 0.92: the network learns from all pairs, and has no residuals


def write_photographs(folder, count):
    """Write crops of photographs, blurred by known amounts; return logits of sharpness by name."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    photographs += [data.immunohistochemistry(), load_sample_image("china.jpg")]
    photographs += [load_sample_image("flower.jpg")]
    rng, truth = np.random.default_rng(0), {}
    folder.mkdir()
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        top, left = (rng.integers(0, side - 127) for side in photograph.shape[:2])
        crop = Image.fromarray(photograph[top : top + 128, left : left + 128])
        radius = float(rng.uniform(0, 3))
        name = f"{number:03}.png"
        crop.filter(ImageFilter.GaussianBlur(radius)).save(folder / name)
        truth[name] = -4 * radius
    return truth


def _names_by_number(visitor, folder):
    """Images are numbered in natural order."""
    names = sorted(path.name for path in folder.glob("*.png"))
    for number in (0, len(names) - 1):
        shown = Image.open(io.BytesIO(visitor.request("GET", f"image/{number}/320")[2]))
        np.testing.assert_array_equal(shown, Image.open(folder / names[number]))
    return names


def _ranking(visitor, answers):
    """Wait for the order that knows so many answers; return names, the highest first."""
    for _ in range(600):
        found = visitor.ask("ranking")
        if found["answers"] == answers:
            return [one["name"] for one in found["images"]]
        time.sleep(0.1)
    raise AssertionError("no ranking came")


def _tau(names, truth):
    return kendalltau(-np.arange(len(names)), [truth[name] for name in names])[0]


def _kpairs(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "kpairs.cli", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
