"""The explorer page with a server that refuses, is busy, is away, asks for a key, or has small limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import PAGE, Visit, expect
from servers import running

NAME = "mnist-mlp"


def test_errors_are_said_in_words(visit: Visit) -> None:
    page = visit.open("model=fashion-dcgam")
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("no model 'fashion-dcgam'")
    expect(problem).to_contain_text("Did you mean 'fashion-dcgan'?")
    page.get_by_label("Model").select_option("tiny (not ready)")
    expect(problem).to_contain_text("digest_mismatch")
    page.get_by_label("Model").select_option("conditional")
    expect(page.get_by_role("option", name="Seed 0, Bag")).to_be_visible()
    expect(problem).to_be_empty()
    visit.open("model=conditional&seeds=0-15&label=Boot")
    expect(problem).to_contain_text("has no label 'Boot'")
    visit.open("model=conditional&seeds=15-0")
    expect(page.get_by_text("runs backwards")).to_be_visible()
    visit.check(refused=True)


def test_the_page_keeps_its_pictures_and_comes_back_with_the_server(desktop: Visit) -> None:
    page = desktop.open(f"model={NAME}&seeds=0-15")
    expect(page.locator("#sheet[data-seeds='16']")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    desktop.context.set_offline(True)
    page.get_by_label("Seeds", exact=True).fill("500")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The server does not respond.")
    expect(page.locator(PAGE)).to_have_count(16)
    expect(page.locator("#picture.painted")).to_be_visible()
    desktop.context.set_offline(False)
    expect(page.get_by_role("alert")).to_be_empty()  # nobody clicked
    expect(page.locator(PAGE).first).to_have_attribute("data-seed", "500")
    desktop.check(refused=True)


def test_a_busy_server_is_waited_for(desktop: Visit) -> None:
    busy = {"error": {"code": "too_many_requests", "message": "The server is busy.", "hint": "Try again soon."}}
    refuse = lambda route: route.fulfill(status=429, headers={"Retry-After": "1"}, json=busy)  # noqa: E731
    desktop.page.route("**/sample", refuse, times=1)
    page = desktop.open(f"model={NAME}&seeds=0-15")
    expect(page.get_by_role("status")).to_have_text("The server is busy. Trying again in 1 s…")
    expect(page.locator("#sheet[data-seeds='16']")).to_be_visible()
    desktop.check(refused=True)


def test_a_key_is_kept_for_the_tab_and_a_server_of_small_requests_is_asked_for_few(
    browser: Any, quoted: Path, tmp_path: Path
) -> None:
    with running([str(quoted)], tmp_path, GAN_SERVE_API_KEY="open-sesame", GAN_SERVE_MAX_IMAGES="5") as client:
        visit = Visit(browser, str(client.base_url).rstrip("/"), "phone")
        page = visit.open()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_have_accessible_name("This server requires an API key")
        page.get_by_label("Key", exact=True).fill("guess")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("did not accept that key")
        page.get_by_label("Key", exact=True).fill("sesame\N{EN DASH}1")  # no header can hold it
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("did not accept that key")
        page.get_by_label("Key", exact=True).fill("open-sesame")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator(PAGE)).to_have_count(5)
        page.get_by_role("button", name="Files and code").click()
        expect(page.locator("#drawer pre")).to_contain_text("GAN_SERVE_API_KEY")
        page.reload()
        expect(page.locator(PAGE)).to_have_count(5)
        page.get_by_role("button", name="Re-roll").click()
        expect(page.locator(PAGE).first).not_to_have_attribute("data-seed", "0")
        expect(page.locator(PAGE)).to_have_count(5)
        visit.check(refused=True)
        visit.context.close()


@pytest.mark.slow
def test_a_key_serves_where_storage_is_forbidden(browser: Any, quoted: Path, tmp_path: Path) -> None:
    forbidden = "Object.defineProperty(window, 'sessionStorage', {get() { throw new DOMException('no') }})"
    with running([str(quoted)], tmp_path, GAN_SERVE_API_KEY="open-sesame") as client:
        visit = Visit(browser, str(client.base_url).rstrip("/"))
        visit.context.add_init_script(forbidden)
        page = visit.open()
        page.get_by_label("Key", exact=True).fill("open-sesame")
        page.keyboard.press("Enter")
        expect(page.locator(PAGE)).to_have_count(32)
        visit.check(refused=True)
        visit.context.close()
