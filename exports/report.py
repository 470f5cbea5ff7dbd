"""Format metrics, grouped by their meaning: as Markdown for a card or as plain text for a terminal.

On a model card they are between two comments, and an evaluation replaces that block.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from gan_serve.training.evaluation.evaluate import NEIGHBOURS_PICTURE
from gan_serve.training.evaluation.features import GENERAL
from gan_serve.training.evaluation.metric_names import MetricName

CARD_FILE = "README.md"
START, END = "<!-- figures -->", "<!-- end of figures -->"  # comments, which the Hub and GitHub do not show
TRUNCATION_PICTURE = "truncation.png"
# Metrics in the plot over truncation, and their colours.
PLOTTED = {"fid": "C0", "fd": "C0", "precision": "C1", "recall": "C2"}
DISTANCES = ("fid", "fd")  # the distances among them


class Group(NamedTuple):
    """Metrics that are shown together: their stems in order, and their meaning in short and in full."""

    title: str
    stems: tuple[str, ...]
    better: str
    meaning: str


NEIGHBOURS = "Nearest neighbours"
FIDELITY = "Fidelity and variety"
GROUPS = (
    Group(
        "Distance to real images",
        ("fid", "kid", "fd", "fd_floor", "kd", "swd", "fd_within_class_max", "fd_within_class_max_floor"),
        "lower is better; fd_floor: the distance between two sets of real images",
        "Fréchet distance (`fid`, `fd`) and kernel distance (`kid`, `kd`) between generated and real images, in the "
        "features that the name states: lower is better. Values in other features than Inception cannot be compared "
        "with published FID or KID, nor with each other if features, number of images or split differ. `fd_floor`: the "
        "Fréchet distance between two disjoint sets of as many real images, which a perfect generator would have. "
        "`fd_within_class_max`: the distance within the class with the largest ratio of distance to floor.",
    ),
    Group(
        FIDELITY,
        ("precision", "density", "recall", "coverage", "precision_within_class_min", "recall_within_class_min"),
        "higher is better",
        "`precision` and `density`: the share of generated images that lie among the real ones; `recall` and "
        "`coverage`: the share of real images that lie among the generated ones (`within_class_min`: within the class "
        "with the lowest value). Higher is better. Blends of faces can have a high precision.",
    ),
    Group(
        "Classes",
        (
            "label_agreement",
            "label_agreement_balanced",
            "label_agreement_worst_class",
            "label_agreement_of_real",
            "label_agreement_balanced_of_real",
            "is",
            "cs",
            "confident",
            "confident_of_real",
            "class_share_min",
            "class_share_min_of_real",
            "class_share_max",
            "class_share_max_of_real",
            "classes_missing",
        ),
        "label_agreement and score: higher is better; others: best if equal to the real images",
        "These come from the classifier of the features. `label_agreement`: the share of images that it assigns to the "
        "class of their label (`balanced`: the mean over the classes); `is`: the Inception Score, called `cs` "
        "(classifier score) with another classifier. Higher is better. `confident`: the share of images with a class "
        "probability above 0.9; `class_share_min` and `class_share_max`: the share of the rarest and of the most "
        "frequent class. Best is the value of the real images (`of_real`). `classes_missing`: the number of classes "
        "that it finds in no image; best is 0.",
    ),
    Group(
        NEIGHBOURS,
        (
            "nn_l1_generated",
            "nn_l1_unseen",
            "nn_l1_left_out",
            "nn_ratio",
            "nn_ratio_left_out",
            "nn_suspects",
            "nn_suspects_left_out",
        ),
        "nn_ratio: near 1 is best, far below 1 means copies; nn_suspects: 0.01 or less is best",
        "`nn_l1`: the median distance to the nearest training image, in grey levels a pixel, of generated images and "
        "of real images: held-out ones (`unseen`), or training images that are left out of the search (`left_out`); "
        "`nn_ratio`: the first over the second. Near 1 is good. Far below 1, the generator copies its training images; "
        "far above 1, its images resemble none of them. `nn_suspects`: the share of generated images that are as near "
        "to a training image as the nearest 1 % of those real images; far above 0.01, some of them are copies. With "
        "`left_out`, training saw those real images, so a generator may have copied them too.",
    ),
    Group(
        "Sharpness, artefacts and diversity",
        (
            "mean_gradient",
            "checkerboard",
            "specks",
            "diversity",
            "diversity_within_class",
            "diversity_ratio_within_class_min",
        ),
        "best if equal to the real images",
        "`mean_gradient` is sharpness, in grey levels; `checkerboard` the power of the luma at the diagonal pixel "
        "frequency, in grey levels squared: more than in real images is a pattern of single pixels; `specks` the share "
        "of images with a spot of one to four pixels that differs by more than 48 grey levels from its surroundings; "
        "`diversity` the mean difference of two images, in grey levels (`within_class`: of two images of a class; "
        "`ratio_within_class_min`: relative to the real images, in the class with the lowest ratio). Best is the value "
        "of the real images: compare `seeds` or `generated` with `train`, `test` or `holdout`. These metrics do not "
        "tell whether an image makes sense.",
    ),
)
# What is said in the groups that have a metric with these words in its name.
REMARKS = {
    "swd": "`swd`: the sliced Wasserstein distance between patches of 7x7 pixels, from fine to coarse (Karras et al. "
    "2018): noise, sharpness, colours and layout, without a network. Lower is better.",
    f"_{GENERAL}": f"`{GENERAL}` was trained on garments, digits, avatars and emoji, not for these images: its values "
    "compare models of the same images with each other, and mean little by themselves.",
}
OTHER = Group("Other metrics", (), "", "Their names state how they were measured.")
COPIES = "Copies of training images have perfect distances and precision;"

STEMS = tuple(stem for group in GROUPS for stem in group.stems)

TruncationTable = dict[float, dict[str, float]]  # truncation -> stem of a metric, or SHARPNESS -> value
SHARPNESS = "sharpness"  # sharpness of generated images over that of the real ones


def metrics_block(metrics: Mapping[str, float], pictures: Collection[str] = ()) -> str:
    """Return all metrics as Markdown for a card, from ``START`` to ``END``.

    Args:
        metrics: those of ``metrics.json``.
        pictures: the file names of the checkpoint's pictures; the card shows ``neighbours.png`` and ``truncation.png``.
    """
    groups = dict(by_group(metrics))
    has_neighbours = any(group.title == NEIGHBOURS for group in groups)
    parts = []
    for group in (*GROUPS, OTHER):
        shows_neighbours = group.title == NEIGHBOURS and NEIGHBOURS_PICTURE in pictures
        if group not in groups and not shows_neighbours:
            continue
        remarks = [text for part, text in REMARKS.items() if any(part in name for name in groups.get(group, ()))]
        parts.append("\n".join([f"### {group.title}", _meaning(group, has_neighbours), *remarks]))
        if group in groups:
            rows = ((f"`{name}`", number(value)) for name, value in groups[group].items())
            parts.append(table(("metric", "value"), rows))
        if shows_neighbours:
            parts.append(
                f"![Generated images and their nearest training images]({NEIGHBOURS_PICTURE})\n\n"
                "The generated images that are most like a training image (smallest difference of the pixels relative "
                "to their sum), each above that training image; with labels, one of each class first."
            )
    if by_class := class_tables(metrics):
        parts.append(
            "### By class\nDistance, its floor, precision and recall within each class, over the compared images of "
            "the class, and the label agreement."
        )
        parts += [f"`{protocol}`:\n\n{table(*_class_cells(rows))}" for protocol, rows in by_class.items()]
    tables = truncation_tables(metrics)
    if tables or TRUNCATION_PICTURE in pictures:
        parts.append(
            "### Truncation\nA smaller truncation samples nearer to the mean: images become more alike and recall "
            "falls; precision may rise at first, and falls if latents become unlike those of training. `sharpness` is "
            "that of the generated images over that of the real ones."
        )
    parts += [f"`{protocol}`:\n\n{table(*_truncation_cells(rows))}" for protocol, rows in tables.items()]
    if TRUNCATION_PICTURE in pictures:
        parts.append(f"![Distance, precision and recall over truncation]({TRUNCATION_PICTURE})")
    return "\n\n".join([START, *parts, END])


def with_metrics(card: str, block: str) -> str:
    """Return a card with ``block`` in place of its metrics, or at its end if it has no metrics to replace.

    >>> with_metrics("before <!-- figures --> old <!-- end of figures --> after", "new")
    'before new after'
    """
    before, start, rest = card.partition(START)
    _, end, after = rest.partition(END)
    if start and end:
        return before + block + after
    return "\n\n".join([*([card.rstrip()] if card.strip() else []), f"## Evaluation\n{block}\n"])


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Return all metrics as plain text for a terminal, one paragraph for each group."""
    groups = by_group(metrics)
    width = max((len(name) for _, named in groups for name in named), default=0)
    paragraphs = []
    for group, named in groups:
        title = f"{group.title} ({group.better})" if group.better else group.title
        paragraphs.append([title, *(f"  {name:<{width}}  {number(value)}" for name, value in named.items())])
    for protocol, by_class in class_tables(metrics).items():
        paragraphs.append([f"By class, {protocol}", *_aligned(*_class_cells(by_class))])
    for protocol, rows in truncation_tables(metrics).items():
        title = f"Truncation, {protocol} (smaller: nearer to the mean, less variety)"
        paragraphs.append([title, *_aligned(*_truncation_cells(rows))])
    return "\n\n".join("\n".join(paragraph) for paragraph in paragraphs)


