"""Write the notebooks of docs/learn from the pages of `gan-serve learn`.

python docs/learn.py             write all notebooks, with their outputs
python docs/learn.py NAME ...    write some

A notebook explains the theory, runs the page, checks its numbers, and asks a question with code that answers it. The
experiment is the code of the command; nothing of it is repeated here.
"""

from __future__ import annotations

import ast
import base64
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from gan_serve.atomic_files import write_atomically
from gan_serve.training.learn import PAGES

FOLDER = Path(__file__).parent / "learn"


class Lesson(NamedTuple):
    """The words around a page: theory as Markdown, a cell that checks the numbers, a question, code to answer it."""

    theory: str
    check: str
    question: str
    attempt: str


LESSONS = {
    "value": Lesson(
        r"""The two networks play for one number,

$$V(D, G) = E_x[\log D(x)] + E_z[\log(1 - D(G(z)))].$$

The discriminator maximises it, the generator minimises it. For a fixed generator the best discriminator is
$D^*(x) = p(x) / (p(x) + q(x))$, and with it $V = 2\,\mathrm{JSD}(p, q) - \log 4$ (Goodfellow et al. 2014, section 4.1).
Here the data are $N(0, 1)$ and the generator samples $N(d, 1)$, for distances $d$ from 0 to 6. Where the two are the
same, $D^*$ is 1/2 everywhere and $V = -\log 4$.

The discriminator's losses on real and on generated images are the two terms with a minus sign. A curve of their
**sum** is to be compared with $2 \ln 2 \approx 1.386$; $\ln 2 \approx 0.693$ is the equilibrium of their mean, and of
the generator's loss.""",
        """import math

assert abs(page.numbers["V where p = q"] + math.log(4)) < 1e-6
assert abs(page.numbers["sum of real and fake loss there"] - 2 * math.log(2)) < 1e-6""",
        "What is V if the discriminator returns 1/2 everywhere, however far apart the two distributions are?",
        """import torch

from gan_serve.training.losses import value

value(torch.zeros(1000), torch.zeros(1000)).item()  # logits of 0 are probabilities of 1/2""",
    ),
    "best-discriminator": Lesson(
        r"""With the generator fixed, training the discriminator is logistic regression between data and samples. At
each $x$ it weighs $p(x) \log D(x) + q(x) \log(1 - D(x))$, which is largest at $D(x) = p(x) / (p(x) + q(x))$.

Here the data are $N(-1, 1)$, the generator samples $N(1, 1)$, and a network with two hidden layers is trained on
both.""",
        """assert page.numbers["largest |D - p / (p + q)| where p or q > 0.01"] < 0.02
assert abs(page.numbers["V reached"] - page.numbers["2 JSD - log 4"]) < 2e-3""",
        "How close does it get in 50 steps instead of 500?",
        """from gan_serve.training.learn.densities import best_discriminator

shorter = best_discriminator(steps=50)
print(dict(shorter.numbers))
shorter""",
    ),
    "distances": Lesson(
        r"""A generator can only follow a distance that falls as it gets better. The Jensen-Shannon divergence, which
the original game minimises, is $\ln 2$ for any two distributions that do not overlap, so its slope is zero there. The
Wasserstein-1 distance is the least work of moving one distribution onto the other: mass times distance (Arjovsky et al.
2017). Here both are uniform densities of width 1, and one is shifted.""",
        """import math

assert abs(page.numbers["JSD at a shift of 5"] - math.log(2)) < 0.01
assert abs(page.numbers["Wasserstein at a shift of 5"] - 5) < 0.05""",
        "Two Gaussians always overlap. How large are both distances if their means are 1, 4 and 8 apart?",
        """from gan_serve.training.learn.densities import GRID, jensen_shannon, normal, wasserstein

for apart in (1, 4, 8):
    p, q = normal(GRID, -apart / 2), normal(GRID, apart / 2)
    print(apart, round(jensen_shannon(p, q), 4), round(wasserstein(p, q), 4))""",
    ),
    "gradients": Lesson(
        r"""The original game lets the generator minimise $\log(1 - D(G(z)))$. In practice it minimises
$-\log D(G(z))$ instead, with the same fixed point. The difference is the slope with respect to the logit: $D$ for the
first, $1 - D$ for the second (absolute values). Early in training the discriminator recognises generated images with
confidence, $D(G(z)) \approx 0$: the first loss saturates, the second does not.""",
        """small = [number for name, number in page.numbers.items() if name.startswith("saturating")]
large = [number for name, number in page.numbers.items() if name.startswith("non-saturating")]
assert min(small) < 1e-4
assert max(large) > 0.999""",
        "The Wasserstein loss does not saturate. What is its slope?",
        """import torch

from gan_serve.training.losses import LOSSES

logits = torch.tensor([-10.0, -4.0, 0.0, 4.0], requires_grad=True)
LOSSES["wasserstein"].generator(logits).backward()
logits.grad * len(logits)""",
    ),
    "mode-collapse": Lesson(
        r"""The data are eight small Gaussians on a ring, the modes (Metz et al. 2017). A generator that samples only
some of them can still mislead the discriminator for a while: mode collapse. Each remedy is trained once, with the same
seed:

- minibatch discrimination, feature matching, a Wasserstein loss with a gradient penalty, mode seeking: the remedies of
  000 and 001;
- a stronger discriminator (three steps of it for one of the generator), lower learning rates of both networks (a
  fifth), a larger batch (four times): those of 001;
- R1, and the hinge loss with spectral normalisation: further ones that this package has.

One seed and one small network: the ring shows that a remedy can help, not which one is best.""",
        """plain = page.numbers["plain: modes of 8"]
assert plain < 8
for remedy in ("minibatch discrimination", "feature matching", "mode seeking", "Wasserstein, penalty", "R1"):
    assert page.numbers[f"{remedy}: modes of 8"] > plain""",
        "Does plain training find more modes if it trains for longer?",
        """from gan_serve.training.learn.ring import REMEDIES, modes_found, train_on_ring

modes_found(train_on_ring(REMEDIES["plain"], steps=2000))""",
    ),
    "lipschitz": Lesson(
        r"""The slope of a Wasserstein critic must not exceed 1: $|D(x_1) - D(x_2)| \le |x_1 - x_2|$. Then
$E[D(x)] - E[D(G(z))]$ is at most the Wasserstein distance, and the best critic reaches it. There are three ways to
limit the slope: clip the weights (Arjovsky et al. 2017), penalise the gradient's difference from 1 between real and
generated images (Gulrajani et al. 2017), divide each layer by its largest singular value (Miyato et al. 2018). Here the
data are $N(0, 1)$ and the generator samples $N(3, 1)$, so the distance is 3.""",
        """assert page.numbers["clipping: largest slope"] < 0.05
assert 0.9 < page.numbers["penalty: largest slope"] < 1.5
assert page.numbers["spectral norm: largest slope"] < 1.05
assert abs(page.numbers["spectral norm: E[D(x)] - E[D(G(z))]"] - 3) < 0.15""",
        "What is the largest slope under the penalty after 50 steps of training instead of 500?",
        """from gan_serve.training.learn.lipschitz import GRID, train_critic

x = GRID[:, None].clone().requires_grad_()
train_critic("penalty", steps=50)(x).sum().backward()
x.grad.abs().max().item()""",
    ),
}


