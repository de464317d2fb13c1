"""The page in a browser: by mouse and by keyboard, with wrong files, overload and a key."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flowers import Serve, write_model
from server_process import Server

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: `make browser` installs it"
)
playwright = pytest.importorskip("playwright.sync_api")


def test_the_page_is_small_and_reaches_for_nothing_elsewhere(serve: Serve) -> None:
    client, size = serve(), 0
    for path in ("/", "/page.css", "/page.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "//" not in answer.text.replace("// ", "")  # no address of another host
        size += len(answer.content)
    assert size < 60_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    flowers = write_model(folder / "flowers.safetensors")
    started = Server([str(flowers), "--queue", "2", "--seconds", "20"], {})
    yield started
    started.process.terminate()
    started.ended()


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(params=[390, 1280])
def page(
    request: pytest.FixtureRequest, browser: "playwright.Browser", server: Server
) -> Iterator["playwright.Page"]:
    """The page at a phone's and at a desk's width; it may reach its own server alone."""
    opened = browser.new_page(viewport={"width": request.param, "height": 800})
    elsewhere: list[str] = []

    def note(asked: "playwright.Request") -> None:
        if not asked.url.startswith((server.address, "blob:", "data:")):
            elsewhere.append(asked.url)

    opened.on("request", note)
    # Without this, file choosers are caught only a moment after `expect_file_chooser` asks for
    # them, which is too late for a key that is pressed at once.
    opened.on("filechooser", lambda _: None)
    opened.bring_to_front()  # else it gets no keys
    opened.goto(server.address)
    opened.locator("#about").wait_for()
    yield opened
    opened.close()
    assert elsewhere == []


@pytest.fixture(scope="module")
def files(pictures: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, found = tmp_path_factory.mktemp("pictures"), []
    for number, content in enumerate(pictures):
        found.append(folder / f"{number}.png")
        found[-1].write_bytes(content)
    return found


@needs_browser
def test_chosen_pictures_are_answered_with_bars(page: "playwright.Page", files: list[Path]) -> None:
    page.set_input_files("#files", files[:2])
    for number in range(2):
        answer = page.locator(".answer").nth(number)
        answer.locator(".bars li").nth(2).wait_for()
        assert answer.locator(".bars li").count() == 3
        assert "ms on the server" in answer.locator(".latency").inner_text()
    assert "%" in page.locator("#status").inner_text()
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]


@needs_browser
def test_the_overlay_covers_what_the_model_saw(page: "playwright.Page", files: list[Path]) -> None:
    page.set_input_files("#files", files[:1])
    why = page.locator(".why")
    why.wait_for()
    why.click()
    canvas = page.locator("canvas")
    canvas.wait_for()
    assert why.get_attribute("aria-pressed") == "true"
    picture, overlay = page.locator(".answer img").bounding_box(), canvas.bounding_box()
    assert picture is not None
    assert overlay is not None
    assert picture["x"] - 1 <= overlay["x"]
    assert overlay["x"] + overlay["width"] <= picture["x"] + picture["width"] + 1
    assert overlay["width"] > picture["width"] / 3
    why.click()
    canvas.wait_for(state="hidden")


@needs_browser
def test_a_dropped_and_a_pasted_picture_are_answered(
    page: "playwright.Page", pictures: list[bytes]
) -> None:
    for number, event in enumerate(("drop", "paste"), 1):
        page.evaluate(
            """([name, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "a.png", {type: "image/png"}));
                const made = name === "drop"
                    ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
                    : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
                document.body.dispatchEvent(made);
            }""",
            [event, list(pictures[0])],
        )
        page.locator(".answer").nth(number - 1).locator(".bars li").first.wait_for()
    assert page.locator(".answer").count() == 2


@needs_browser
def test_a_file_that_is_no_picture_is_told_why(page: "playwright.Page", tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    page.set_input_files("#files", tmp_path / "notes.png")
    page.locator(".answer .error").wait_for()
    assert "not an image of a known format" in page.locator(".answer .error").inner_text()
    assert "not an image" in page.locator("#status").inner_text()


@needs_browser
def test_an_overloaded_server_is_asked_again(page: "playwright.Page", files: list[Path]) -> None:
    page.set_input_files("#files", files)  # more than the two that may be on their way
    for number in range(len(files)):
        page.locator(".answer").nth(number).locator(".bars li, .error:visible").first.wait_for()
    errors = page.locator(".answer .error:visible").all_inner_texts()
    assert all("too much is on its way" in text for text in errors)
    assert len(errors) < len(files)


@needs_browser
def test_the_keyboard_is_enough(page: "playwright.Page", files: list[Path]) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "pick"
    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Enter")
    chosen.value.set_files(files[0])
    page.locator(".why").wait_for()
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "why"
    page.keyboard.press("Enter")
    page.locator("canvas").wait_for()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(
    page: "playwright.Page", files: list[Path], scheme: str
) -> None:
    import axe_core_python

    page.emulate_media(color_scheme=scheme)
    page.set_input_files("#files", files[:1])
    page.locator(".why").wait_for()
    script = Path(axe_core_python.__file__).with_name("axe.min.js").read_text()
    page.evaluate(f"() => {{ {script} }}")
    found = page.evaluate("() => axe.run()")
    assert [one["id"] for one in found["violations"]] == []
