"""The part of the page for translators, in a real Chromium: a picture is dropped, translated, compared and saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Visit, expect, saved
from PIL import Image
from servers import running
from tiny_translator import SIDE, write_translator
from web_engine import Site, runtime_folder

from gan_serve import Translator
from gan_serve.service.static_site import export_web
from gan_serve.verify import verify_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two translators, one of any size, and a picture that is wider than high."""
    folder = tmp_path_factory.mktemp("translators")
    write_translator(folder / "painter")
    write_translator(folder / "enlarger", any_size=True)
    pixels = np.random.RandomState(0).randint(0, 256, (20, 28, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def visit(folder: Path, browser: Any) -> Iterator[Visit]:
    models = [str(folder / "painter"), "fashion-dcgan", str(folder / "enlarger")]
    with running(models, folder) as client:
        visit = Visit(browser, str(client.base_url).rstrip("/"))
        yield visit
        visit.context.close()


def shown(image: Any) -> np.ndarray[Any, Any]:
    """The pixels of an image of the page, uint8 [H, W, 3]."""
    height, width, data = image.evaluate(
        """(image) => {
          const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
          const context = canvas.getContext("2d");
          context.drawImage(image, 0, 0);
          return [canvas.height, canvas.width, [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
        }"""
    )
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def wait_until_shown(image: Any, expected: np.ndarray[Any, Any]) -> None:
    """Wait for these pixels, up to a grey level; until then the image may be an earlier one."""
    for _ in range(300):
        found = shown(image)
        if found.shape == expected.shape and np.abs(found.astype(int) - expected).max() <= 1:
            return
        image.page.wait_for_timeout(100)
    raise AssertionError("the page does not show these pixels")


@pytest.mark.parametrize(("model", "said"), [("painter", f"{SIDE}×{SIDE}"), ("enlarger", "2 times as wide")])
def test_a_dropped_picture_is_translated_as_by_python_and_saved_with_its_receipt(
    visit: Visit, folder: Path, tmp_path: Path, model: str, said: str
) -> None:
    page = visit.open(f"model={model}")
    expect(page.locator("#translate-hint")).to_contain_text(said)
    expect(page.locator("#picture")).to_be_hidden()
    page.locator("#translate-file").set_input_files(folder / "photo.png")
    expect(page.locator("#after")).to_be_visible()
    [expected] = Translator.from_pretrained(folder / model).translate(folder / "photo.png", output="numpy")
    np.testing.assert_array_equal(shown(page.locator("#after")), expected)
    page.locator("#between").fill("25")
    assert page.locator("#after").evaluate("(image) => image.style.clipPath") == "inset(0px 0px 0px 25%)"
    file = saved(visit, page.locator("#translate-save"), tmp_path)
    assert file.name == f"photo-{model}.png"
    assert verify_image(file, folder / model, [folder / "photo.png"]).max_difference == 0
    visit.check()


def test_the_page_opens_on_a_generator_and_says_what_is_no_picture(visit: Visit, tmp_path: Path) -> None:
    page = visit.open()
    expect(page.locator("#picture.painted")).to_be_visible()
    expect(page.locator("#model")).to_have_value("fashion-dcgan")
    expect(page.locator("#mosaic.painted")).to_be_visible()
    page.locator("#pad").hover()  # previews an image
    page.locator("#model").select_option("painter")
    expect(page.locator("#picture")).to_be_hidden()
    page.mouse.move(5, 5)
    page.wait_for_timeout(300)
    expect(page.get_by_role("alert")).to_be_empty()  # the plane asks a translator for nothing
    (tmp_path / "text.png").write_text("no picture")
    page.locator("#translate-file").set_input_files(tmp_path / "text.png")
    expect(page.get_by_role("alert")).to_contain_text("invalid_image")
    page.locator("#model").select_option("fashion-dcgan")
    expect(page.locator("#sheet[data-seeds='32']")).to_be_visible()
    expect(page.locator("#translate-part")).to_be_hidden()
    visit.check(refused=True, rearranged=True)


@pytest.mark.parametrize("is_single_file", [pytest.param(False, marks=pytest.mark.slow), True], ids=["site", "file"])
def test_a_page_without_a_server_translates_as_python_does(
    browser: Any, folder: Path, tmp_path: Path, is_single_file: bool
) -> None:
    models = [str(folder / "painter"), str(folder / "enlarger")]
    out = export_web(models, tmp_path / "out", single_file=is_single_file, runtime=runtime_folder())
    gray = np.random.RandomState(1).randint(0, 256, (33, 20)).astype(np.uint8)
    Image.fromarray(gray).save(folder / "gray.png")
    site = None if is_single_file else Site(out)
    visit = Visit(browser, site.address if site else out.as_uri())
    page = visit.page
    try:
        page.goto(f"{visit.address}/index.html#model=painter")
        for model, name in [("painter", "photo"), ("painter", "gray"), ("enlarger", "photo")]:
            page.locator("#model").select_option(model)
            page.locator("#translate-file").set_input_files(folder / f"{name}.png")
            expect(page.locator("#after")).to_be_visible()
            [expected] = Translator.from_pretrained(folder / model).translate(folder / f"{name}.png", output="numpy")
            wait_until_shown(page.locator("#after"), expected)
            file = saved(visit, page.locator("#translate-save"), tmp_path)
            assert verify_image(file, folder / model, [folder / f"{name}.png"]).max_difference <= 1
        (tmp_path / "text.png").write_text("no picture")
        page.locator("#translate-file").set_input_files(tmp_path / "text.png")
        expect(page.get_by_role("alert")).to_contain_text("invalid_image")
        visit.check(rearranged=True)
        visit.context.close()
    finally:
        if site:
            site.stop()