def compared(metrics: Mapping[str, float]) -> str:
    """Return a sentence on the compared images: their number, the split and the features; empty without a distance.

    The distance is a Fréchet distance, or else a kernel distance.

    >>> compared({"fd10k_cnn-fashion_test": 12.5})
    '10,000 generated and 10,000 real images (test), features cnn-fashion'
    """
    names = _whole(metrics)
    name = next((name for name in names if name.is_distance), None)
    name = name or next((name for name in names if name.stem in ("kid", "kd")), None)
    if name is None:
        return ""
    return f"{name.images:,} generated and {name.images:,} real images ({name.source}), features {name.features}"


def by_group(metrics: Mapping[str, float]) -> list[tuple[Group, dict[str, float]]]:
    """Return the metrics of all images at truncation 1 by group, in the order of a card, without empty groups."""
    whole = of_all_images(metrics)
    stems = {name: parsed.stem if (parsed := MetricName.parse(name)) else "" for name in whole}
    found = []
    for group in (*GROUPS, OTHER):
        order = group.stems or tuple(sorted({stem for stem in stems.values() if stem not in STEMS}))
        named = sorted((name for name in whole if stems[name] in order), key=lambda name: order.index(stems[name]))
        if named:
            found.append((group, {name: whole[name] for name in named}))
    return found


