"""``gan-serve export-web`` as a new user has it: typed from docs/web.md, opened in Chromium, without a network."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Visit, drop, expect, saved
from PIL import Image, ImageSequence
from web_engine import NO_OPTIMISER, Site, runtime_folder

from gan_serve import Generator, list_models
from gan_serve.checkpoint.bundled import BUNDLED
from gan_serve.checkpoint.config import precisions
from gan_serve.cli import cli
from gan_serve.images.compare import describe_mismatch, psnr
from gan_serve.service.static_site import export_web
from gan_serve.verify import verify_image

SMALLER = "mnist-cgan"  # of the two models of the first command: it takes a third of the other's time
DOCS = (Path(__file__).parents[2] / "docs" / "web.md").read_text("utf-8")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the first commands of the documentation were typed, with a runtime that is there already."""
    folder = tmp_path_factory.mktemp("web")
    command = re.findall(r"^gan-serve (export-web .*)$", DOCS, re.MULTILINE)[0].split()
    with contextlib.chdir(folder):
        cli.main([*command, "--runtime", str(runtime_folder())], standalone_mode=False)
    return folder / "site"


def begin(visit: Visit) -> Any:
    """Wait until the page moves and its sheet is there, then stop the walk."""
    page = visit.page
    expect(page.locator("#picture.painted")).to_be_visible()
    expect(page.locator("#sheet[data-seeds='32']")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    return page


def use_as_a_person(visit: Visit, folder: Path) -> None:
    """Drag on the plane, save the picture and the sheet, verify both, and drop the picture again."""
    page = visit.page
    pad = page.locator("#pad")
    box = pad.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.3, steps=8)
    page.mouse.up()
    expect(page.locator("#caption")).to_contain_text("moved")
    expect(page.locator("#numbers")).to_contain_text("golden sample")
    page.get_by_role("button", name="Files and code").click()
    picture = saved(visit, page.locator("#drawer [data-format=png]").first, folder)
    sheet = saved(visit, page.locator("#drawer [data-format=png]").last, folder)
    assert verify_image(picture).receipt.latents is not None
    assert len(verify_image(sheet).receipt.seeds or []) == 32
    page.keyboard.press("Escape")
    drop(page, picture)
    expect(page.locator("#caption")).to_contain_text("Latent")
    expect(page.locator("#keys-hint")).to_contain_text("pinned")


def frames_of(path: Path) -> np.ndarray[Any, Any]:
    """The frames of an animation, uint8 [N, H, W, 3]; each is shown as long as 12 a second are."""
    with Image.open(path) as animation:
        frames = []
        for frame in ImageSequence.Iterator(animation):
            frames.append(np.asarray(frame.convert("RGB")))
            assert frame.info["duration"] in (80, 83)  # GIF counts in hundredths of a second
        assert animation.info["loop"] == 0
    return np.stack(frames)


