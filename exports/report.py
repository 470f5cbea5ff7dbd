"""How figures are shown: parsed by their names, grouped by what they mean, as Markdown for a card or as plain text.

On a model card they are a block between two comments, which an evaluation writes anew.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from gan_serve.training.evaluation.evaluate import NEIGHBOURS_PICTURE

CARD_FILE = "README.md"
START, END = "<!-- figures -->", "<!-- end of figures -->"  # the Hub and GitHub do not show them
TRUNCATION_PICTURE = "truncation.png"
PLOTTED = {"fid": "C0", "fd": "C0", "precision": "C1", "recall": "C2"}  # over truncation, in which colour
DISTANCES = ("fid", "fd")  # of those


class Group(NamedTuple):
    """Metrics that belong together: how their names begin, in the order they are shown in, and what they mean.

    ``better`` says in a few words which way is better, ``meaning`` in full.
    """

    title: str
    stems: tuple[str, ...]
    better: str
    meaning: str


NEIGHBOURS = "Nearest neighbours"
FIDELITY = "Fidelity and variety"
GROUPS = (
    Group(
        "Distance to real images",
        ("fid", "kid", "fd", "kd"),
        "lower is better",
        "Fréchet distance (`fid`, `fd`) and kernel distance (`kid`, `kd`) between generated and real images, in the "
        "features that the name states: lower is better. Figures with other features than Inception do not compare "
        "with published FID or KID, nor with each other where features, number of images or split differ.",
    ),
    Group(
        FIDELITY,
        ("precision", "density", "recall", "coverage", "precision_within_class_min", "recall_within_class_min"),
        "higher is better",
        "`precision` and `density`: how many generated images lie among the real ones; `recall` and `coverage`: how "
        "many real ones lie among the generated (`within_class_min`: within the class where it is lowest). Higher is "
        "better. Precision on faces is easily fooled by blends of faces.",
    ),
    Group(
        "Classes",
        (
            "label_agreement",
            "label_agreement_balanced",
            "label_agreement_worst_class",
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
        "label_agreement and score: higher is better; the others: as in the real images",
        "As the classifier of the features sees the images. `label_agreement`: the share that it gives the label they "
        "were drawn under (`balanced`: the mean over the classes); `is`: the Inception Score, called `cs` (classifier "
        "score) with another classifier. Higher is better. `confident`: the share that it is more than 0.9 sure of; "
        "`class_share_min` and `class_share_max`: the share of the rarest and of the commonest class. Best is what the "
        "real images have (`of_real`). `classes_missing`: the classes that it sees in no image; best is 0.",
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
        "`nn_l1`: the median distance, in grey levels a pixel, to the nearest training image, of generated images and "
        "of real ones that training did not see (`unseen`) or that it saw and the search leaves out (`left_out`); "
        "`nn_ratio`: the first over the second. Near 1 is good; far below 1 the generator copies its training images, "
        "far above 1 its images are like none of them. `nn_suspects`: the share of generated images that are as near "
        "to a training image as the nearest hundredth of those real ones; far above 0.01, some of them are copies. "
        "`left_out` in these names: the real ones were such images, which a copying generator has copied as well.",
    ),
    Group(
        "Sharpness and diversity",
        ("mean_gradient", "diversity", "diversity_within_class"),
        "best as in the real images",
        "`mean_gradient` is sharpness, `diversity` how much two images differ (`within_class`: two images of a class), "
        "in grey levels. Best is what the real images have: compare `seeds` or `generated` with `train`, `test` or "
        "`holdout`. They do not say whether an image makes sense.",
    ),
)
OTHER = Group("Other figures", (), "", "Their names state how they were measured.")
COPIES = "Copies of training images look perfect to distances and to precision;"

STEMS = tuple(stem for group in GROUPS for stem in group.stems)
NAME = re.compile(rf"(?P<stem>{'|'.join(STEMS)})_?(?P<protocol>\d.*?)(_truncation(?P<truncation>\d+(\.\d+)?))?")

DialTable = dict[float, dict[str, float]]  # truncation -> the beginning of a metric's name -> value


class Name(NamedTuple):
    """A metric's name: what it is, how it was measured, and at which truncation where that is part of the dial."""

    stem: str
    protocol: str
    truncation: float | None

    @classmethod
    def parse(cls, name: str) -> Name | None:
        """The parts of a name; None where it begins as no known one.

        >>> Name.parse("recall_within_class_min10k_cnn-fashion_test")
        Name(stem='recall_within_class_min', protocol='10k_cnn-fashion_test', truncation=None)
        >>> Name.parse("fd2k_cnn_test_truncation0.5")
        Name(stem='fd', protocol='2k_cnn_test', truncation=0.5)
        >>> Name.parse("made_up")
        """
        match = NAME.fullmatch(name)
        if match is None:
            return None
        truncation = match["truncation"]
        return cls(match["stem"], match["protocol"], None if truncation is None else float(truncation))


