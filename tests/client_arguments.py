"""Arguments of the clients' methods, right and wrong, for a server that gives ``MAX_IMAGES`` images in a response."""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_IMAGES = 7  # odd: the class of latents without a label changes where a part would begin anew

SAMPLES: list[dict[str, Any]] = [
    {"n": 3, "seed": 7},
    {"n": np.int64(2), "seed": np.uint32(4294967290)},
    {"seeds": "0-3,10", "truncation": 0.7},
    {"seeds": 5, "truncation": np.float32(0.5)},
    {"seeds": np.array([3, 1, 3]), "truncation": 0},
    {"seeds": range(2, 6)},
    {"latents": np.random.RandomState(0).standard_normal((2, 100))},
    {"n": 3 * MAX_IMAGES + 2, "seed": 1},  # four requests
]

LABELLED: list[dict[str, Any]] = [
    {"n": 3, "seed": 0},
    {"n": 2, "seed": 0, "label": "Bag"},
    {"n": 2, "seed": 0, "label": np.int64(1)},
    {"seeds": "0-2", "label": ["Bag", 1, "Bag"]},
    {"seeds": "0-2", "label": np.array([1, 0, 1])},
    {"seeds": "0-9", "label": ["Bag", "Ankle boot"] * 5},  # two requests
    {"latents": np.random.RandomState(0).standard_normal((10, 2))},  # two requests; labels by place
]

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("generate", {"seeds": "3-1"}),
    ("generate", {"seeds": [1], "n": 1}),
    ("generate", {"seeds": [0.5]}),
    ("generate", {"seeds": []}),
    ("generate", {"n": 0}),
    ("generate", {"n": True}),
    ("generate", {"n": 100_001}),
    ("generate", {"seed": 2**32}),
    ("generate", {"seed": 1, "latents": [[0.0, 1.0]]}),
    ("generate", {"latents": [[0.0]]}),
    ("generate", {"latents": [0.0, 1.0]}),
    ("generate", {"latents": [[0.0], [1.0, 2.0]]}),
    ("generate", {"latents": [[0.0, np.nan]]}),
    ("generate", {"latents": [["a", "b"]]}),
    ("generate", {"truncation": 1.5}),
    ("generate", {"truncation": "1"}),
    ("generate", {"label": "bag"}),
    ("generate", {"label": "\ud800"}),
    ("generate", {"label": 2}),
    ("generate", {"label": 10**400}),
    ("generate", {"label": True}),
    ("generate", {"label": 0.5}),
    ("generate", {"label": b"Bag"}),
    ("generate", {"n": 2, "label": ["Bag"]}),
    ("generate", {"n": 2, "label": ["Bag", None]}),
    ("generate", {"output": "torch"}),
    ("condition", {"labels": ["Bag", 0]}),
    ("condition", {"labels": []}),
    ("condition", {"labels": "Boot"}),
    ("condition", {"labels": [None]}),
    ("condition", {"output": "torch"}),
    ("interpolate", {"seeds": 5}),
    ("interpolate", {"seeds": "0,5", "steps": 0}),
    ("interpolate", {"seeds": "0,5", "steps": 2.5}),
    ("interpolate", {"seeds": "0,5", "method": "slurp"}),
    ("interpolate", {"seeds": "0,5", "loop": 1}),
    ("interpolate", {"seeds": "0,5", "start": 17}),
    ("interpolate", {"seeds": "0,5", "stop": 0}),
    ("interpolate", {"seeds": "0,5", "label": ["Bag"]}),
    ("interpolate", {"seeds": "0,5", "label": "Bug"}),
    ("interpolate", {"seeds": "0,5", "truncation": -1}),
]