def saved_walks(
    browser: Any, folder: Path, out: Path, state: str = ""
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The frames of the first walk of a site as its page saves them: as GIF and as WebP."""
    site = Site(folder)
    visit = Visit(browser, site.address)
    try:
        visit.open(state)
        page = begin(visit)
        page.get_by_role("button", name="Files and code").click()
        gif, webp = (
            frames_of(saved(visit, page.locator(f"#drawer [data-format={kind}]"), out)) for kind in ("gif", "webp")
        )
        visit.check()
        visit.context.close()
        return gif, webp
    finally:
        site.stop()


def check_first_frame(frame: np.ndarray[Any, Any], model: str, scale: int) -> None:
    """Fail unless a frame is seed 0 of the model in one of the precisions that a page chooses from, enlarged."""
    small = frame[::scale, ::scale]
    np.testing.assert_array_equal(frame, small.repeat(scale, 0).repeat(scale, 1))
    differences = []
    for precision in ("fp32", "int8"):
        image = Generator.from_pretrained(model, precision=precision).generate(seeds=0, output="numpy")
        differences.append(describe_mismatch(small[None, ..., : image.shape[3]], image, precision))
    assert "" in differences, differences


def test_walks_are_saved_as_gif_and_as_lossless_webp(browser: Any, exported: Path, tmp_path: Path) -> None:
    gif, webp = saved_walks(browser, exported, tmp_path, f"model={SMALLER}&pin=0:&pin=5:&speed=0.5")
    assert gif.shape == (15, 532, 532, 3)
    np.testing.assert_array_equal(gif, webp)
    check_first_frame(gif[0], SMALLER, 19)


@pytest.mark.slow
def test_walks_in_colour_are_saved_with_256_colours_as_gif_and_with_all_as_webp(browser: Any, tmp_path: Path) -> None:
    site = export_web(["avatars-cgan"], tmp_path / "site", runtime=runtime_folder())
    gif, webp = saved_walks(browser, site, tmp_path)
    assert gif.shape == webp.shape == (90, 512, 512, 3)
    check_first_frame(webp[0], "avatars-cgan", 8)
    for first, second in ((gif[0], webp[0]), (gif[-1], webp[-1])):
        assert len(np.unique(first.reshape(-1, 3), axis=0)) <= 256
        assert psnr(first[None], second[None])[0] > 30


def test_after_the_first_visit_it_works_without_a_network(browser: Any, exported: Path, tmp_path: Path) -> None:
    site = Site(exported)
    visit = Visit(browser, site.address)
    try:
        visit.open(f"model={SMALLER}")
        begin(visit)
        visit.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        visit.check()
    finally:
        site.stop()
    visit.page.reload()
    begin(visit)
    use_as_a_person(visit, tmp_path)
    expect(visit.page.locator("#labels [role=radio]")).to_have_count(11)
    visit.page.locator("#model").select_option("fashion-dcgan")
    expect(visit.page.locator("#labels-part")).to_be_hidden()
    visit.check(rearranged=True)
    visit.context.close()


@pytest.mark.slow
def test_a_single_file_opens_from_a_disk(browser: Any, tmp_path: Path) -> None:
    page = export_web(["mnist-cgan"], tmp_path / "page", single_file=True, runtime=runtime_folder()) / "index.html"
    alone = shutil.move(page, tmp_path / "alone.html")
    visit = Visit(browser, Path(alone).as_uri())
    visit.page.goto(visit.address)
    begin(visit)
    use_as_a_person(visit, tmp_path)
    expect(visit.page.locator(".about")).to_contain_text("cc-by-sa-3.0")
    visit.check()
    visit.context.close()


@pytest.mark.slow  # in Node: test_web_engine.py
@pytest.mark.parametrize("model", list_models())
def test_chromium_computes_the_pixels_of_python_in_every_precision(browser: Any, model: str, tmp_path: Path) -> None:
    site = Site(export_web([model], tmp_path / "site", runtime=runtime_folder()))
    page = browser.new_page()
    try:
        page.goto(f"{site.address}/README.md")  # a page without a policy of its own
        for precision in precisions(Generator.from_pretrained(model).config):
            pixels = page.evaluate(
                """async ([model, precision]) => {
                    const { Generator } = await import("/engine/gan-serve.js");
                    const generator = await Generator.load(`${location.origin}/models/${model}`, { precision });
                    return [...(await generator.generate({ seeds: "0-7", truncation: 0.9 })).data];
                }""",
                [model, precision],
            )
            expected = Generator.from_pretrained(model, precision=precision).generate(
                seeds="0-7", truncation=0.9, output="numpy"
            )
            found = np.array(pixels, np.uint8).reshape(expected.shape)
            assert not describe_mismatch(found, expected, precision), precision
    finally:
        page.close()
        site.stop()


@pytest.mark.slow  # in Node: test_web_engine.py
def test_a_network_that_fails_its_golden_sample_is_not_used(browser: Any, exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "site")
    path = folder / "models" / "fashion-dcgan" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["golden_sample"]["seed"] += 1
    path.write_text(json.dumps(config), "utf-8")
    site = Site(folder)
    visit = Visit(browser, site.address)
    try:
        visit.open()
        expect(visit.page.locator("#problem")).to_contain_text("golden_sample_mismatch")
        assert visit.page.locator("#picture.painted").count() == 0
        visit.context.close()
    finally:
        site.stop()


def test_the_modules_of_the_documentation_run_in_node(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "site")
    shutil.copytree(BUNDLED / "avatars-sr4", tmp_path / "site" / "models" / "avatars-sr4")
    printed = []
    for example in re.findall(r"^```js\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE):
        (tmp_path / "example.mjs").write_text(example, "utf-8")
        done = subprocess.run(
            ["node", NO_OPTIMISER, "example.mjs"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        printed.append(done.stdout.split())
    assert printed[0] == ["48", "28", "1", str(48 * 28 * 28)]
    assert printed[1][:2] == ["64", "64"]
    assert verify_image(tmp_path / "sevens.png").receipt.labels == ["7"] * 16
