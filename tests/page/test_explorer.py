"""The explorer page in a real Chromium against a real server, used as a person would: clicks, keys and drags."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CLASSES, PAGE, Visit, expect, paused, pixels_of, saved
from PIL import Image

from gan_serve import Generator
from gan_serve.verify import verify_image

NAME = "mnist-mlp"


def picture(visit: Visit) -> Any:
    return visit.page.locator("#picture.painted")


def wait_for_pixels(canvas: Any, expected: np.ndarray[Any, Any]) -> None:
    for _ in range(100):
        if np.array_equal(pixels_of(canvas)[..., 0], expected):
            return
        canvas.page.wait_for_timeout(100)
    raise AssertionError("the canvas does not show these pixels")


def test_the_picture_moves_by_itself_and_a_page_of_seeds_has_the_pixels_of_python(
    visit: Visit, generator: Generator
) -> None:
    page = visit.open()
    expect(picture(visit)).to_be_visible()
    captions = set()
    for _ in range(30):
        captions.add(page.locator("#position").input_value())
        page.wait_for_timeout(100 if len(captions) <= 5 else 0)
    assert len(captions) > 5
    expect(page.locator("#sheet[data-seeds='32']")).to_be_visible()
    expect(page.locator(PAGE)).to_have_count(32)
    seven = pixels_of(page.locator(f"{PAGE} canvas").nth(7))[..., 0]
    assert np.array_equal(seven, generator.generate(seeds=7, output="numpy")[0, ..., 0])
    visit.check()


def test_space_pauses_and_r_rolls(desktop: Visit) -> None:
    page = desktop.open()
    expect(picture(desktop)).to_be_visible()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    before = page.locator("#position").input_value()
    page.wait_for_timeout(400)
    assert page.locator("#position").input_value() == before
    page.keyboard.press("r")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.locator(PAGE).first).not_to_have_attribute("data-seed", "0")
    desktop.check()


def test_a_person_who_wants_no_motion_gets_a_picture_with_play(browser: Any, explorer: str) -> None:
    visit = Visit(browser, explorer, reduced_motion="reduce")
    page = visit.open()
    expect(picture(visit)).to_be_visible()
    page.wait_for_timeout(500)
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(page.locator("#caption")).to_have_text("Seed 0")
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#caption")).to_contain_text("→")
    visit.check()
    visit.context.close()


def test_seeds_are_turned_rolled_and_named(visit: Visit) -> None:
    page = paused(visit, f"model={NAME}&seeds=0-15")
    first = page.locator(PAGE).first
    page.get_by_role("button", name="Next page of seeds").click()
    expect(first).to_have_accessible_name("Seed 16")
    page.get_by_label("Seeds", exact=True).fill("4294967290")
    page.keyboard.press("Enter")
    expect(page.locator(PAGE).last).to_have_accessible_name("Seed 4294967295")
    page.get_by_label("Seeds", exact=True).fill("5, 3-4")
    page.get_by_role("button", name="Go").click()
    expect(first).to_have_accessible_name("Seed 5")
    expect(page.locator(PAGE)).to_have_count(3)
    page.get_by_label("Seeds", exact=True).fill("seven")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("“seven” is not a seed.")).to_be_visible()
    expect(page.get_by_label("Seeds", exact=True)).to_be_focused()
    page.get_by_role("button", name="Re-roll").click()
    expect(page.locator(PAGE)).to_have_count(16)
    page.go_back()
    expect(first).to_have_accessible_name("Seed 5")
    visit.check()


def test_the_keyboard_is_enough(desktop: Visit, generator: Generator) -> None:
    page = paused(desktop, f"model={NAME}&seeds=0-31")
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#contact")).to_be_focused()
    page.locator(f"{PAGE}[tabindex='0']").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.get_by_role("option", name="Seed 9", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#caption")).to_have_text("Seed 9")
    wait_for_pixels(picture(desktop), generator.generate(seeds=9, output="numpy")[0, ..., 0])
    page.get_by_role("application", name="Steer").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Direction 1")).to_have_value("0.25")
    expect(page.get_by_label("Direction 2")).to_have_value("0.25")
    page.keyboard.press("Enter")
    expect(page.get_by_text("One pinned.")).to_be_visible()
    desktop.check()


def test_sliders_move_along_directions_and_the_picture_is_that_of_python(desktop: Visit, generator: Generator) -> None:
    page = paused(desktop, f"model={NAME}&seeds=0-15&seed=3")
    page.get_by_label("Direction 2").fill("-3")
    expect(page.locator("#caption")).to_have_text("Seed 3, moved")
    moved = generator.generate(seeds=3, offsets=[0, -3], output="numpy")[0, ..., 0]
    wait_for_pixels(picture(desktop), moved)
    page.get_by_label("Truncation").fill("0.5")
    expect(page).to_have_url(re.compile(r"truncation=0\.5"))
    wait_for_pixels(
        picture(desktop), generator.generate(seeds=3, offsets=[0, -3], truncation=0.5, output="numpy")[0, ..., 0]
    )
    page.get_by_label("Direction 2").dblclick()
    expect(page.get_by_label("Direction 2")).to_have_value("0")
    desktop.check()


def test_a_drag_shows_pictures_before_it_ends(desktop: Visit) -> None:
    page = paused(desktop, f"model={NAME}&seeds=0-15")
    expect(page.locator("#mosaic.painted")).to_be_visible()
    box = page.locator("#pad").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    shown = []
    for step in range(1, 9):
        page.mouse.move(x + 15 * step, y - 8 * step)
        page.wait_for_timeout(150)
        shown.append(pixels_of(picture(desktop)).tobytes())
    assert len(set(shown)) >= 4
    page.mouse.up()
    expect(page).to_have_url(re.compile("move="))
    expect(page.get_by_text("Six seeds to begin with.")).to_be_visible()  # a drag pins nothing
    page.mouse.click(x - 60, y)
    expect(page.get_by_text("One pinned.")).to_be_visible()
    desktop.check()


def test_hovering_the_plane_previews_and_changes_nothing(desktop: Visit) -> None:
    page = paused(desktop, f"model={NAME}&seeds=0-15&seed=2")
    page.locator(PAGE).nth(2).click()
    expect(page.locator("#caption")).to_have_text("Seed 2")
    before = pixels_of(picture(desktop))
    address = page.url
    page.locator("#pad").hover(position={"x": 20, "y": 20})
    expect(page.locator("#caption")).to_have_text("Seed 2, moved")
    page.locator("#contact-title").hover()
    expect(page.locator("#caption")).to_have_text("Seed 2")
    wait_for_pixels(picture(desktop), before[..., 0])
    assert page.url == address
    desktop.check()


def test_pins_make_the_walk(visit: Visit) -> None:
    page = paused(visit, f"model={NAME}&seeds=0-15")
    for seed in (2, 5, 9):
        page.locator(".corner").nth(seed).click()
    keys = page.locator("#keys li")
    expect(keys).to_have_count(3)
    expect(keys.first.locator(".key-picture")).to_have_accessible_name("Key 1: seed 2")
    keys.nth(2).locator(".key-picture").press("Alt+ArrowLeft")
    expect(keys.nth(1).locator(".key-picture")).to_have_accessible_name("Key 2: seed 9")
    keys.nth(0).locator(".key-picture").press("Delete")
    expect(keys).to_have_count(2)
    page.get_by_label("Position in the walk").fill("30")
    expect(page.locator("#caption")).to_have_text("Seed 5")
    page.get_by_label("Speed").select_option("0.5")
    expect(page.get_by_label("Position in the walk")).to_have_attribute("max", "29")
    page.reload()
    expect(keys).to_have_count(2)
    visit.check()


def test_a_walk_between_labels_reaches_the_second_and_says_where_it_changes(desktop: Visit, quoted: Path) -> None:
    page = paused(desktop, "model=conditional&seeds=0-15&pin=0:&pin=1:")
    page.get_by_label("Position in the walk").fill("10")
    expect(page.locator("#caption")).to_contain_text(f"{CLASSES[0]}, then {CLASSES[1]}: the label changes halfway")
    page.get_by_label("Position in the walk").fill("30")
    expect(page.locator("#caption")).to_have_text(f"Seed 1 · {CLASSES[1]}")
    second = Generator(quoted).generate(seeds=1, output="numpy")[0, ..., 0]
    wait_for_pixels(picture(desktop), second)
    desktop.check()


def test_labels_are_pictures_and_only_where_a_model_has_them(visit: Visit) -> None:
    page = paused(visit, f"model={NAME}&seeds=0-15")
    expect(page.locator("#labels-part")).to_be_hidden()
    page.get_by_label("Model").select_option("conditional")
    labels = page.get_by_role("radiogroup", name="Label")
    expect(labels.get_by_role("radio")).to_have_count(1 + len(CLASSES))
    expect(page.get_by_role("option", name=f"Seed 1, {CLASSES[1]}")).to_be_visible()  # by seed
    labels.get_by_role("radio", name=CLASSES[1]).click()
    expect(labels.get_by_role("radio", name=CLASSES[1])).to_have_attribute("aria-checked", "true")
    expect(page.get_by_role("option", name=f"Seed 2, {CLASSES[1]}")).to_be_visible()
    page.get_by_label("Model").select_option(NAME)
    expect(page.get_by_role("option", name="Seed 2", exact=True)).to_be_visible()
    visit.check(rearranged=True)


def test_a_link_holds_everything(visit: Visit) -> None:
    page = paused(visit)
    page.get_by_label("Model").select_option("conditional")
    page.get_by_role("radio", name=CLASSES[1]).click()
    page.get_by_label("Seeds", exact=True).fill("100-107")
    page.keyboard.press("Enter")
    expect(page.locator(PAGE)).to_have_count(8)
    page.get_by_label("Truncation").fill("0.5")
    expect(page).to_have_url(re.compile("truncation=0.5"))
    for place in (4, 1):
        page.locator(".corner").nth(place).click()
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url

    other = visit.new_page()
    other.goto(link)
    expect(other.get_by_label("Model")).to_have_value("conditional")
    expect(other.get_by_role("radio", name=CLASSES[1])).to_have_attribute("aria-checked", "true")
    expect(other.get_by_label("Truncation")).to_have_value("0.5")
    expect(other.locator("#keys li")).to_have_count(2)
    expect(other.locator("#keys li .key-picture").first).to_have_accessible_name("Key 1: seed 104")
    visit.check(rearranged=True)


def test_files_of_the_drawer(desktop: Visit, tmp_path: Path) -> None:
    page = paused(desktop, f"model={NAME}&seeds=0-3,9&seed=7&move=1.5,-2")
    page.get_by_role("button", name="Files and code").click()
    drawer = page.get_by_role("complementary", name="Files and code")
    rows = drawer.locator(".files")
    one = saved(desktop, rows.nth(0).get_by_role("button", name="PNG"), tmp_path)
    with Image.open(one) as image:
        assert image.size == (532, 532)
    assert verify_image(one).receipt.scale == 19
    with Image.open(saved(desktop, rows.nth(1).get_by_role("button", name="GIF"), tmp_path)) as animation:
        assert animation.size[0] >= 512
        assert animation.n_frames > 60
    with np.load(saved(desktop, rows.nth(2).get_by_role("button", name="NPZ"), tmp_path)) as arrays:
        assert arrays["seeds"].tolist() == [0, 1, 2, 3, 9]
    drawer.get_by_role("button", name="Show the receipt").click()
    expect(drawer.locator("#receipt")).to_contain_text("sha256")
    expect(drawer.locator(".facts").last).to_be_attached()
    for value in drawer.locator(".facts dd").all()[:4]:
        assert value.evaluate("e => e.clientWidth") > 40
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(page.get_by_role("button", name="Files and code")).to_be_focused()
    desktop.check()


def test_the_code_on_the_page_runs(desktop: Visit, tmp_path: Path) -> None:
    page = paused(desktop, f"model={NAME}&seeds=0-15&seed=3&move=-1,2&truncation=0.5")
    page.get_by_role("button", name="Files and code").click()
    code = page.locator("#drawer pre")
    subprocess.run([sys.executable, "-c", code.inner_text()], cwd=tmp_path, check=True)
    python = (tmp_path / "image.png").read_bytes()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for language in ("curl", "CLI"):
        if language == "curl" and not shutil.which("curl"):
            continue
        page.locator(".code").get_by_role("button", name=language).click()
        subprocess.run(code.inner_text(), shell=True, cwd=tmp_path, check=True, capture_output=True, env=environment)
        with Image.open(tmp_path / "image.png") as image:
            assert json.loads(image.info["gan_serve"])["truncation"] == 0.5
        assert verify_image(tmp_path / "image.png").max_difference == 0
    assert python
    page.locator(".code").get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == code.inner_text()
    desktop.check()


def test_a_link_for_a_model_with_labels_works_for_one_without(desktop: Visit) -> None:
    page = desktop.open(f"model={NAME}&seeds=0-7&label=Bag&seed=1")
    expect(page.locator(PAGE)).to_have_count(8)
    expect(picture(desktop)).to_be_visible()
    expect(page.get_by_role("alert")).to_be_empty()
    desktop.check()


@pytest.mark.slow
def test_forty_rolls_leave_no_memory_behind(desktop: Visit) -> None:
    page = paused(desktop, f"model={NAME}&seeds=0-31")
    for _ in range(40):
        page.get_by_role("button", name="Re-roll").click()
    page.get_by_role("button", name="Pause").click()
    session = desktop.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    assert used < 60e6
    desktop.check()


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Any, explorer: str) -> None:
    visit = Visit(browser, explorer, color_scheme="dark")
    page = visit.open(f"model={NAME}&seeds=0-15")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Dark theme").click()
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light
    visit.check()
    visit.context.close()


# The least contrast (WCAG 2.2) between the border, or the fill, of a control and what lies around it.
BORDERS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((level) => {
      const value = level / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return (channels(colour)[3] ?? 1) ? colour : background(element.parentElement);
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const controls = [...document.querySelectorAll("input:not([type=range]), select, button")].filter((control) => {
    const { borderTopColor: colour, borderTopWidth: width } = getComputedStyle(control);
    return control.checkVisibility() && !control.disabled && width !== "0px" && (channels(colour)[3] ?? 1);
  });
  const ratios = controls.map((control) => {
    const edges = [getComputedStyle(control).borderTopColor, background(control)].map(luminance);
    return Math.max(...edges.map((edge) => ratio(edge, luminance(background(control.parentElement)))));
  });
  return [ratios.length, Math.min(...ratios)];
}"""


@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.slow)])
def test_borders_of_controls_can_be_seen(browser: Any, explorer: str, scheme: str) -> None:
    visit = Visit(browser, explorer, color_scheme=scheme)
    page = paused(visit, "model=conditional")
    page.get_by_role("button", name="Pin").click()
    count, contrast = page.evaluate(BORDERS)
    visit.context.close()
    assert min(count - 8, contrast - 3) >= 0, (count, contrast)


@pytest.mark.parametrize("width", [320, *(pytest.param(size, marks=pytest.mark.slow) for size in (768, 1280, 1920))])
def test_no_width_scrolls_sideways(browser: Any, explorer: str, width: int) -> None:
    visit = Visit(browser, explorer)
    visit.page.set_viewport_size({"width": width, "height": 900})
    paused(visit, "model=conditional&seeds=0-15&pin=0:&pin=1:")
    visit.check()
    visit.context.close()
