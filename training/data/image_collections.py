"""Image files in folders, tars and zips as one data set, with the labels beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gan_serve.errors import DataError
from gan_serve.training.data.class_names import with_labels
from gan_serve.training.data.formats import FORMAT_OF, suffix_of
from gan_serve.training.data.image_set import ImageSet, LeftOut, Wanted, examples
from gan_serve.training.data.label_sidecars import SidecarLabels, sidecar_labels
from gan_serve.training.data.list_files import Listing, image_entries, list_files
from gan_serve.training.data.pixels import UNREADABLE, read_pixels
from gan_serve.training.data.splits import lay_out

TABLE = re.compile(r".*\.(csv|tsv|npz|parquet|jsonl|json)|.*(attr|label|class|annot|list).*\.txt", re.IGNORECASE)


def read_image_files(containers: Sequence[Path], name: str, wanted: Wanted) -> ImageSet:
    """Read all images of ``containers`` (folders, tars, zips) in the order of their names.

    Labels are those of ``dataset.json``, ``.cls`` or ``metadata`` files beside the images, else the folders.

    Raises:
        DataError: no images, a damaged archive, or more than a tenth of the images cannot be read.
    """
    where = str(containers[0]) if len(containers) == 1 else str(containers[0].parent)
    try:
        listing = list_files(containers)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())  # tarfile names each way that it tried on a line
        raise DataError(f"{where} cannot be read: {reason}.", "It may be cut short: fetch it again.") from error
    found = listing.images
    if not found:
        others = f" It has {len(listing.left_out)} other files." if listing.left_out else ""
        raise DataError(f"{where} holds no images.{others}", f"Images end in {', '.join(sorted(FORMAT_OF))}.")
    layout = lay_out(found, wanted.split, where)
    order = sorted(range(len(layout.kept)), key=lambda position: found[layout.kept[position]].split("/"))
    rows = [layout.kept[position] for position in order]
    sidecars = sidecar_labels(listing, rows) if wanted.labels else None
    pixels = read_pixels(lambda: image_entries(containers), rows, wanted, where)
    data = ImageSet(
        name,
        pixels.images,
        names=tuple(found[rows[position]] for position in pixels.readable),
        split=wanted.split,
        has_test=layout.has_test,
        size=pixels.size,
        extremes=pixels.extremes,
        left_out=(*pixels.broken, *_left_out(listing, sidecars)),
        notes=pixels.notes,
    )
    if sidecars:
        values = [sidecars.values[position] for position in pixels.readable]
        split_notes = [note for note in layout.notes if "splits" in note]
        notes = ["folders are not read as classes."] if layout.classes else []
        data = data.noting(*split_notes, f"labels are those of {sidecars.source} files.", *notes)
        return with_labels(data, values, f"the {sidecars.source} of {where}")
    data = data.noting(*layout.notes, *_unread_tables(data.left_out))
    if not layout.classes:
        return data
    classes = [layout.classes[order[position]] for position in pixels.readable]
    return with_labels(data, classes, f"the folders of {where}")


def _left_out(listing: Listing, sidecars: SidecarLabels | None) -> list[LeftOut]:
    """Return the files that are not read: also those that may hold labels, and whose labels were not used."""
    used = sidecars.used if sidecars else set()
    unused = [path for key in listing.sidecars if key not in used for path in [key[1]]]
    return [*listing.left_out, *(LeftOut(path, f"{suffix_of(path)} is no image") for path in unused)]


def _unread_tables(left_out: Sequence[LeftOut]) -> list[str]:
    """Return a note about tables among the files that are not read."""
    tables = sorted(
        file for file, _, broken in left_out
        if not broken and TABLE.fullmatch(file)
    )  # fmt: skip
    if not tables or len(tables) > 20:  # many are captions, one for each image
        return []
    return [f"{examples(tables)} may hold labels and is not read: --labels {tables[0]}:COLUMN reads a column."]
