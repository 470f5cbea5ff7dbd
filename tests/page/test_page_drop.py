"""Pictures that are dropped on the explorer page, in a real Chromium against a real server."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from browser import CLASSES, PAGE, Visit, drop, expect, saved
from PIL import Image

from gan_serve import Generator
from gan_serve.images.png import encode_png
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.service.projecting import Projected, ProjectRequest
from gan_serve.verify import verify_image

NAME = "mnist-mlp"


def shown_at(visit: Visit, state: str) -> Any:
    visit.page.goto("about:blank")  # another state alone would not load the page again
    page = visit.open(state)
    expect(page.locator("#sheet[data-seeds]")).to_be_visible()
    return page


def test_an_image_of_a_seed_and_one_of_a_latent_become_keys(
    desktop: Visit, generator: Generator, tmp_path: Path
) -> None:
    latents = np.random.RandomState(5).standard_normal((1, generator.z_dim)).astype(np.float32)
    generator.generate(seeds=7, truncation=0.75)[0].save(tmp_path / "seed.png")
    [made] = generator.generate(latents=latents, truncation=0.75)
    made.save(tmp_path / "latent.png")
    page = shown_at(desktop, f"model={NAME}")
    drop(page, tmp_path / "seed.png", "#picture")
    expect(page.locator("#caption")).to_have_text("Seed 7")
    expect(page.locator("#truncation")).to_have_value("0.75")
    expect(page.locator("#keys-hint")).to_contain_text("One pinned")
    drop(page, tmp_path / "latent.png", "#picture")
    expect(page.locator("#caption")).to_have_text("Latent")
    expect(page.get_by_role("button", name="Key 2: latent")).to_be_visible()
    page.reload()
    expect(page.locator("#caption")).to_have_text("Latent")
    page.get_by_role("button", name="Files and code").click()
    again = saved(desktop, page.locator("#drawer [data-format=png]").first, tmp_path)
    with Image.open(again) as image:
        small = np.asarray(image)[::19, ::19]
    np.testing.assert_array_equal(small, np.asarray(made))
    assert verify_image(again).max_difference == 0
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#caption")).to_contain_text("→")
    desktop.check()


def test_a_sheet_and_an_image_of_another_model_change_to_it(desktop: Visit, quoted: Path, tmp_path: Path) -> None:
    other = Generator.from_pretrained(quoted)
    (tmp_path / "sheet.png").write_bytes(other.sample(seeds="40-47", label=CLASSES[1]).grid_png())
    other.generate(seeds=3, label=CLASSES[1])[0].save(tmp_path / "image.png")
    page = shown_at(desktop, f"model={NAME}&pin=1:&pin=2:")
    drop(page, tmp_path / "sheet.png")
    expect(page.locator(PAGE).first).to_have_accessible_name(f"Seed 40, {CLASSES[1]}")
    expect(page.locator(PAGE)).to_have_count(8)
    page = shown_at(desktop, f"model={NAME}&pin=1:&pin=2:")
    page.locator("#open-file").set_input_files(tmp_path / "image.png")
    expect(page.locator("#caption")).to_have_text(f"Seed 3 · {CLASSES[1]}")
    expect(page.locator("#model")).to_have_value(other.name)
    expect(page.locator("#keys-hint")).to_contain_text("One pinned")
    shown_at(desktop, f"model={NAME}")  # labels that appear with another model move what is below
    desktop.check()


def test_what_the_page_cannot_show_is_said(desktop: Visit, generator: Generator, tmp_path: Path) -> None:
    [image] = generator.generate(seeds=7)
    receipt, pixels = image.info["gan_serve"], np.asarray(image)[..., None]

    def altered(**changes: Any) -> bytes:
        return encode_png(pixels, {"gan_serve": json.dumps(receipt | changes)})

    desktop.page.emulate_media(reduced_motion="reduce")  # no walk is painted meanwhile
    page = shown_at(desktop, f"model={NAME}")
    for content, said in (  # no two in a row are told in the same words
        (encode_png(pixels), "picture.png has no receipt."),
        (encode_png(pixels, {"gan_serve": "{"}), "unsupported_receipt"),
        (b"not a picture", "picture.png has no receipt."),
        (altered(seed=None, latents="AAAA"), "unsupported_receipt"),
        (altered(seed=None, latents="AACAPw=="), "invalid_latents"),
        (altered(mix={"seeds": [1], "crossover": 2}), "unsupported_receipt"),
        (altered(model="another"), "The picture is of another, which this page does not have."),
        (altered(seed=None, seeds=7), "unsupported_receipt"),
    ):
        (tmp_path / "picture.png").write_bytes(content)
        drop(page, tmp_path / "picture.png")
        expect(page.locator("#problem")).to_contain_text(said)
    page = shown_at(desktop, f"model={NAME}")  # what an error moves is not counted
    (tmp_path / "picture.png").write_bytes(altered(digest="sha256:" + "0" * 64))
    drop(page, tmp_path / "picture.png")
    expect(page.locator("#opened")).to_contain_text(f"Another version of {NAME} made it")
    desktop.check(refused=True)


def test_a_picture_without_a_receipt_is_searched_for_where_the_server_allows_it(
    desktop: Visit, generator: Generator, tmp_path: Path
) -> None:
    """The response to the search is written here: test_service_project.py has a real one."""
    [image] = generator.generate(seeds=7)
    Image.fromarray(np.asarray(image)).save(tmp_path / "shirt.png")
    found = Projected(
        model=NAME, digest=generator.digest, latents=latents_from_seeds([7], generator.z_dim).tolist(), label=None,
        psnr=31.5, own_psnr=40.0, real_psnr=22.0,
    )  # fmt: skip

    def allow(route: Any) -> None:
        response = route.fetch()
        page, count = re.subn(r'"project": ?0\b(\.0)?', '"project": 500', response.text())
        assert count == 1  # of the limits, which the server writes into the page
        route.fulfill(response=response, body=page)

    searches: list[Any] = []
    desktop.page.route(f"{desktop.address}/", allow)
    desktop.page.route("**/project", lambda route: searches.append(route))  # Playwright marks the function
    page = shown_at(desktop, f"model={NAME}")
    with page.expect_request("**/project"):
        drop(page, tmp_path / "shirt.png", "#picture")
    expect(page.locator("#status")).to_contain_text("Searching for its latent")
    page.wait_for_timeout(0)  # lets the route above take the request
    [search] = searches
    request = ProjectRequest.model_validate(search.request.post_data_json)
    assert request.model == NAME
    assert base64.b64decode(request.image.partition("base64,")[2]) == (tmp_path / "shirt.png").read_bytes()
    search.fulfill(json=found.model_dump())
    expect(page.locator("#opened")).to_contain_text("shirt.png")
    expect(page.locator("#opened")).to_contain_text("the median of real pictures is")
    expect(page.locator("#caption")).to_have_text("Latent")
    expect(page.locator("#keys-hint")).to_contain_text("One pinned")
    desktop.check()