def cells(name: str) -> list[dict[str, Any]]:
    """Return the cells of a notebook without outputs."""
    lesson = LESSONS[name]
    title = name.replace("-", " ").capitalize()
    sources = [
        ("markdown", f"# {title}\n\n{lesson.theory}"),
        ("markdown", f"`gan-serve learn {name}` runs the same experiment. It takes seconds, and needs no GPU."),
        ("code", f'from gan_serve.training.learn import learn\n\npage = learn("{name}")\npage.text'),
        ("code", "dict(page.numbers)"),
        ("code", "page"),
        ("markdown", "## Check\nThis cell fails if the numbers are not as the page says:"),
        ("code", lesson.check),
        ("markdown", f"## Try\n{lesson.question}"),
        ("code", lesson.attempt),
    ]
    return [cell(kind, text, f"{name}-{number}") for number, (kind, text) in enumerate(sources)]


def cell(kind: str, text: str, identity: str) -> dict[str, Any]:
    """Return a cell without outputs."""
    made: dict[str, Any] = {"cell_type": kind, "id": identity, "metadata": {}, "source": text.splitlines(keepends=True)}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def notebook(of: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a notebook of format 4.5."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": of, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def run(of: list[dict[str, Any]]) -> None:
    """Run the code cells from top to bottom in one namespace, and store what each shows, as Jupyter does."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for cell in of:
        if cell["cell_type"] != "code":
            continue
        count += 1
        printed: list[str] = []
        namespace["print"] = lambda *words, into=printed: into.append(" ".join(map(str, words)) + "\n")
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, cell["id"], "exec"), namespace)
        shown = None
        if isinstance(last, ast.Expr):
            shown = eval(compile(ast.Expression(last.value), cell["id"], "eval"), namespace)
        cell["execution_count"], cell["outputs"] = count, _outputs(printed, shown, count)


def _outputs(printed: list[str], shown: object, count: int) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = []
    if printed:
        outputs.append({"name": "stdout", "output_type": "stream", "text": printed})
    if shown is not None:
        data: dict[str, Any] = {"text/plain": [repr(shown)]}
        if (bundle := getattr(shown, "_repr_mimebundle_", None)) is not None:
            data |= bundle() | {"text/plain": [f"<{type(shown).__name__}>"]}  # not the addresses of a list of images
        elif (picture := getattr(shown, "_repr_png_", None)) is not None:
            data["image/png"] = base64.b64encode(picture()).decode()
        outputs.append({"data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result"})
    return outputs


def main(names: list[str]) -> None:
    """Write notebooks."""
    for name in names or list(PAGES):
        made = cells(name)
        run(made)
        text = json.dumps(notebook(made), indent=1, ensure_ascii=False) + "\n"
        print(write_atomically(FOLDER / f"{name}.ipynb", text))


if __name__ == "__main__":
    main(sys.argv[1:])
