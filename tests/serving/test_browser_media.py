"""Files of all kinds on the page, in a real browser: what it cannot show itself, the server shows it."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from tests.serving.browsing import ask, save, take_example, until
from tests.serving.served import mp4, png


def frames(count: int = 8) -> list[Image.Image]:
    return [Image.fromarray(np.full((48, 64, 3), 20 * index, np.uint8)) for index in range(count)]


def picture_as(kind: str, **settings) -> bytes:
    buffer = io.BytesIO()
    frames()[3].save(buffer, kind, **settings)
    return buffer.getvalue()


def animation(kind: str) -> bytes:
    buffer = io.BytesIO()
    first, *others = frames()
    first.save(buffer, kind, save_all=True, append_images=others, duration=250)
    return buffer.getvalue()


def avi() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=4, width=64, height=48)
        for frame in frames():
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return buffer.getvalue()


FILES = {
    "a.jpg": ("image/jpeg", "image", lambda _: picture_as("JPEG")),
    "a.webp": ("image/webp", "image", lambda _: picture_as("WEBP")),
    "a.tiff": ("image/tiff", "image", lambda _: picture_as("TIFF")),
    "a.gif": ("image/gif", "video", lambda _: animation("GIF")),
    "moving.webp": ("image/webp", "video", lambda _: animation("WEBP")),
    "a.avi": ("video/x-msvideo", "video", lambda _: avi()),
    "a.mp4": ("video/mp4", "video", mp4),
    "without a type": ("", "video", mp4),
}


def test_a_png_that_moves_is_a_clip_as_soon_as_an_answer_says_so(page, served):
    page.goto(served.address)
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": animation("PNG")})
    page.locator("#question").fill("When is the ball there?")
    ask(page)
    until(page, "document.getElementById('video').videoWidth === 64")
    assert page.locator("#timeline button").count() == 1


def test_a_transparent_picture_lies_on_white_as_the_model_sees_it(page, served):
    page.goto(served.address)
    clear = io.BytesIO()
    Image.new("RGBA", (64, 64)).save(clear, "PNG")
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": clear.getvalue()})
    until(page, "document.getElementById('picture').naturalWidth === 64")
    page.locator("#question").fill("How many balls are there?")
    ask(page)
    for shot in (page.locator("#overlay").screenshot(), save(page, "[data-save=picture]")):
        picture = Image.open(io.BytesIO(shot)).convert("RGB")
        assert picture.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_any_kind_is_shown_and_asked_about(page, served, tmp_path, name):
    kind, medium, make = FILES[name]
    page.goto(served.address)
    page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": make(tmp_path)})
    width = "video').videoWidth" if medium == "video" else "picture').naturalWidth"
    until(page, f"document.getElementById('{width} === 64")
    page.locator("#question").fill("Where is the ball?")
    ask(page)
    assert page.locator("#error").is_hidden()
    assert page.locator("#save-clip").is_visible() == (medium == "video")


BROKEN = {
    "cut.mp4": ("video/mp4", lambda folder: mp4(folder)[:500]),
    "rubbish.png": ("image/png", lambda _: b"\x89PNG\r\n\x1a\n" + b"x" * 99),
    "notes.txt": ("text/plain", lambda _: b"hello"),
    "empty.jpg": ("image/jpeg", lambda _: b""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_at_once_and_another_can_be_chosen(browser, served, tmp_path, name):
    kind, make = BROKEN[name]
    page = browser.new_page()
    page.goto(served.address)
    page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": make(tmp_path)})
    page.locator("#error").wait_for()
    assert page.locator("#error").inner_text().startswith(name)
    assert page.locator("#drop").is_visible()
    assert page.locator("#ask").is_disabled()
    page.locator("#file").set_input_files({"name": "b.png", "mimeType": "image/png", "buffer": png()})
    assert page.locator("#error").is_hidden()
    page.locator("#question").fill("How many?")
    ask(page)
    page.close()


def test_the_task_of_an_example_does_not_stay_with_a_file_of_ones_own(page, served):
    take_example(page, served, "tracking")
    assert page.locator("#task").input_value() == "tracking"
    page.locator("#file").set_input_files({"name": "b.png", "mimeType": "image/png", "buffer": png()})
    assert page.locator("#task").input_value() == ""
    page.locator("#question").fill("Where is the ball?")
    page.keyboard.press("Enter")
    page.locator("#outputs").wait_for()
    page.keyboard.type("How many?")
    assert page.locator("#question").input_value() == "How many?"


def test_a_time_after_the_end_of_the_clip_is_told(page, served, tmp_path):
    page.goto(served.address)
    page.locator("#file").set_input_files({"name": "a.mp4", "mimeType": "video/mp4", "buffer": mp4(tmp_path)})
    page.locator("#question").fill("When does it fall?")
    ask(page)
    assert "after the end" in page.locator(".problems").inner_text()


def test_of_several_files_the_first_is_taken_and_the_page_says_so(page, served):
    page.goto(served.address)
    page.evaluate("""async () => {
        const files = new DataTransfer(), picture = await (await fetch("/v1/examples/numerical.png")).blob();
        for (const name of ["a.png", "b.png"]) files.items.add(new File([picture], name, { type: "image/png" }));
        document.dispatchEvent(new DragEvent("drop", { dataTransfer: files }));
    }""")
    assert "first of them" in page.locator("#error").inner_text()
    page.locator("#question").fill("How many?")
    ask(page)
