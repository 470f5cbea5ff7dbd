import gzip
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gan_serve.errors import DataError, InvalidOption
from gan_serve.training.data.image_set import new_images
from gan_serve.training.data.load import load_images

rng = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def test_idx_files_plain_and_gzipped(tmp_path):
    images, labels = rng.integers(0, 256, (5, 28, 28)), np.array([0, 1, 2, 1, 0])
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    data = load_images(tmp_path)
    np.testing.assert_array_equal(data.images[..., 0], images)
    np.testing.assert_array_equal(data.labels, labels)
    assert data.class_names == ("0", "1", "2")
    with pytest.raises(DataError, match="t10k-images"):
        load_images(tmp_path, split="test")


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda _: b"", lambda raw: b"\1" + raw[1:]]
)
def test_a_damaged_idx_file_is_refused(tmp_path, damage):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(damage(idx(np.zeros((2, 4, 4)))))
    with pytest.raises(DataError, match="not a whole IDX"):
        load_images(tmp_path)


def test_a_truncated_gzip_is_refused(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((9, 28, 28))))[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        load_images(tmp_path)


def test_npz_with_labels_and_names(tmp_path):
    images = rng.integers(0, 256, (4, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=[1, 0, 1, 0], class_names=["cat", "dog"])
    data = load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.images, images)
    assert (data.class_names, data.img_resolution, data.img_channels, len(data)) == (("cat", "dog"), 16, 3, 4)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"pictures": np.zeros((2, 4, 4), np.uint8)}, "no array 'images'; it has: pictures"),
        ({"images": np.zeros((2, 4, 4), np.float32)}, "float32"),
        ({"images": np.zeros((2, 4, 4, 2), np.uint8)}, r"\[2, 4, 4, 2\]"),
        ({"images": np.zeros((0, 4, 4), np.uint8)}, "no images"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [0]}, "labels"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [0, -1]}, "labels"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [0, 5], "class_names": ["a"]}, "names 1 classes for 6"),
        ({"images": np.array([{}, {}])}, "not a readable npz"),
        ({"images": np.zeros((2, 0, 0), np.uint8)}, r"\[2, 0, 0, 1\]"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [0, 2**62]}, "go up to 4611686018427387904"),
    ],
)
def test_an_npz_of_another_form_is_refused(tmp_path, arrays, says):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=says):
        load_images(tmp_path / "a.npz")


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 half")
    with pytest.raises(DataError, match="not a readable npz"):
        load_images(tmp_path / "a.npz")


def test_an_npy_called_npz_is_refused(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="not a readable npz"):
        load_images(tmp_path / "a.npz")


def test_a_folder_with_subfolders_has_labels(tmp_path):
    for kind, value in (("dark", 10), ("light", 200)):
        (tmp_path / kind).mkdir()
        for number in range(2):
            Image.new("L", (16, 16), value).save(tmp_path / kind / f"{number}.png")
    data = load_images(tmp_path, resolution=8)
    assert data.class_names == ("dark", "light")
    np.testing.assert_array_equal(data.labels, [0, 0, 1, 1])
    np.testing.assert_array_equal(data.images[:, 0, 0, 0], [10, 10, 200, 200])


def test_images_are_cut_square_from_the_middle_and_resized(tmp_path):
    pixels = np.zeros((16, 48), np.uint8)
    pixels[:, 16:32] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    data = load_images(tmp_path, resolution=8)
    assert data.images.shape == (1, 8, 8, 1)
    assert (data.images == 255).all()


def test_photos_are_turned_as_their_exif_says(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:4] = 255  # white on top, as the sensor saw it
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown, turn clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    [image] = load_images(tmp_path).images
    assert image[:, 12:].mean() == 255
    assert image[:, :12].mean() == 0


def test_sixteen_bits_become_eight(tmp_path):
    ramp = np.arange(256, dtype=np.uint16) * 257
    Image.fromarray(np.tile(ramp, (256, 1))).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(load_images(tmp_path).images[0, 0, :, 0], np.arange(256))


