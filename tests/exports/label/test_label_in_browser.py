"""The page to compare on in a real browser: keys, taps, reloads, a kill in between, two judges."""

import csv
import os
import re
import signal

import pytest
from label_visits import command, write_images
from pages import until

pytestmark = pytest.mark.browser
ARROWS = {"left": "ArrowLeft", "right": "ArrowRight", "tie": "ArrowDown", "": "s"}


@pytest.fixture
def tabs(browser):
    """Opens pages whose errors fail the test."""
    pages, errors = [], []

    def open_page(link, **options):
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **options})
        page.on("pageerror", lambda error: errors.append(str(error)))
        pages.append(page)
        page.goto(link)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert errors == []


def ready(page):
    """Wait for a pair, and until an answer to it counts."""
    page.wait_for_selector("body[data-shown]")
    page.wait_for_timeout(170)
    return page.evaluate("document.body.dataset.shown")


def press(page, key):
    """Press a key, and wait for another pair."""
    before = ready(page)
    page.keyboard.press(key)
    until(page, f"document.body.dataset.shown !== '{before}'")


def rows(out):
    return list(csv.DictReader(out.read_text().splitlines()))


def judged(page):
    return int(re.search(r"\d+", page.inner_text("#count"))[0])


@pytest.mark.slow
def test_sixty_comparisons_by_keys_through_a_reload_and_a_kill(tabs, tmp_path, rng):
    folder, out = tmp_path / "photos", tmp_path / "pairs.csv"
    write_images(folder, 40, (300, 200))
    options = ["--judge", "anna", "--out", out, "--question", "Which is brighter?"]
    expected = []

    def compare(count):
        for _ in range(count):
            label = str(rng.choice(["left", "right", "right", "tie", ""]))
            press(page, ARROWS[label])
            expected.append(label)
            if rng.random() < 0.2:
                press(page, "z")
                expected.pop()
        assert [row["label"] for row in rows(out)] == expected

    with command(folder, *options) as (process, links):
        page = tabs(links["compare"])
        ready(page)
        assert page.title() == page.inner_text("h1") == "Which is brighter?"
        compare(20)
        page.reload()
        compare(20)
        process.send_signal(signal.SIGKILL)
        process.wait()
        ready(page)
        page.keyboard.press("ArrowLeft")  # never confirmed
        until(page, "!document.querySelector('#message').hidden")
        assert "No answer from kpairs" in page.inner_text("#message")
    with command(folder, *options):
        until(page, "document.querySelector('#message').textContent.includes('not asked any more')")
        compare(20)  # in the same page, as the link lasts
        assert judged(page) == sum(map(bool, expected))
        latency = float(page.evaluate("document.body.dataset.milliseconds"))
        assert 0 < latency < 2000
    times = [float(row["seconds"]) for row in rows(out)]
    assert min(times) >= 0.1
    assert max(times) < 60


def test_nothing_is_loaded_from_elsewhere_and_the_next_pair_is_there(tabs, tmp_path):
    write_images(tmp_path / "photos", 10)
    with command(tmp_path / "photos", "--judge", "anna", "--no-ties") as (_, links):
        page, asked = tabs("about:blank"), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(links["compare"])
        ready(page)
        page.wait_for_timeout(500)
        own = links["compare"].split("/")[2]
        assert all(own in url for url in asked if not url.startswith(("blob:", "data:")))
        before = len([url for url in asked if "/image/" in url])
        assert before >= 4  # the first pair, and another
        assert page.locator("#choose-tie").is_hidden()
        shown = page.evaluate("document.body.dataset.shown")
        page.keyboard.press("ArrowDown")
        page.wait_for_timeout(200)
        assert page.evaluate("document.body.dataset.shown") == shown
        assert not (tmp_path / "photos/pairs.csv").read_text().count("tie")


@pytest.mark.slow
def test_zoom_moves_both_images_alike(tabs, tmp_path):
    write_images(tmp_path / "photos", 6, (1800, 1200))
    where = "[...document.querySelectorAll('.view img')].map((image) => image.style.transform)"
    with command(tmp_path / "photos", "--judge", "anna") as (_, links):
        page = tabs(links["compare"])
        ready(page)
        fit = page.evaluate(where)
        box = page.locator("#left .view").bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 300)
        page.mouse.wheel(0, -600)
        first, second = page.evaluate(where)
        assert first == second != fit[0]
        page.mouse.down()
        page.mouse.move(box["x"] + 250, box["y"] + 350, steps=5)
        page.mouse.up()
        moved = page.evaluate(where)
        assert moved[0] == moved[1] != first
        assert len(rows(tmp_path / "photos/pairs.csv")) == 0  # a drag is no answer
        page.keyboard.press("1")
        assert all("scale(1)" in text for text in page.evaluate(where))
        sizes = "[...document.querySelectorAll('.view img')].map((image) => image.naturalWidth)"
        until(page, f"JSON.stringify({sizes}) === '[1800,1800]'")  # its own pixels are fetched
        page.keyboard.press("0")
        assert page.evaluate(where) == fit
        page.mouse.click(box["x"] + 100, box["y"] + 300)
        until(page, "document.querySelector('#count').textContent.startsWith('1 ')")
        assert [row["label"] for row in rows(tmp_path / "photos/pairs.csv")] == ["left"]


