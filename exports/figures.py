"""The figures of a model card: a block of Markdown between two comments, which an evaluation writes anew."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

START, END = "<!-- figures -->", "<!-- end of figures -->"  # the Hub and GitHub do not show them
NEIGHBOURS_PICTURE, TRUNCATION_PICTURE = "neighbours.png", "truncation.png"
DIAL = "_truncation"  # ends a metric's name, before the truncation that it was measured at
DIAL_ORDER = ("fid", "fd", "kid", "kd", "precision", "recall", "density", "coverage")  # columns of the dial's table
DISTANCES = DIAL_ORDER[:4]
PLOTTED = {"fid": "C0", "fd": "C0", "precision": "C1", "recall": "C2"}  # and their colours


class Group(NamedTuple):
    """Metrics that belong together: how their names begin, in the order they are shown in, and what they mean."""

    title: str
    stems: tuple[str, ...]
    meaning: str


NEIGHBOURS = "Nearest neighbours"
FIDELITY = "Fidelity and variety"
GROUPS = (
    Group(
        "Distance to real images",
        ("fid", "kid", "fd", "kd"),
        "Fréchet distance (`fid`, `fd`) and kernel distance (`kid`, `kd`) between generated and real images, in the "
        "features that the name states: lower is better. Figures with other features than Inception do not compare "
        "with published FID or KID, nor with each other where features, number of images or split differ.",
    ),
    Group(
        FIDELITY,
        ("precision", "density", "recall", "coverage", "precision_within_class_min", "recall_within_class_min"),
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
            "confident",
            "is",
            "class_share_min",
            "class_share_max",
            "classes_missing",
        ),
        "As the classifier of the features sees the images. Higher is better: `label_agreement`, the share that it "
        "gives the label they were drawn under (`balanced`: the mean over the classes); `confident`, the share that it "
        "is more than 0.9 sure of; `is`, the classifier (Inception) score. `class_share_min` and `class_share_max`, of "
        "the rarest and the commonest class, are best near those of the real images; `classes_missing` is best at 0.",
    ),
    Group(
        NEIGHBOURS,
        ("nn_l1_generated", "nn_l1_unseen", "nn_ratio", "nn"),
        "`nn_l1`: the median distance, in grey levels a pixel, to the nearest training image, of generated images and "
        "of real ones that training did not see; `nn_ratio`: the first over the second. Near 1 is good; far below 1 "
        "the generator copies its training images, far above 1 its images are like none of them.",
    ),
    Group(
        "Sharpness and diversity",
        ("mean_gradient", "diversity", "diversity_within_class", "pairwise_l1"),
        "`mean_gradient` is sharpness, `diversity` and `pairwise_l1` how much images differ from each other, in grey "
        "levels. Best is what the real images have: compare `seeds` with `train`, `test` or `holdout`. They do not say "
        "whether an image makes sense.",
    ),
)
OTHER = Group("Other figures", (), "Their names state how they were measured.")
COPIES = "Copies of training images look perfect to distances and to precision;"

DialTable = dict[float, dict[str, float]]  # truncation -> the beginning of a metric's name -> value


def figures_block(metrics: Mapping[str, float], pictures: Collection[str] = ()) -> str:
    """The figures of a card as Markdown, from ``START`` to ``END``; every metric is in it.

    Args:
        metrics: of ``metrics.json``. pictures: the names of the checkpoint's pictures; ``neighbours.png`` and
            ``truncation.png`` are shown where they are among them.
    """
    tables, plain = dials(metrics), on_the_hub(metrics)
    stems = {name: stem_of(name) for name in plain}
    parts = []
    for group in (*GROUPS, OTHER):
        named = [name for name in plain if stems[name] in (group.stems or ("",))]
        named.sort(key=lambda name: group.stems.index(stems[name]) if stems[name] else 0)
        shows_neighbours = group.title == NEIGHBOURS and NEIGHBOURS_PICTURE in pictures
        if not named and not shows_neighbours:
            continue
        parts += [f"### {group.title}\n{_meaning(group, set(stems.values()))}"]
        if named:
            parts.append(_table(("metric", "value"), ((f"`{name}`", number(plain[name])) for name in named)))
        if shows_neighbours:
            parts.append(
                f"![Generated images and their nearest training images]({NEIGHBOURS_PICTURE})\n\n"
                "The generated images that came nearest to a training image (L1 distance of the pixels), each above it."
            )
    if tables or TRUNCATION_PICTURE in pictures:
        parts.append(
            "### Truncation\nA smaller truncation gives up variety for typical images: recall falls; precision may "
            "rise until the images are too alike."
        )
    parts += [f"`{protocol}`:\n\n{_dial_table(table)}" for protocol, table in tables.items()]
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


def stem_of(name: str) -> str:
    """The beginning of a metric's name that says what it is; empty where it is no known one.

    >>> stem_of("recall_within_class_min10k_cnn-fashion_test"), stem_of("recall10k_inception_test"), stem_of("made_up")
    ('recall_within_class_min', 'recall', '')
    """
    known = [stem for group in GROUPS for stem in group.stems]
    fitting = [stem for stem in known if name.startswith(stem) and name[len(stem) :][:1] in set("_0123456789")]
    return max(fitting, key=len, default="")


def on_the_hub(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that describe the checkpoint as it is: all but those of the truncation dial."""
    in_dial = {name for name in metrics if _dial_entry(name)}
    return {name: value for name, value in metrics.items() if name not in in_dial}