def of_all_images(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of the whole checkpoint, without those of single classes and those over truncation."""
    return {
        name: value
        for name, value in metrics.items()
        if (parsed := MetricName.parse(name)) is None or (parsed.truncation is None and parsed.label is None)
    }


def of_the_generator(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of the generator as a whole, which the Hub may show as results of the model.

    Metrics of real images alone, which are there for comparison, are left out.
    """
    return {
        name: value
        for name, value in of_all_images(metrics).items()
        if (parsed := MetricName.parse(name)) is None or not parsed.is_reference
    }


def truncation_tables(metrics: Mapping[str, float]) -> dict[str, TruncationTable]:
    """Return the metrics over truncation by protocol, with the truncations in ascending order.

    >>> truncation_tables({"fd2k_cnn_test_truncation1": 3.0, "fd2k_cnn_test_truncation0.5": 9.0})
    {'2k_cnn_test': {0.5: {'fd': 9.0}, 1.0: {'fd': 3.0}}}
    """
    tables: dict[str, TruncationTable] = {}
    sources: dict[str, str] = {}
    for text, value in metrics.items():
        name = MetricName.parse(text)
        if name and name.truncation is not None and name.features:
            tables.setdefault(name.protocol, {}).setdefault(name.truncation, {})[name.stem] = value
            sources[name.protocol] = name.source
    # Sharpness has no features, so it belongs to every table with the same real images.
    for text, value in metrics.items():
        name = MetricName.parse(text)
        if name and name.truncation is not None and name.stem == "mean_gradient":
            for protocol, rows in tables.items():
                real = metrics.get(str(name._replace(source=sources[protocol], truncation=None)))
                if real and name.truncation in rows:
                    rows[name.truncation][SHARPNESS] = value / real
    return {protocol: dict(sorted(rows.items())) for protocol, rows in tables.items()}


def class_tables(metrics: Mapping[str, float]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the metrics within classes: protocol -> class -> stem -> value.

    >>> class_tables({"fd2k_cnn_test_class:Coat": 3.0, "label_agreement2k_cnn_class:Coat": 0.9})
    {'2k_cnn_test': {'Coat': {'fd': 3.0, 'label_agreement': 0.9}}}
    """
    tables: dict[str, dict[str, dict[str, float]]] = {}
    parsed = [(name, value) for text, value in metrics.items() if (name := MetricName.parse(text)) and name.label]
    compared_with = {name.protocol: name for name, _ in parsed if name.source}
    for name, value in parsed:
        alike = [
            protocol
            for protocol, other in compared_with.items()
            if name.source in ("", other.source) and (other.images, other.features) == (name.images, name.features)
        ]
        for protocol in alike or [name.protocol]:
            tables.setdefault(protocol, {}).setdefault(str(name.label), {})[name.stem] = value
    return tables


def number(value: float) -> str:
    """Return a value as a card shows it, with at most six digits."""
    return f"{value:.6g}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _meaning(group: Group, has_neighbours: bool) -> str:
    if group.title != FIDELITY:
        return group.meaning
    if has_neighbours:
        return f"{group.meaning}\n{COPIES} the nearest neighbours below tell them apart."
    return f"{group.meaning}\n{COPIES} only the nearest-neighbour test can tell them apart, and it was not run here."


def _whole(metrics: Mapping[str, float]) -> list[MetricName]:
    """Return the names of the metrics of all images at truncation 1."""
    parsed = (MetricName.parse(name) for name in of_all_images(metrics))
    return [name for name in parsed if name is not None]


def _truncation_cells(rows: TruncationTable) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table over truncation: first the plotted metrics, then the others."""
    columns = _columns(rows.values(), (*PLOTTED, SHARPNESS, *STEMS))
    head = ["truncation", *(stem.upper() if stem in DISTANCES else stem for stem in columns)]
    return head, [
        [number(truncation), *(_cell(row, stem, digits=3 if stem == SHARPNESS else 6) for stem in columns)]
        for truncation, row in rows.items()
    ]


def _class_cells(rows: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table of classes, with the ratio of distance to floor."""
    columns = _columns(rows.values(), ("fd", "fd_floor", *STEMS))
    head = ["class", *(stem.upper() if stem in DISTANCES else stem.replace("fd_", "") for stem in columns)]
    body = [[label, *(_cell(row, stem, digits=4) for stem in columns)] for label, row in rows.items()]
    if "fd_floor" in columns:
        at = columns.index("fd_floor") + 2
        head.insert(at, "times floor")
        for cells, row in zip(body, rows.values(), strict=True):
            floor = row.get("fd_floor")
            cells.insert(at, f"{row['fd'] / floor:.3g}" if floor and "fd" in row else "")
    return head, body


def _columns(rows: Iterable[Mapping[str, float]], order: Iterable[str]) -> list[str]:
    measured = {stem for row in rows for stem in row}
    return [stem for stem in dict.fromkeys(order) if stem in measured]


def _cell(row: Mapping[str, float], stem: str, digits: int) -> str:
    return f"{row[stem]:.{digits}g}" if stem in row else ""


def _aligned(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table as text, each column as wide as its longest cell."""
    cells = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["".join(f"  {cell:>{size}}" for cell, size in zip(row, widths, strict=True)) for row in cells]
