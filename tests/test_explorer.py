"""The explorer page in a real Chromium against a real server, used as a person would: clicks and keys."""

from __future__ import annotations

import base64
import io
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
from browser import CLASSES, PAGE, SIZES, Visit, expect, saved
from PIL import Image

from gan_serve import Generator
from gan_serve.verify import verify_image

NAME = "fashion-dcgan"


def pixels_of(image: Any) -> np.ndarray[Any, Any]:
    """The pixels of an ``img``, uint8 [H, W] or [H, W, C]."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image.get_attribute("src").partition(",")[2]))))


@pytest.mark.parametrize("visit", SIZES, indirect=True)
def test_a_page_of_seeds_is_one_request_and_the_pixels_of_python(visit: Visit, generator: Generator) -> None:
    page = visit.open(f"model={NAME}")
    expect(page.locator(PAGE)).to_have_count(32)
    expect(page.get_by_role("status")).to_have_text("32 images")
    assert len(visit.asked("sample")) == 1
    assert np.array_equal(
        pixels_of(page.locator(f"{PAGE} img").nth(7)), generator.generate(seeds=7, output="numpy")[0, ..., 0]
    )
    visit.check()


def test_seeds_are_turned_rolled_and_named(visit: Visit) -> None:
    page = visit.open(f"model={NAME}&seeds=0-15")
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
    page.go_forward()
    expect(page.locator(PAGE)).to_have_count(16)
    visit.check()


def test_the_keyboard_is_enough(visit: Visit) -> None:
    page = visit.open(f"model={NAME}&seeds=0-31")
    expect(page.locator(PAGE)).to_have_count(32)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the images")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(2):
        page.keyboard.press("Tab")  # the tabs, then the grid: one stop each
    columns = 8 if page.viewport_size["width"] > 780 else 4
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft", "Space"):
        page.keyboard.press(key)
    chosen = page.get_by_role("option", name=f"Seed {columns + 1}", exact=True)
    expect(chosen).to_be_focused()
    expect(chosen).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_have_accessible_name(f"Seed {columns + 1}")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_have_accessible_name(f"Seed {columns + 2}")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(chosen).to_be_focused()
    visit.check()


def test_an_image_is_shown_with_the_receipt_that_its_file_carries(visit: Visit, tmp_path: Path) -> None:
    page = visit.open(f"model={NAME}&seeds=0-15&truncation=0.7")
    page.locator(PAGE).nth(3).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("dl")).to_contain_text("0.7")
    with Image.open(saved(visit, dialog.get_by_role("link", name="PNG"), tmp_path)) as image:
        receipt = json.loads(image.info["gan_serve"])
    assert (receipt["seed"], receipt["truncation"]) == (3, 0.7)
    for name in ("digest", "sha256"):
        expect(dialog.locator("dt", has_text=re.compile(f"^{name}$")).locator("+ dd")).to_have_attribute(
            "title", receipt[name]
        )
    verify_image(next(tmp_path.glob("*.png")))
    page.go_back()
    expect(dialog).to_be_hidden()
    assert len(visit.asked("sample")) == 1  # the image was already there
    visit.check()


def test_labels_are_names_and_only_where_a_model_has_them(visit: Visit) -> None:
    page = visit.open(f"model={NAME}&seeds=0-15")
    expect(page.locator(PAGE)).to_have_count(16)
    expect(page.get_by_role("group", name="Label")).to_be_hidden()
    expect(page.get_by_role("tab", name="Labels")).to_be_hidden()
    page.get_by_label("Model").select_option("conditional")
    expect(page.get_by_role("option", name=f"Seed 1, {CLASSES[1]}")).to_be_visible()  # by seed
    page.get_by_text(CLASSES[1], exact=True).click()
    expect(page.get_by_role("option", name=f"Seed 2, {CLASSES[1]}")).to_be_visible()
    page.get_by_label("Model").select_option(NAME)
    expect(page.get_by_role("option", name="Seed 2", exact=True)).to_be_visible()
    # What was drawn before is not asked for again.
    assert [body.get("label") for body in visit.asked("sample")] == [None, None, CLASSES[1]]
    visit.check()


def test_a_slider_asks_once_it_rests(desktop: Visit) -> None:
    page = desktop.open(f"model={NAME}&seeds=0-15")
    expect(page.locator(PAGE)).to_have_count(16)
    page.get_by_label("Truncation").focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"truncation=0\.4"))
    expect(page.get_by_role("status")).to_have_text("16 images")
    assert desktop.asked("sample")[-1]["truncation"] == 0.4
    assert len(desktop.asked("sample")) <= 4
    desktop.check()


def test_a_walk_leads_through_the_picks(visit: Visit, tmp_path: Path, generator: Generator) -> None:
    page = visit.open(f"model={NAME}&seeds=0-15")
    expect(page.locator(PAGE)).to_have_count(16)
    for seed in (2, 5):
        page.locator(".check").nth(seed).click()
    page.get_by_role("button", name="Walk", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("17 frames")
    page.get_by_role("button", name="Pause").click()
    slider, frame = page.get_by_label("Frame", exact=True), page.locator(".walk .screen img")
    slider.focus()
    page.keyboard.press("End")
    expect(frame).to_have_accessible_name("Seed 5")
    assert np.array_equal(pixels_of(frame), generator.generate(seeds=5, output="numpy")[0, ..., 0])
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "94 % of the way from seed 2 to seed 5")
    page.get_by_label("Loop back to the first").check()
    expect(page.get_by_role("status")).to_have_text("32 frames")
    gif = saved(visit, page.get_by_role("button", name="GIF"), tmp_path)
    with Image.open(gif) as animation:
        assert animation.n_frames == 32
    page.get_by_role("button", name="Take seed 2 out of the walk").click()
    expect(page.get_by_text("A walk needs two images")).to_be_visible()
    visit.check()


def test_a_long_walk_is_cancelled_and_taken_up_again(desktop: Visit) -> None:
    page = desktop.open("model=conditional&seeds=0-15&view=walk&picks=0-31&steps=240&loop=1")
    expect(page.get_by_label("Frame", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text(" of 7680 frames")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_have_text("7680 frames")
    first, *others = desktop.asked("interpolate")
    assert "start" not in first
    assert [body["start"] > 0 for body in others] == [True]
    desktop.check()


def test_a_walk_that_was_cut_off_is_taken_up_where_it_ended(desktop: Visit) -> None:
    def cut(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body="".join(answer.text().splitlines(keepends=True)[:5]))

    desktop.page.route("**/interpolate", cut, times=1)
    page = desktop.open(f"model={NAME}&view=walk&picks=0,7")
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("cut off")
    problem.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_have_text("17 frames")
    assert [body.get("start") for body in desktop.asked("interpolate")] == [None, 5]
    desktop.check()


def test_the_sheet_shows_the_same_seeds_under_each_label(visit: Visit) -> None:
    page = visit.open("model=conditional&seeds=0-15")
    page.get_by_role("tab", name="Labels").click()
    expect(page.get_by_role("row")).to_have_count(1 + len(CLASSES))
    expect(page.get_by_role("columnheader")).to_have_count(1 + 8)
    expect(page.get_by_role("status")).to_have_text("2 labels, 8 seeds")
    cell = page.get_by_role("button", name=f"Seed 3, {CLASSES[1]}")
    grey = int(pixels_of(cell.locator("img"))[0, 0])
    cell.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("dl")).to_contain_text(CLASSES[1])
    assert int(pixels_of(dialog.get_by_role("img", name="Seed 3 as"))[0, 0]) == grey
    assert len(visit.asked("condition")) == 1
    visit.check()


def test_a_link_holds_everything(visit: Visit) -> None:
    page = visit.open()
    page.get_by_label("Model").select_option("conditional")
    page.get_by_text(CLASSES[1], exact=True).click()
    page.get_by_label("Seeds", exact=True).fill("100-107")
    page.keyboard.press("Enter")
    expect(page.locator(PAGE)).to_have_count(8)
    page.get_by_label("Truncation").fill("0.5")
    expect(page).to_have_url(re.compile("truncation=0.5"))
    for place in (4, 1):
        page.locator(".check").nth(place).click()
    page.locator(PAGE).nth(6).click()
    page.get_by_role("dialog").get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url

    other = visit.new_page()
    other.goto(link)
    expect(other.get_by_role("dialog")).to_have_accessible_name("Seed 106")
    other.keyboard.press("Escape")
    expect(other.get_by_label("Model")).to_have_value("conditional")
    expect(other.get_by_role("radio", name=CLASSES[1])).to_be_checked()
    expect(other.get_by_label("Truncation")).to_have_value("0.5")
    expect(other.get_by_role("listbox").get_by_role("option", selected=True)).to_have_count(2)
    other.get_by_role("button", name="Walk", exact=True).click()
    expect(other.locator(".walk li").first).to_contain_text("104")  # the picks keep their order
    visit.check()


@pytest.mark.parametrize("view", ["grid", "walk", "labels"])
def test_the_code_on_the_page_runs(desktop: Visit, quoted: Path, tmp_path: Path, view: str) -> None:
    page = desktop.open(
        f"model=conditional&seeds=3,9&truncation=0.5&picks=3,9&steps=4&loop=1&view={view}&label={CLASSES[1]}"
    )
    code = page.locator("#takeaway pre")
    expect(code).to_contain_text("0.5")
    python = code.inner_text()
    subprocess.run([sys.executable, "-c", python], cwd=tmp_path, check=True)
    page.get_by_role("tab", name="curl").click()
    expect(code).to_contain_text("curl")
    if shutil.which("curl"):
        subprocess.run(code.inner_text(), shell=True, cwd=tmp_path, check=True, capture_output=True)
    page.get_by_role("tab", name="CLI").click()
    expect(code).to_contain_text("gan-serve")
    command = code.inner_text().replace(" conditional ", f" '{quoted}' ")  # as the page says: its directory
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True, env=environment)
    page.locator("#takeaway").get_by_role("button", name="Copy").click()
    expect(page.locator("#takeaway").get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == code.inner_text()
    written = {path.suffix for path in tmp_path.iterdir()}
    assert written == ({".gif"} if view == "walk" else {".png"})
    desktop.check()


def test_files_of_a_page(desktop: Visit, tmp_path: Path) -> None:
    page = desktop.open("model=conditional&seeds=0-3,9&label=Bag")
    expect(page.locator(PAGE)).to_have_count(5)
    with np.load(saved(desktop, page.get_by_role("button", name="NPZ"), tmp_path)) as arrays:
        assert arrays["seeds"].tolist() == [0, 1, 2, 3, 9]
        assert set(arrays["labels"].tolist()) == {"Bag"}
    with Image.open(saved(desktop, page.get_by_role("button", name="PNG", exact=True), tmp_path)) as image:
        assert json.loads(image.info["gan_serve"])["seeds"] == [0, 1, 2, 3, 9]
    desktop.check()


def test_a_link_for_a_model_with_labels_works_for_one_without(desktop: Visit) -> None:
    page = desktop.open(f"model={NAME}&seeds=0-7&view=labels&label=Bag&open=1&open-label=Bag")
    expect(page.get_by_role("dialog").get_by_role("img", name="Seed 1", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("tab", name="Grid")).to_have_attribute("aria-selected", "true")
    expect(page.locator(PAGE)).to_have_count(8)
    expect(page.get_by_role("alert")).to_be_empty()
    assert "abel" not in page.url
    desktop.check()


def test_the_focus_stays_where_a_pick_is_taken_out_and_a_file_is_saved(desktop: Visit, tmp_path: Path) -> None:
    page = desktop.open(f"model={NAME}&seeds=0-15&picks=2,5,7,9")
    tray = page.get_by_role("region", name="Picked for a walk")
    tray.get_by_role("button", name="Seed 5: take it out").press("Enter")
    expect(tray.get_by_role("button", name="Seed 7: take it out")).to_be_focused()
    page.get_by_role("tab", name="Walk").click()
    page.get_by_role("button", name="Take seed 9 out of the walk").press("Enter")
    expect(page.get_by_role("button", name="Take seed 7 out of the walk")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="To the grid")).to_be_focused()
    page.get_by_role("tab", name="Grid").click()
    npz = page.get_by_role("button", name="NPZ")
    npz.focus()
    saved(desktop, npz, tmp_path)
    expect(npz).to_be_focused()
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
