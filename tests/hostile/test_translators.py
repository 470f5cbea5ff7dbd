"""Translators and pictures of others: one clear error each, in little memory and time."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from clear_errors import one_clear_error
from hostile_translators import PICTURES, TRANSLATORS, only_small_pictures, translator
from measured import measure

from gan_serve import InvalidCheckpoint, Translator
from gan_serve.errors import InvalidImage

linux = pytest.mark.skipif(sys.platform != "linux", reason="devices, and memory is read from /proc")


@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_hostile_translator_is_one_clear_error(tmp_path, name):
    make, says = TRANSLATORS[name]
    path = make(tmp_path)
    with one_clear_error(InvalidCheckpoint, says):
        Translator.from_pretrained(path)


@linux
@pytest.mark.parametrize("name", PICTURES)
def test_a_hostile_picture_is_one_clear_error(tmp_path, name):
    make, says = PICTURES[name]
    path = make(tmp_path)
    with one_clear_error(InvalidImage, says):
        Translator.from_pretrained(translator(tmp_path)).translate(path)


def test_what_a_network_takes_is_checked_for_each_size_of_a_picture(tmp_path, monkeypatch):
    """With the golden sample left out, which the network would not compute either."""
    monkeypatch.setattr("gan_serve.sampling.translator_session.TranslatorSession._check_golden_sample", lambda self: 0)
    loaded = Translator.from_pretrained(translator(tmp_path, only_small_pictures(), any_size=True))
    assert loaded.translate(np.zeros((132, 132, 3), np.uint8), output="numpy").shape == (1, 264, 264, 3)
    with pytest.raises(InvalidCheckpoint, match=r"grows faster|constants of more"):
        loaded.translate(np.zeros((100, 132, 3), np.uint8))


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["translator with a golden sample of two sizes", "translator that takes memory for small pictures only"]
)
def test_it_takes_little_memory(tmp_path, name):
    measured = measure("translator", TRANSLATORS[name][0](tmp_path))
    assert measured.error == "InvalidCheckpoint"
    assert measured.megabytes < 250
