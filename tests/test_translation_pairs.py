"""The intake of inputs and targets: folders, side by side, unpaired, made by downscaling or an edge filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_serve.errors import DataError, InvalidOption
from gan_serve.training.translation.pairs import as_rows, downscale, load_pairs, outline
from gan_serve.training.translation.settings import make_translation_config


def picture(seed: int, width: int = 16, height: int = 16) -> Any:
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def write(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def config(recipe: str, data: Path, **changes: Any) -> Any:
    return make_translation_config(recipe, {"data": str(data), "resolution": 16} | changes)


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / "A" / f"{number}.png", picture(number))
        write(tmp_path / "B" / f"{number}.bmp", picture(10 + number))
    write(tmp_path / "A" / "alone.png", picture(99))
    data = load_pairs(config("pix2pix", tmp_path))
    assert len(data.inputs) == len(data.targets) == 4
    assert np.array_equal(data.inputs.images[2], picture(2))
    assert np.array_equal(data.targets.images[2], picture(12))
    assert "4 pairs by name, 1 files without a partner are left out." in data.inputs.notes
    back = load_pairs(config("pix2pix", tmp_path, direction="BtoA"))
    assert np.array_equal(back.inputs.images[2], picture(12))
    held = load_pairs(config("pix2pix", tmp_path, holdout=0.25), "holdout")
    rest = load_pairs(config("pix2pix", tmp_path, holdout=0.25))
    assert len(held.inputs) == 1
    assert len(rest.inputs) == 3


def test_folders_may_have_splits(tmp_path: Path) -> None:
    for split, numbers in (("train", range(3)), ("test", range(3, 5))):
        for number in numbers:
            write(tmp_path / "A" / split / f"{number}.png", picture(number))
            write(tmp_path / "B" / split / f"{number}.png", picture(10 + number))
    assert len(load_pairs(config("pix2pix", tmp_path)).inputs) == 3
    test = load_pairs(config("pix2pix", tmp_path), "test")
    assert np.array_equal(test.targets.images[0], picture(13))


def test_pictures_side_by_side_are_cut(tmp_path: Path) -> None:
    for split, numbers in (("train", range(3)), ("test", range(3, 5))):
        for number in numbers:
            write(tmp_path / split / f"{number}.png", np.hstack([picture(number), picture(10 + number)]))
    data = load_pairs(config("pix2pix", tmp_path))
    assert np.array_equal(data.inputs.images[1], picture(1))
    assert np.array_equal(data.targets.images[1], picture(11))
    assert len(load_pairs(config("pix2pix", tmp_path), "test").inputs) == 2


def test_what_is_no_pair_is_told(tmp_path: Path) -> None:
    write(tmp_path / "square" / "1.png", picture(1))
    with pytest.raises(DataError, match=r"1 of 1 pictures.*16x16 pixels, and not two squares"):
        load_pairs(config("pix2pix", tmp_path / "square"))
    write(tmp_path / "odd" / "A" / "1.png", picture(1))
    write(tmp_path / "odd" / "B" / "2.png", picture(1))
    with pytest.raises(DataError, match=r"No file in .* has the name of one in"):
        load_pairs(config("pix2pix", tmp_path / "odd"))
    with pytest.raises(DataError, match="no folders A and B"):
        load_pairs(config("pix2pix", tmp_path / "square", pairs="folders"))
    with pytest.raises(DataError, match="neither two folders, trainA and trainB, nor labels"):
        load_pairs(config("cyclegan", tmp_path / "square"))


def test_unpaired_folders_and_labels(tmp_path: Path) -> None:
    for name, count in (("trainA", 3), ("trainB", 5), ("testA", 1), ("testB", 2)):
        for number in range(count):
            write(tmp_path / name / f"{number}.png", picture(number + 10 * len(name) + ord(name[-1])))
    data = load_pairs(config("cyclegan", tmp_path))
    assert (len(data.inputs), len(data.targets), data.paired) == (3, 5, False)
    test = load_pairs(config("cyclegan", tmp_path), "test")
    assert (len(test.inputs), len(test.targets)) == (1, 2)
    labelled = tmp_path / "labelled.npz"
    images = np.stack([picture(number) for number in range(6)])
    np.savez(labelled, images=images, labels=np.arange(6) % 3, class_names=np.array(["x", "y", "z"]))
    data = load_pairs(config("cyclegan", labelled, domain_a="z", domain_b="x"))
    assert np.array_equal(data.inputs.images, images[2::3])
    assert np.array_equal(data.targets.images, images[::3])
    with pytest.raises(InvalidOption, match="There is no label for domain_a and domain_b 'w'"):
        load_pairs(config("cyclegan", labelled, domain_a="w", domain_b="x"))


def test_downscaling_does_not_alias(tmp_path: Path) -> None:
    board = np.indices((16, 16)).sum(0) % 2 * 255
    board = board.astype(np.uint8)[None, :, :, None]
    small = downscale(board, 4)
    assert small.shape == (1, 4, 4, 1)
    assert np.abs(small.astype(int) - 127).max() <= 3  # taking every fourth pixel would give 0 alone
    np.savez(tmp_path / "set.npz", images=np.stack([picture(number) for number in range(3)]))
    data = load_pairs(config("srgan", tmp_path / "set.npz"))
    assert data.inputs.images.shape == (3, 4, 4, 3)
    assert np.array_equal(data.inputs.images, downscale(data.targets.images, 4))
    assert "antialiases" in data.inputs.notes[0]


def test_an_outline_is_black_where_neighbours_differ() -> None:
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[:, :, 2:] = 200
    lines = outline(image)
    assert lines.shape == (1, 4, 4, 1)
    assert lines[0, 0, :, 0].tolist() == [255, 0, 255, 255]
    image[:, :, 2:] = 20  # below the threshold
    assert (outline(image) == 255).all()


def test_rows_of_inputs_and_targets_fill_a_grid() -> None:
    small, large = np.zeros((3, 2, 2, 1), np.uint8), np.ones((3, 4, 4, 3), np.uint8)
    rows = as_rows(small, large, columns=2)
    assert rows.shape == (8, 4, 4, 3)
    assert [int(image.max()) for image in rows] == [0, 0, 1, 1, 0, 255, 1, 255]
