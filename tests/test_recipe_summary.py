"""``gan-serve recipes NAME``: the layers of a recipe's networks, their shapes and parameters."""

from __future__ import annotations

import json

import pytest

from gan_serve.errors import InvalidOption
from gan_serve.training.recipe_summary import summarise_recipe
from gan_serve.training.recipes import recipes


@pytest.mark.parametrize("name", recipes())
def test_the_layers_add_up_to_the_parameters(name):
    summary = summarise_recipe(name, {"width": 0.125})
    for network in summary.networks.values():
        assert network.parameters == sum(layer.parameters for layer in network.layers) > 0


def test_json_has_both_networks_with_parameters_and_layers(cli):
    shown = json.loads(cli("recipes", "lesson-bricks-dcgan", "--json").out)
    assert shown["settings"]["fake_target"] == [-0.1, 0.0]
    assert (shown["generator"]["parameters"], shown["discriminator"]["parameters"]) == (3_574_656, 2_763_520)
    assert shown["generator"]["layers"][0] == {
        "name": "layers.dense", "kind": "Linear", "shape": [8192], "parameters": 819_200
    }  # fmt: skip
    shapes = [layer["shape"] for layer in shown["generator"]["layers"] if layer["kind"] == "ConvTranspose2d"]
    assert shapes == [[256, 8, 8], [128, 16, 16], [64, 32, 32], [1, 64, 64]]
    assert shown["discriminator"]["layers"][-1] == {
        "name": "logit", "kind": "Linear", "shape": [1], "parameters": 8192
    }  # fmt: skip


def test_text_shows_source_settings_and_layers(cli):
    text = cli("recipes", "lesson-hinge-sn", "--set", "channels=1").out
    assert "from   Miyato et al. 2018" in text
    assert "d_lr = 0.0004" in text
    assert "discriminator, gray: 2,761,728 parameters" in text
    assert ["body.conv4", "Conv2d", "512x4x4", "2,097,152"] in [line.split() for line in text.splitlines()]


def test_classes_are_those_that_were_asked_for(cli):
    shown = json.loads(cli("recipes", "lesson-faces-cgan", "--classes", "2", "--json").out)
    assert shown["classes"] == 2
    assert shown["generator"]["parameters"] == 728_963


def test_without_a_name_json_lists_all(cli):
    assert [each["name"] for each in json.loads(cli("recipes", "--json").out)] == [*recipes(), *recipes("translate")]


def test_an_unknown_recipe_is_an_error_that_names_the_nearest():
    with pytest.raises(InvalidOption) as error:
        summarise_recipe("lesson-mnist-dcgam")
    assert "lesson-mnist-dcgan" in error.value.hint