def dials(metrics: Mapping[str, float]) -> dict[str, DialTable]:
    """What was measured over truncation, by the protocol that the names state, truncations in ascending order.

    >>> dials({"fd2k_cnn_test_truncation1.0": 3.0, "fd2k_cnn_test_truncation0.5": 9.0})
    {'2k_cnn_test': {0.5: {'fd': 9.0}, 1.0: {'fd': 3.0}}}
    """
    tables: dict[str, DialTable] = {}
    for name, value in metrics.items():
        entry = _dial_entry(name)
        if entry:
            stem, protocol, truncation = entry
            tables.setdefault(protocol, {}).setdefault(truncation, {})[stem] = value
    return {protocol: dict(sorted(table.items())) for protocol, table in tables.items()}


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
    for row, (protocol, table) in enumerate(tables.items(), start=1):
        left = figure.add_subplot(len(tables), 1, row)
        right = left.twinx()
        lines = []
        for stem, colour in PLOTTED.items():
            points = [(truncation, values[stem]) for truncation, values in table.items() if stem in values]
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


def _meaning(group: Group, present: set[str]) -> str:
    if group.title != FIDELITY:
        return group.meaning
    if any(stem.startswith("nn") for stem in present):
        return f"{group.meaning}\n{COPIES} the nearest neighbours below tell them apart."
    return f"{group.meaning}\n{COPIES} only the nearest-neighbour test tells them apart, and it was not made here."


def _dial_entry(name: str) -> tuple[str, str, float] | None:
    """The beginning of a metric's name, its protocol and its truncation; None where it is not of the dial."""
    named, is_of_dial, truncation = name.rpartition(DIAL)
    stem = stem_of(named)
    try:
        return (stem, named[len(stem) :].strip("_"), float(truncation)) if is_of_dial and stem else None
    except ValueError:
        return None


def _columns(table: DialTable) -> list[str]:
    present = {stem: None for row in table.values() for stem in row}
    return sorted(present, key=lambda stem: DIAL_ORDER.index(stem) if stem in DIAL_ORDER else len(DIAL_ORDER))


def _dial_table(table: DialTable) -> str:
    columns = _columns(table)
    shown = {stem: stem.upper() if stem in DISTANCES else stem for stem in columns}
    rows = (
        (number(truncation), *(number(row[stem]) if stem in row else "" for stem in columns))
        for truncation, row in table.items()
    )
    return _table(("truncation", *shown.values()), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