def figures_block(metrics: Mapping[str, float], pictures: Collection[str] = ()) -> str:
    """The figures of a card as Markdown, from ``START`` to ``END``; every metric is in it.

    Args:
        metrics: of ``metrics.json``. pictures: the names of the checkpoint's pictures; ``neighbours.png`` and
            ``truncation.png`` are shown where they are among them.
    """
    tables, groups = dials(metrics), dict(by_group(metrics))
    has_neighbours = any(group.title == NEIGHBOURS for group in groups)
    parts = []
    for group in (*GROUPS, OTHER):
        shows_neighbours = group.title == NEIGHBOURS and NEIGHBOURS_PICTURE in pictures
        if group not in groups and not shows_neighbours:
            continue
        parts.append(f"### {group.title}\n{_meaning(group, has_neighbours)}")
        if group in groups:
            rows = ((f"`{name}`", number(value)) for name, value in groups[group].items())
            parts.append(table(("metric", "value"), rows))
        if shows_neighbours:
            parts.append(
                f"![Generated images and their nearest training images]({NEIGHBOURS_PICTURE})\n\n"
                "The generated images most like a training image (difference of the pixels as a share of the light in "
                "both), each above that image."
            )
    if tables or TRUNCATION_PICTURE in pictures:
        parts.append(
            "### Truncation\nA smaller truncation draws nearer to the mean: images become more alike and recall falls; "
            "precision may rise at first, and falls where latents are unlike those of training."
        )
    parts += [f"`{protocol}`:\n\n{table(*_dial_cells(dial))}" for protocol, dial in tables.items()]
    if TRUNCATION_PICTURE in pictures:
        parts.append(f"![Distance, precision and recall over truncation]({TRUNCATION_PICTURE})")
    return "\n\n".join([START, *parts, END])


def with_figures(card: str, block: str) -> str:
    """A card with ``block`` in the place of its figures; at its end, where the card has none that can be replaced.

    >>> with_figures("before <!-- figures --> old <!-- end of figures --> after", "new")
    'before new after'
    """
    before, start, rest = card.partition(START)
    _, end, after = rest.partition(END)
    if start and end:
        return before + block + after
    return "\n\n".join([*([card.rstrip()] if card.strip() else []), f"## Evaluation\n{block}\n"])