def test_a_phone(tabs, tmp_path):
    write_images(tmp_path / "photos", 12, (300, 200))
    phone = {"viewport": {"width": 400, "height": 800}, "has_touch": True, "is_mobile": True}
    out = tmp_path / "photos/pairs.csv"
    with command(tmp_path / "photos", "--judge", "anna") as (_, links):
        page = tabs(links["compare"], **phone)
        ready(page)
        assert page.locator("#pair.stacked").count() == 1
        for _ in range(2):
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
            press_by(page, lambda: page.locator("#right .view").tap())
            press_by(page, lambda: swipe(page, "#right .view", 0, -150))
            press_by(page, lambda: page.locator("#choose-tie").tap())
            press_by(page, lambda: page.locator("#undo").tap())
        assert [row["label"] for row in rows(out)] == ["right", "left"] * 2
        page.locator("#tab-ranking").tap()
        page.wait_for_selector(".item")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


def press_by(page, act):
    before = ready(page)
    act()
    until(page, f"document.body.dataset.shown !== '{before}'")


def swipe(page, place, dx, dy):
    box = page.locator(place).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    client = page.context.new_cdp_session(page)
    for kind, part in (("touchStart", 0), ("touchMove", 0.5), ("touchMove", 1), ("touchEnd", None)):
        points = [] if part is None else [{"x": x + part * dx, "y": y + part * dy}]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@pytest.mark.slow
def test_two_judges_at_once_and_who_started_it(tabs, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "pairs.csv"
    write_images(folder, 20)
    with command(folder, "--judges", "anna,ben", "--out", out) as (_, links):
        pages = {name: tabs(links[name]) for name in ("anna", "ben")}
        for number in range(8):
            for page in pages.values():
                assert page.locator("#tabs").is_hidden()
                press(page, "ArrowRight" if number % 2 else "ArrowLeft")
        starter = tabs(links["you"])
        starter.wait_for_selector("#judge-rows tr")
        assert starter.locator("#judge-rows tr").count() == 2
        assert "anna" in starter.inner_text("#judge-rows")
        starter.click("#tab-ranking")
        starter.wait_for_selector(".item")
        assert starter.locator(".item").count() == 20
        starter.click(".item >> nth=0")
        starter.wait_for_selector("#comparisons li")
        before = len(rows(out))
        starter.click("#comparisons li >> nth=0 >> button")
        for _ in range(100):
            if len(rows(out)) < before:
                break
            starter.wait_for_timeout(50)
        assert len(rows(out)) == before - 1 == 15
    assert {row["judge"] for row in rows(out)} == {"anna", "ben"}


def test_the_command_of_a_training_is_copied(tabs, tmp_path):
    write_images(tmp_path / "photos", 4)
    with command(tmp_path / "photos", "--judge", "anna") as (_, links):
        page = tabs(links["compare"])
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        ready(page)
        page.click("#tab-ranking")
        page.click("#next-step")
        page.click("#train summary")
        page.click("#train-command .copy")
        until(page, "document.querySelector('#train-command .copy').textContent === 'Copied'")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == "kpairs train --data pairs.csv"
        assert page.inner_text("#train-where") == "where pairs.csv is"
        page.click("#train-start")  # without answers
        until(page, "document.querySelector('#train-said').classList.contains('bad')")
        assert "expected judged pairs below the header" in page.inner_text("#train-said")
        assert page.locator("#train-next").is_hidden()


def test_everything_has_a_name_and_is_reached_by_keys(tabs, tmp_path):
    write_images(tmp_path / "photos", 6)
    with command(tmp_path / "photos", "--judge", "anna") as (_, links):
        page = tabs(links["compare"])
        ready(page)
        unnamed = page.evaluate(
            """[...document.querySelectorAll("button, a, select, img")].filter((one) =>
              one.checkVisibility() && !(one.getAttribute("aria-label") || one.textContent.trim()
                || one.alt || one.closest("label"))).map((one) => one.outerHTML)"""
        )
        assert unnamed == []
        page.keyboard.press("?")
        assert page.locator("#help").is_visible()
        page.keyboard.press("ArrowLeft")  # no answer while one reads
        page.keyboard.press("Escape")
        reached = set()
        for _ in range(20):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id"))
        assert {"undo", "skip", "choose-left", "choose-right", "choose-tie", "fit"} <= reached
        press(page, "ArrowLeft")
        assert "left, saved" in page.inner_text("#said")
        assert len(rows(tmp_path / "photos/pairs.csv")) == 1
        assert os.path.exists(tmp_path / "photos/.pairs.csv.lock")
