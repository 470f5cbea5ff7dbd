"""Folders of others for training and evaluation: one clear error each, in little memory and time."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from clear_errors import one_clear_error
from hostile_runs import EXTRACTORS, LOGS, RUNS, TRANSLATION_RUNS, WEIGHTS, extractor, run, translation_run
from measured import measure

from gan_serve.errors import GanServeError, RunError
from gan_serve.training.evaluation.extractor_registry import SmallExtractor
from gan_serve.training.load_checkpoint import load_generator
from gan_serve.training.load_run import load_trained
from gan_serve.training.monitoring.run_log import best_kimg, read_log
from gan_serve.training.translation.examples import read_examples
from gan_serve.training.translation.load import load_trained_translator

linux = pytest.mark.skipif(sys.platform != "linux", reason="devices, and memory is read from /proc")


def test_a_good_run_and_a_good_extractor_are_read(tmp_path):
    assert load_trained(run(tmp_path / "run")).shown == 1000
    trained = load_trained_translator(translation_run(tmp_path / "translation"))
    assert read_examples(tmp_path / "translation", trained.config).inputs.shape == (2, 16, 16, 1)
    images = np.full((70, 8, 8, 1), 2, np.uint8)
    found = SmallExtractor(extractor(tmp_path))(images)
    assert (found.features.shape, found.logits.shape, found.features[69, 0]) == ((70, 128), (70, 5), 128)


@linux
@pytest.mark.parametrize("name", RUNS)
def test_a_hostile_run_is_one_clear_error(tmp_path, name):
    make, says = RUNS[name]
    path = make(tmp_path)
    with one_clear_error(GanServeError, says):
        load_trained(path)


@linux
@pytest.mark.parametrize("name", TRANSLATION_RUNS)
def test_a_hostile_run_of_a_translator_is_one_clear_error(tmp_path, name):
    make, says = TRANSLATION_RUNS[name]
    path = make(tmp_path)
    with one_clear_error(GanServeError, says):
        read_examples(path, load_trained_translator(path).config)


@linux
@pytest.mark.parametrize("name", LOGS)
def test_a_hostile_log_is_one_clear_error_or_its_good_lines(tmp_path, name):
    make, says = LOGS[name]
    path = make(tmp_path)
    if says:
        with one_clear_error(RunError, says):
            read_log(path)
    else:
        assert [record["kimg"] for record in read_log(path)] == [2, 1]
        assert best_kimg(path) == 1


@linux
@pytest.mark.parametrize("name", EXTRACTORS)
def test_a_hostile_extractor_is_one_clear_error(tmp_path, name):
    make, says = EXTRACTORS[name]
    path = make(tmp_path)
    with one_clear_error(GanServeError, says):
        SmallExtractor(path)(np.zeros((3, 8, 8, 1), np.uint8))


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_do_not_fit_their_network_are_one_clear_error(tmp_path, name):
    make, says = WEIGHTS[name]
    path = make(tmp_path)
    with one_clear_error(GanServeError, says):
        load_generator(path)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", ["snapshot with a bytearray of 3 GB", "config.json of a network of terabytes"])
def test_it_takes_little_memory(tmp_path, name):
    measured = measure("run", RUNS[name][0](tmp_path))
    assert measured.error == "RunError"
    assert measured.megabytes < 200