def figures_text(metrics: Mapping[str, float]) -> str:
    """The figures as plain text for a terminal, a group a paragraph; every metric is in it."""
    groups = by_group(metrics)
    width = max((len(name) for _, named in groups for name in named), default=0)
    paragraphs = []
    for group, named in groups:
        title = f"{group.title} ({group.better})" if group.better else group.title
        paragraphs.append([title, *(f"  {name:<{width}}  {number(value)}" for name, value in named.items())])
    for protocol, dial in dials(metrics).items():
        head, rows = _dial_cells(dial)
        cells = [head, *rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["".join(f"  {cell:>{size}}" for cell, size in zip(row, widths, strict=True)) for row in cells]
        paragraphs.append([f"Truncation, {protocol} (smaller: nearer to the mean, less variety)", *lines])
    return "\n\n".join("\n".join(paragraph) for paragraph in paragraphs)


def compared(metrics: Mapping[str, float]) -> str:
    """How many images were compared, with which real ones, in which features; empty where no distance was measured.

    >>> compared({"fd10k_cnn-fashion_test": 12.5})
    '10,000 generated and 10,000 real images (test), features cnn-fashion'
    """
    distances = (parsed for name in metrics if (parsed := Name.parse(name)) and parsed.stem in DISTANCES)
    protocol = next((parsed.protocol for parsed in distances if parsed.truncation is None), "")
    match = re.fullmatch(r"(\d+)(k?)_(.+)_(\w+?)", protocol)
    if match is None:
        return ""
    count, thousands, features, split = match.groups()
    images = f"{int(count) * (1000 if thousands else 1):,}"
    return f"{images} generated and {images} real images ({split}), features {features}"


def by_group(metrics: Mapping[str, float]) -> list[tuple[Group, dict[str, float]]]:
    """The metrics but those of the dial, by the groups that have some, in the order that they are shown in."""
    plain = without_dial(metrics)
    stems = {name: parsed.stem if (parsed := Name.parse(name)) else "" for name in plain}
    found = []
    for group in (*GROUPS, OTHER):
        order = group.stems or ("",)
        named = sorted((name for name in plain if stems[name] in order), key=lambda name: order.index(stems[name]))
        if named:
            found.append((group, {name: plain[name] for name in named}))
    return found


def without_dial(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that describe the checkpoint as it is: all but those of the truncation dial."""
    return {
        name: value
        for name, value in metrics.items()
        if (parsed := Name.parse(name)) is None or parsed.truncation is None
    }


def of_the_generator(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of generated images as they are: what the Hub may show as results of the model.

    Left out are the dial, and figures of real images that stand beside others to compare with.
    """
    return {name: value for name, value in without_dial(metrics).items() if not _is_of_real_images(name)}


def _is_of_real_images(name: str) -> bool:
    parsed = Name.parse(name)
    if parsed is None:
        return False
    if parsed.stem in ("mean_gradient", "diversity", "diversity_within_class"):
        return not parsed.protocol.endswith(("_seeds", "_generated"))
    return parsed.stem.endswith(("_of_real", "_unseen")) or parsed.stem == "nn_l1_left_out"


def dials(metrics: Mapping[str, float]) -> dict[str, DialTable]:
    """What was measured over truncation, by the protocol that the names state, truncations in ascending order.

    >>> dials({"fd2k_cnn_test_truncation1.0": 3.0, "fd2k_cnn_test_truncation0.5": 9.0})
    {'2k_cnn_test': {0.5: {'fd': 9.0}, 1.0: {'fd': 3.0}}}
    """
    tables: dict[str, DialTable] = {}
    for name, value in metrics.items():
        parsed = Name.parse(name)
        if parsed and parsed.truncation is not None:
            tables.setdefault(parsed.protocol, {}).setdefault(parsed.truncation, {})[parsed.stem] = value
    return {protocol: dict(sorted(dial.items())) for protocol, dial in tables.items()}


def truncation_plot(metrics: Mapping[str, float]) -> bytes:
    """A PNG of the truncation dial: distance on the left axis, precision and recall on the right, over truncation.

    Raises:
        ValueError: there is nothing in ``metrics`` that was measured over truncation.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tables = dials(metrics)
    if not tables:
        raise ValueError("no metric was measured over truncation")
    figure = Figure(figsize=(5, 3.2 * len(tables)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (protocol, dial) in enumerate(tables.items(), start=1):
        left = figure.add_subplot(len(tables), 1, row)
        right = left.twinx()
        lines = []
        for stem, colour in PLOTTED.items():
            points = [(truncation, values[stem]) for truncation, values in dial.items() if stem in values]
            axes, style = (left, "-") if stem in DISTANCES else (right, "--")
            if points:
                lines += axes.plot(*zip(*points, strict=True), style, marker="o", label=stem, color=colour)
        left.set_xlabel("truncation")
        left.set_ylabel(f"distance, {protocol}")
        left.set_ylim(bottom=0)
        right.set_ylabel("precision, recall")
        right.set_ylim(0, 1.05)
        left.legend(handles=lines, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(PLOTTED), frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100, metadata={"Software": None})  # no version: the same bytes tomorrow
    return out.getvalue()


def number(value: float) -> str:
    """A figure as a card shows it, with at most six digits; ``metrics.json`` has them all."""
    return f"{value:.6g}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _meaning(group: Group, has_neighbours: bool) -> str:
    if group.title != FIDELITY:
        return group.meaning
    if has_neighbours:
        return f"{group.meaning}\n{COPIES} the nearest neighbours below tell them apart."
    return f"{group.meaning}\n{COPIES} only the nearest-neighbour test tells them apart, and it was not run here."


def _dial_cells(dial: DialTable) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a dial's table: what is plotted first, then what else was measured."""
    measured = {stem for row in dial.values() for stem in row}
    columns = [stem for stem in dict.fromkeys((*PLOTTED, *STEMS)) if stem in measured]
    head = ["truncation", *(stem.upper() if stem in DISTANCES else stem for stem in columns)]
    rows = [
        [number(truncation), *(number(row[stem]) if stem in row else "" for stem in columns)]
        for truncation, row in dial.items()
    ]
    return head, rows
