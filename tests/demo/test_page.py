"""The page in a browser, and through Gradio's client. Needs the extra `demo`; the browser tests also Chromium (Debian's
package, or $CHROMIUM) and Playwright."""

import json
import os
import shutil
import socket
import sys
import time
from multiprocessing import get_context

import pytest

from .. import fork_server

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
WAIT = 60_000  # milliseconds, on a busy machine
pytestmark = pytest.mark.slow
browsing = pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium, or set $CHROMIUM")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def write_results(path):
    """Results in three environments, as `ldm evaluate` writes them."""
    environments = {}
    for name, score in {"CartPole-v1": 0.9, "Taxi-v4": 0.1, "Walk-v0": 1.0}.items():
        means = {"random": 0.0, "reference": 10.0, "ldm": 10 * score, "ldm_history_only": 10 * score}
        measured = {
            player: {"mean": mean, "std": 0.0, "episodes": 2, "seed": 0, "returns": [mean, mean]}
            for player, mean in means.items()
        }
        environments[name] = {"domain": "some", "normalised": score, "normalised_history_only": score, **measured}
    path.write_text(json.dumps({"environments": environments}))


@pytest.fixture(scope="module")
def served(model_folder, worlds, tmp_path_factory):
    from ldm_hf.demo.page import serve

    port = free_port()
    write_results(model_folder / "results.json")
    page, visitors = serve(
        str(model_folder),
        str(tmp_path_factory.mktemp("references")),
        port=port,
        block=False,
        context=get_context("spawn"),
    )
    yield f"http://127.0.0.1:{port}", visitors
    visitors.close()
    page.close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as found:
        chromium = found.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture()
def tab(served, browser):
    yield from open_tab(served[0], browser)


def open_tab(url, browser, width=1200, height=1000):
    page = browser.new_page(viewport={"width": width, "height": height})
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(url)
    page.wait_for_selector("#play", timeout=WAIT)
    yield page
    page.close()
    assert page.errors == []


def choose(tab, name):
    box = tab.get_by_label("Environment", exact=False).first
    box.click()
    box.press("Control+a")
    box.press_sequentially(name)
    tab.get_by_role("option").filter(has_text=name).first.click()


def play(tab, name):
    choose(tab, name)
    tab.click("#play")
    shows(tab, "#facts", name)


def shows(tab, where, text):
    """Waits until a text is somewhere."""
    tab.wait_for_function(
        "([where, text]) => document.querySelector(where)?.innerText.includes(text)", arg=[where, text], timeout=WAIT
    )


@browsing
def test_choose_play_pause_and_cut(tab, served):
    play(tab, "Walk-v0")
    shows(tab, "#stage", "last 10")  # an episode of the reference is over
    assert tab.locator("#stage img").count() == 3
    shows(tab, "#bars", "stay")
    shows(tab, "#facts", "after")  # what it takes the first numbers to be
    (game,) = [game for game in served[1]._games.values() if game.row.name == "Walk-v0"]
    tab.click("#pause")
    shows(tab, "#pause", "Go on")
    time.sleep(1)
    steps = game.scene.steps
    time.sleep(1)
    assert game.scene.steps == steps
    tab.click("#cut")
    tab.get_by_label("Task text").uncheck()
    tab.click("#pause")
    shows(tab, "#pause", "Pause")
    tab.wait_for_timeout(1500)
    assert game.scene.steps > steps and not game.settings.task


@browsing
def test_change_the_world(tab):
    play(tab, "Walk-v0")
    number = tab.get_by_label("number input for length")
    assert number.input_value() == "10"
    number.fill("25")
    number.press("Tab")
    shows(tab, "#stage", "last 25")
    assert number.input_value() == "25"


@browsing
@pytest.mark.parametrize(
    ("name", "says"),
    [("Walk-dies-v0", "exit code 3"), ("Walk-fails-v0", "the floor is gone"), ("Blind-v0", "picture")],
)
def test_what_crashes_is_a_message_and_the_others_play_on(served, browser, name, says, caplog):
    other = open_tab(served[0], browser)
    bystander = next(other)
    play(bystander, "Walk-long-v0")
    (game,) = [game for game in served[1]._games.values() if game.row.name == "Walk-long-v0"]
    for tab in open_tab(served[0], browser):
        choose(tab, name)
        tab.click("#play")
        shows(tab, "#message", says)
        assert len([line for line in caplog.messages if name in line]) == 1
        steps = game.scene.steps
        play(tab, "Walk-v0")
        assert tab.inner_text("#message") == ""
        bystander.wait_for_timeout(500)
        assert game.scene.steps > steps and bystander.inner_text("#message") == ""
    assert [*other] == []


