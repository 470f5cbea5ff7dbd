"""Data sets known by name: found on this machine or downloaded, and checked against pinned digests."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gan_serve.errors import DataError
from gan_serve.training.data.idx import IDX_FILES, open_unpacked, read_cifar10, read_idx_pair
from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.data.rendered import AVATARS, BRICKS, RenderedSource, read_rendered

DATA_VARIABLE = "GAN_SERVE_DATA"
TIMEOUT = (5, 30)  # seconds to connect, and between two packets
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"


@dataclass(frozen=True)
class PinnedFile:
    """sha256 of a file as its publisher packs it, and of what a .gz holds: others pack the same otherwise."""

    packed: str
    content: str = ""


@dataclass(frozen=True)
class NamedSource:
    """A published data set: its files, where to look for them, and the names of its classes.

    files: by the name under which they are stored and downloaded.
    urls: where they can be fetched, tried in order; each ends in ``/``.
    folders: where others put the files, beside our own ``data_home()/<name>``.
    """

    files: Mapping[str, PinnedFile]
    urls: tuple[str, ...]
    class_names: tuple[str, ...]
    license: str
    credit: str
    folders: tuple[str, ...] = ()
    how_to_get: str = "Put {files} into {home}."


def _idx(*digests: tuple[str, str]) -> dict[str, PinnedFile]:
    stems = [stem for split in ("train", "test") for stem in IDX_FILES[split]]
    return {f"{stem}.gz": PinnedFile(*pair) for stem, pair in zip(stems, digests, strict=True)}


NAMED_SOURCES: dict[str, NamedSource | RenderedSource] = {
    "fashion-mnist": NamedSource(
        files=_idx(
            ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
             "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
             "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
             "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
             "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
        urls=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        folders=("/usr/share/datasets/fashion-mnist",),
        class_names=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        license="mit",
        credit="Zalando SE, MIT licence (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747)",
        how_to_get="On Debian and Ubuntu: apt-get install dataset-fashion-mnist. Elsewhere, put {files} into {home}.",
    ),
    "mnist": NamedSource(
        files=_idx(
            ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
             "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
             "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
             "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
             "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ),
        urls=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        class_names=tuple("0123456789"),
        license="cc-by-sa-3.0",
        credit="Yann LeCun and Corinna Cortes, CC BY-SA 3.0 (LeCun, Bottou, Bengio, Haffner 1998)",
    ),
    "cifar10": NamedSource(
        files={
            CIFAR10_ARCHIVE: PinnedFile("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")
        },
        urls=("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"),
        class_names=(
            "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
        ),
        license="other",
        credit="Alex Krizhevsky, Vinod Nair and Geoffrey Hinton, no licence stated (Krizhevsky 2009, Learning multiple "
        "layers of features from tiny images)",
    ),
    "avatars": AVATARS,
    "bricks": BRICKS,
}  # fmt: skip


def load_named(name: str, split: str) -> ImageSet:
    """Load one split of the data set called ``name`` in ``NAMED_SOURCES``; download it where that is possible.

    Raises:
        DataError: a file is not the published one, or is not there and cannot be downloaded.
    """
    source, home = NAMED_SOURCES[name], data_home() / name
    if isinstance(source, RenderedSource):
        return read_rendered(name, source, split, home)
    return read_source(name, source, split, home)


def data_home() -> Path:
    """Return the folder of downloaded data sets: ``$GAN_SERVE_DATA``, else ``gan-serve/datasets`` in the cache."""
    if chosen := os.environ.get(DATA_VARIABLE):
        return Path(chosen).expanduser()
    import pooch  # type: ignore[import-untyped]  # not needed where the data set is on this machine

    return Path(pooch.os_cache("gan-serve")) / "datasets"


def read_source(name: str, source: NamedSource, split: str, home: Path) -> ImageSet:
    """Read one split of ``source``, whose files lie in ``home`` or its folders, or are downloaded into ``home``."""
    if CIFAR10_ARCHIVE in source.files:
        data = read_cifar10(_obtain(name, source, CIFAR10_ARCHIVE, home), split, name)
    else:
        images, labels = (_obtain(name, source, f"{stem}.gz", home) for stem in IDX_FILES[split])
        data = read_idx_pair(images, labels, name)
    return replace(data, split=split, class_names=source.class_names, license=source.license, credit=source.credit)


def _obtain(name: str, source: NamedSource, file: str, home: Path) -> Path:
    """Return the path of a file of ``source``, found or downloaded, whose digest was checked."""
    pinned = source.files[file]
    for folder in (home, *map(Path, source.folders)):
        for path in (folder / file, folder / file.removesuffix(".gz")):
            if path.is_file():
                if not _is_published(path, pinned):
                    raise DataError(
                        f"{path} is not the published file of {name}: its sha256 is another.",
                        f"Remove it, or pass the folder itself to use it as it is: {folder}.",
                    )
                return path
    return _download(name, source, file, home)


def _is_published(path: Path, pinned: PinnedFile) -> bool:
    with path.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() == pinned.packed:
            return True
    if not pinned.content:
        return False
    try:
        with open_unpacked(path) as content:  # piece by piece: the file may hold anything
            return hashlib.file_digest(content, "sha256").hexdigest() == pinned.content  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Fetch the file again.") from error


def download(url: str, sha256: str, path: Path) -> str:
    """Download a file to ``path`` once its digest was compared; return why it failed, or an empty text."""
    import pooch

    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT, chunk_size=2**16),
        )
    except ValueError:  # pooch's own, for another digest
        return f"the file at {url} is not the published one"
    except OSError as error:  # also all of requests' errors
        return f"{url}: {str(error) if len(str(error)) < 160 else type(error).__name__}"
    return ""


def _download(name: str, source: NamedSource, file: str, home: Path) -> Path:
    """Download a file of ``source`` from the first of its URLs that has it; return its path."""
    reasons = []
    for url in source.urls:
        reason = download(f"{url}{file}", source.files[file].packed, home / file)
        if not reason:
            return home / file
        reasons.append(reason)
    raise DataError(
        f"The data set {name} is not on this machine and could not be downloaded ({'; '.join(reasons)}).",
        source.how_to_get.format(files=", ".join(source.files), home=home),
    )
