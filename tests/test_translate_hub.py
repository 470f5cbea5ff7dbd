"""Translators on the Hub: pushed in one commit, pulled, and the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hub_cache import hub_cache
from hub_server import DEPRECATED, REPO, WRITER, Hub
from tiny_checkpoint import contents
from tiny_translator import SIDE, write_translator

import gan_serve.hub.push
from gan_serve import GoldenSampleMismatch, Translator
from gan_serve.checkpoint.config import GoldenTranslation


@pytest.fixture
def writing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    return hub


@pytest.mark.filterwarnings(DEPRECATED)
def test_push_and_pull_give_the_same_bytes_and_pixels(writing: Hub, tmp_path: Path) -> None:
    directory = write_translator(tmp_path / "negative")
    Translator.from_pretrained(directory).push_to_hub(REPO)
    assert {name: data for name, data in writing.files(REPO).items() if name != ".gitattributes"} == contents(directory)
    assert contents(Translator.from_pretrained(REPO).save_pretrained(tmp_path / "saved")) == contents(directory)
    image = np.full((SIDE, SIDE, 3), 7, np.uint8)
    assert (gan_serve.translate(REPO, image, output="numpy") == 248).all()


@pytest.mark.filterwarnings(DEPRECATED)
def test_what_does_not_compute_its_golden_sample_is_not_sent(writing: Hub, tmp_path: Path) -> None:
    black = np.zeros((SIDE, SIDE, 3), np.uint8)
    directory = write_translator(tmp_path / "negative", golden_sample=GoldenTranslation.of_input(black, black))
    with pytest.raises(GoldenSampleMismatch):
        gan_serve.hub.push.push(directory, REPO)
    assert REPO not in writing.repositories


def test_a_cache_that_was_emptied_is_filled_again(hub: Hub, tmp_path: Path) -> None:
    hub.publish("somebody/negative", write_translator(tmp_path / "negative"))
    image = np.full((SIDE, SIDE, 3), 7, np.uint8)
    for _ in range(2):
        assert (gan_serve.translate("somebody/negative", image, output="numpy") == 248).all()
        shutil.rmtree(hub_cache())