@browsing
def test_a_closed_tab_ends_its_game(served, browser):
    tab = browser.new_page()
    tab.goto(served[0])
    tab.wait_for_selector("#play", timeout=WAIT)
    play(tab, "Walk-longer-v0")
    (game,) = [game for game in served[1]._games.values() if game.row.name == "Walk-longer-v0"]
    tab.close()
    until = time.monotonic() + 30
    while not game.closed and time.monotonic() < until:
        time.sleep(0.1)
    assert game.closed


@browsing
def test_a_phone_shows_all_of_it(served, browser):
    for tab in open_tab(served[0], browser, 390, 844):
        play(tab, "Walk-v0")
        shows(tab, "#stage", "random")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        boxes = [image.bounding_box() for image in tab.locator("#stage img").all()]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)


@browsing
def test_results_are_filtered_and_selected(tab):
    tab.get_by_role("tab", name="Results").click()
    shows(tab, "#headline", "3 environments (3 families); in 2 the model reaches 80 %")
    tab.get_by_label("Name contains").fill("walk")
    shows(tab, "#headline", "1 environment; in 1")
    tab.wait_for_function("!document.querySelector('#results').innerText.includes('Taxi')", timeout=WAIT)
    tab.locator("#results :text-is('Walk-v0'):visible").first.click()
    shows(tab, "#returns", "Returns in Walk-v0")


def write_log(path, rows=60):
    """A valve that opens when the level is low."""
    levels = [round(1.5 * (number % 7) - 4, 2) for number in range(rows)]
    lines = [f"{level},{'open' if level < 0 else 'shut'},{number // 20}" for number, level in enumerate(levels)]
    path.write_text("\n".join(["level,valve,episode", *lines]) + "\n")
    return path


@browsing
def test_a_log_is_read_and_gone_through(tab, tmp_path):
    tab.get_by_role("tab", name="Your log").click()
    tab.locator("#log input[type=file]").set_input_files(write_log(tmp_path / "valve.csv"))
    shows(tab, "#summary", "60 rows, 3 columns")
    assert tab.get_by_label("What was done").input_value() == "valve"  # guessed
    tab.get_by_label("Task text").last.fill("Keep the level.")
    tab.click("#ask")
    shows(tab, "#summary", "row before")  # what a rule without a model agrees in
    tab.locator("text=proposed >> visible=true").first.wait_for(timeout=WAIT)
    if folder := os.environ.get("SCREENSHOTS"):
        tab.screenshot(path=f"{folder}/demo-log.png")


@browsing
def test_what_is_no_log_is_one_message(tab, tmp_path):
    (tmp_path / "picture.csv").write_bytes(bytes(range(256)) * 20)
    tab.get_by_role("tab", name="Your log").click()
    tab.locator("#log input[type=file]").set_input_files(tmp_path / "picture.csv")
    tab.wait_for_function("document.querySelector('#summary')?.innerText.trim().length > 10", timeout=WAIT)
    assert "Traceback" not in tab.locator("#summary").inner_text() and not tab.locator("#ask:visible").count()


def test_programs_can_watch(served):
    from gradio_client import Client

    client = Client(served[0], verbose=False)
    job = client.submit("Walk-v0", True, True, 1, api_name="/play")
    until = time.monotonic() + 60
    while len(job.outputs()) < 3 and time.monotonic() < until:
        time.sleep(0.1)
    job.cancel()
    assert "data:image/jpeg" in str(job.outputs()[0])
    refused = client.submit("no such world", True, True, 1, api_name="/play")
    assert "no environment that can be watched" in str(refused.outputs() or refused.result(timeout=60))


@pytest.mark.parametrize("wrong", ["port", "model"])
def test_bad_input_is_one_message(served, tmp_path, model_folder, wrong):
    port = served[0].rpartition(":")[2] if wrong == "port" else str(free_port())
    model = model_folder if wrong == "port" else tmp_path
    command = ["-c", "from ldm_hf.cli import main; main()", "demo", "--model", str(model), "--port", port]
    done = fork_server.run([sys.executable, *command])
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert (f"127.0.0.1:{port}" if wrong == "port" else str(tmp_path)) in done.stderr
    assert "Traceback" not in done.stderr