def test_what_is_transparent_lies_on_white(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("LA", (8, 8), (0, 128)).save(tmp_path / "b.png")
    data = load_images(tmp_path)
    assert data.img_channels == 1
    assert (data.images[0] == 255).all()
    assert abs(int(data.images[1, 0, 0, 0]) - 127) <= 1


def test_a_gray_palette_stays_gray(tmp_path):
    Image.new("L", (8, 8), 77).convert("P").save(tmp_path / "a.png")
    assert load_images(tmp_path).images[0, 0, 0].tolist() == [77]


def test_pixels_of_no_known_range_are_refused(tmp_path):
    Image.fromarray(np.random.default_rng(0).random((8, 8), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff.*no known range"):
        load_images(tmp_path)


def test_channels_follow_the_images_or_the_wish(tmp_path):
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("L", (8, 8), 9).save(tmp_path / "gray.png")
    assert load_images(tmp_path).images[1, 0, 0].tolist() == [255, 0, 0]
    assert load_images(tmp_path, channels=1).images[1, 0, 0].tolist() == [76]  # 0.299 * 255


def test_arrays_are_resized_by_the_same_rule(digits):
    data = load_images(digits, resolution=16, channels=3)
    assert data.images.shape == (1797, 16, 16, 3)
    assert len(data.class_names) == 10


def test_a_few_broken_images_are_skipped_and_named(tmp_path):
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for number in range(9):
            pixels = rng.integers(0, 256, (32, 32), np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{number}.png")
    (tmp_path / "a" / "0.png").write_bytes(b"not a png")  # the first, and so not the one that gives the size
    whole = (tmp_path / "b" / "3.png").read_bytes()
    (tmp_path / "b" / "3a.png").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (32, 32), 9).save(tmp_path / "b" / "9.png")
    data = load_images(tmp_path)
    assert [skipped.split(":")[0] for skipped in data.skipped] == ["a/0.png", "b/3a.png"]  # 2 of 20: a tenth
    assert "cannot identify" in data.skipped[0]
    assert data.images.shape == (18, 32, 32, 1)
    assert np.bincount(data.labels).tolist() == [8, 10]
    assert data.names[7:9] == ("a/8.png", "b/0.png")
    np.testing.assert_array_equal(data.images[11], np.asarray(Image.open(tmp_path / "b" / "3.png"))[..., None])
    assert (data.images[-1] == 9).all()


def test_many_broken_images_stop_the_run_and_are_named(tmp_path):
    for number in range(8):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"not a png")
    with pytest.raises(DataError, match=r"1 of 9 .*bad\.png"):
        load_images(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"9 of 9 .* and 4 more"):
        load_images(tmp_path)


def test_hidden_files_are_left_out(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"macOS puts these beside every file")
    (tmp_path / ".thumbnails").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / ".thumbnails" / "a.png")
    assert load_images(tmp_path).names == ("a.png",)


def test_folders_that_hold_everything_are_no_labels(tmp_path):
    for kind in ("cat", "dog"):
        folder = tmp_path / "download" / "images" / kind
        folder.mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "1.png")
    assert load_images(tmp_path).class_names == ("cat", "dog")
    one = load_images(tmp_path / "download" / "images" / "cat" / "..", resolution=4)
    assert (one.class_names, one.name) == (("cat", "dog"), "images")
    assert load_images(tmp_path / "download" / "images" / "cat").labels is None


def test_folders_called_train_and_test_are_splits(tmp_path):
    for split, count in (("train", 3), ("Test", 2)):
        for kind in ("cat", "dog"):
            (tmp_path / split / kind).mkdir(parents=True)
            for number in range(count):
                Image.new("L", (8, 8), count).save(tmp_path / split / kind / f"{number}.png")
    train, test = load_images(tmp_path), load_images(tmp_path, split="test")
    assert (len(train), len(test)) == (6, 4)
    assert train.class_names == test.class_names == ("cat", "dog")
    (tmp_path / "Test").rename(tmp_path / ".hidden")
    with pytest.raises(DataError, match="has no test folder; it has: train"):
        load_images(tmp_path, split="test")


def test_a_split_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InvalidOption, match="no split 'tset'; choose from: train, test") as error:
        load_images(tmp_path, split="tset")
    assert "'test'" in error.value.hint


def test_a_set_too_large_for_the_memory_is_refused():
    with pytest.raises(DataError, match="1000000000 images of 1024x1024 need 3145728 GB"):
        new_images(10**9, 1024, 3)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        load_images(tmp_path)


def test_a_source_that_is_not_there_names_the_nearest(tmp_path):
    with pytest.raises(DataError, match="no data at") as error:
        load_images("fashion-mnits")
    assert "fashion-mnist" in error.value.hint
    with pytest.raises(DataError, match="no data at"):
        load_images("a" * 5000)
    with pytest.raises(DataError, match="neither"):
        load_images(__file__)


def test_the_digest_is_of_the_pixels(digits):
    data = load_images(digits)
    assert data.digest == load_images(digits).digest
    assert data.digest != load_images(digits, resolution=16).digest
    unlabelled = load_images(digits, labels="none")
    assert unlabelled.digest == data.digest
    assert (unlabelled.labels, unlabelled.class_names, unlabelled.labels_digest) == (None, (), None)


def test_the_labels_digest_is_of_labels_and_names(digits):
    data = load_images(digits)
    assert data.labels_digest == load_images(digits, resolution=16).labels_digest
    turned = replace(data, labels=data.labels[::-1])
    renamed = replace(data, class_names=(*data.class_names[:-1], "nine"))
    assert len({data.labels_digest, turned.labels_digest, renamed.labels_digest}) == 3


@pytest.mark.usefixtures("fashion_mnist")
def test_fashion_mnist_is_found_by_name():
    train, test = load_images("fashion-mnist"), load_images("fashion-mnist", split="test")
    assert (train.images.shape, test.images.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert (train.class_names[7], train.license) == ("Sneaker", "mit")
