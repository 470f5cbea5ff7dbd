"""An image of a brick: its view, which depends only on the index, and the scene that Mitsuba renders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import drjit
import mitsuba as mi
import numpy as np
from kinds import KINDS, TOP, Kind, mesh

mi.set_variant("scalar_rgb")
drjit.set_thread_count(1)  # an image is too small for several threads; run several processes instead

RESOLUTION = 64
SAMPLES = 25  # per pixel: a square number, as the sampler has a grid
SAMPLES_INSIDE = 81  # for the kinds with a hole, from which few rays reach the light
COLORS = {
    "red": "d42a2a",
    "orange": "f0782a",
    "yellow": "f2b91e",
    "green": "1f9a48",
    "teal": "35b5b0",
    "blue": "2266c8",
    "purple": "8a4fb8",
    "white": "dedcd4",
}
# The rotation (axis and degrees) that puts a side of the brick on the ground.
TURNS = {"bottom": (0, 0), "front": (0, 90), "back": (0, -90), "left": (1, -90), "right": (1, 90)}
TIPPED = 0.15  # share of bricks on a side, among the kinds that may lie on a side
MIN_COSINE = 0.35  # between the direction to the camera and the faces that must be seen
FIELD_OF_VIEW = 25.0  # degrees
# Half the side of the light; large, so that shadows are soft.
LIGHT_ELEVATION, LIGHT_DISTANCE, LIGHT_SIZE = (52.0, 14.0, 2.6)
LIGHT, SKY, BOUNCE, GLOW, GROUND = 17.5, 0.38, 0.12, 0.08, 0.62  # radiances; the ground's albedo


@dataclass(frozen=True)
class View:
    """The content of an image, as in its row of the table. Angles are in degrees.

    rests_on: the side of the brick that is on the ground.
    azimuth, elevation: of the camera; azimuth 0 is the front of a brick that rests on its bottom.
    roll: of the camera around its axis.
    size: the longer side of the brick's outline in the image, as a share of the frame.
    light: azimuth of the light, as the camera sees it: at -90 it comes from the left.
    """

    kind: str
    color: str
    rests_on: str
    azimuth: float
    elevation: float
    roll: float
    size: float
    light: float


def view(index: int) -> View:
    """Return the view of image ``index``: the kind is the index modulo 12, the rest is random, seeded by the index."""
    random = np.random.RandomState(index)  # NumPy guarantees its stream
    kind = KINDS[index % len(KINDS)]
    color = list(COLORS)[random.randint(len(COLORS))]
    tipped = random.uniform() < TIPPED and kind.tips
    while True:
        rests_on = list(TURNS)[random.randint(1, len(TURNS)) if tipped else 0]
        azimuth, elevation = random.uniform(-180.0, 180.0), random.uniform(24.0, 58.0)
        if _is_told(kind, rests_on, azimuth, elevation):
            break
    roll, size, light = random.uniform(-8.0, 8.0), random.uniform(0.68, 0.84), random.uniform(-75.0, -30.0)
    return View(kind.name, color, rests_on, *(round(value, 4) for value in (azimuth, elevation, roll, size, light)))


def render(index: int) -> np.ndarray:
    """Return image ``index`` as uint8 [64, 64, 3], sRGB."""
    shown = view(index)
    samples = SAMPLES_INSIDE if shown.kind in ("beam-1x2", "pin") else SAMPLES
    linear = np.array(mi.render(mi.load_dict(_scene(shown, samples)), seed=index, spp=samples), dtype=np.float64)
    linear = linear.clip(0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (_without_grain(srgb * 255.0) + 0.5).astype(np.uint8)


def _without_grain(image: np.ndarray, width: float = 1.0, contrast: float = 9.0) -> np.ndarray:
    """Return the image after a bilateral filter (Tomasi and Manduchi 1998): it smooths grain and leaves edges."""
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    total, weights = np.zeros_like(image), np.zeros((*image.shape[:2], 1))
    for dy, dx in np.ndindex(5, 5):
        shifted = padded[dy : dy + RESOLUTION, dx : dx + RESOLUTION]
        nearness = ((dy - 2) ** 2 + (dx - 2) ** 2) / width**2
        likeness = ((shifted - image) ** 2).sum(axis=2, keepdims=True) / contrast**2
        weight = np.exp(-(nearness + likeness) / 2)
        total, weights = total + weight * shifted, weights + weight
    return total / weights


def _is_told(kind: Kind, rests_on: str, azimuth: float, elevation: float) -> bool:
    """Return True if the camera sees the top and the face that shows the kind."""
    top, face = (_turn(rests_on) @ np.array(d) @ _direction(azimuth, elevation) for d in (TOP, kind.shows))
    return bool(top >= MIN_COSINE and (abs(face) if kind.from_behind else face) >= MIN_COSINE)


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    a, e = np.radians([azimuth, elevation])
    return np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)])


def _turn(rests_on: str) -> np.ndarray:
    axis, degrees = TURNS[rests_on]
    first, second = (axis + 1) % 3, (axis + 2) % 3
    cos, sin = round(np.cos(np.radians(degrees))), round(np.sin(np.radians(degrees)))
    turn = np.eye(3)
    turn[[first, first, second, second], [first, second, first, second]] = cos, -sin, sin, cos
    return turn


@cache
def _mesh(kind: str, rests_on: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points, normals and triangles of a brick that lies on the ground, z = 0."""
    points, normals, triangles = mesh(next(k for k in KINDS if k.name == kind).build())
    turn = _turn(rests_on).astype(np.float32)
    points = points @ turn.T
    return points - [0, 0, points[:, 2].min()], normals @ turn.T, triangles


def _scene(shown: View, samples: int) -> dict[str, Any]:
    """Return Mitsuba's description of the scene.

    Only the light is sampled as an emitter. Sky and ground are so uniform that rays sampled from the surface's own
    distribution give far less noise, and no grain at this number of samples. For the same reason, ground and brick emit
    a little light in place of indirect light.
    """
    points, normals, triangles = _mesh(shown.kind, shown.rests_on)
    origin, target = _camera(points, shown)
    to_world = mi.ScalarTransform4f().look_at(origin=list(origin), target=list(target), up=[0, 0, 1])
    light = LIGHT_DISTANCE * _direction(shown.azimuth + shown.light, LIGHT_ELEVATION)
    light_to_world = mi.ScalarTransform4f().look_at(origin=list(light), target=[0, 0, 0], up=[0, 0, 1])
    return {
        "type": "scene",
        "integrator": {"type": "direct"},
        "sensor": {
            "type": "perspective",
            "fov": FIELD_OF_VIEW,
            "to_world": to_world @ mi.ScalarTransform4f().rotate([0, 0, 1], shown.roll),
            "sampler": {"type": "multijitter", "sample_count": samples},
            "film": {
                "type": "hdrfilm",
                "width": RESOLUTION,
                "height": RESOLUTION,
                "pixel_format": "rgb",
                "component_format": "float32",
                "rfilter": {"type": "box"},
            },
        },
        "brick": _shape(points, normals, triangles, shown.color),
        "ground": {
            "type": "rectangle",
            "to_world": mi.ScalarTransform4f().scale([300, 300, 1]),
            "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": GROUND}},
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": BOUNCE}, "sampling_weight": 0.0},
        },
        "light": {
            "type": "rectangle",
            "to_world": light_to_world @ mi.ScalarTransform4f().scale([LIGHT_SIZE, LIGHT_SIZE, 1]),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": LIGHT}},
        },
        "sky": {"type": "constant", "radiance": {"type": "rgb", "value": SKY}, "sampling_weight": 0.0},
    }


def _shape(points: np.ndarray, normals: np.ndarray, triangles: np.ndarray, color: str) -> mi.Mesh:
    glow = {"type": "rgb", "value": [GLOW * channel for channel in _linear(color)]}
    properties = mi.Properties()
    properties["bsdf"] = _plastic(color)
    properties["emitter"] = mi.load_dict({"type": "area", "radiance": glow, "sampling_weight": 0.0})
    shape = mi.Mesh("brick", len(points), len(triangles), properties, has_vertex_normals=True)
    values = mi.traverse(shape)
    values["vertex_positions"], values["vertex_normals"] = points.ravel(), normals.ravel()
    values["faces"] = triangles.ravel()
    values.update()
    return shape


@cache  # without a cache, this takes half of the time of an image
def _plastic(color: str) -> mi.BSDF:
    albedo = {"type": "rgb", "value": _linear(color)}
    return mi.load_dict({"type": "roughplastic", "alpha": 0.18, "diffuse_reflectance": albedo})


def _linear(color: str) -> list[float]:
    srgb = np.array([int(COLORS[color][i : i + 2], 16) / 255 for i in (0, 2, 4)])
    return list(np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4))


def _camera(points: np.ndarray, shown: View) -> tuple[np.ndarray, np.ndarray]:
    """Return origin and target with which the brick's outline is centred and has its size in the image."""
    direction = _direction(shown.azimuth, shown.elevation)
    right = np.cross([0.0, 0.0, 1.0], direction)
    right /= np.linalg.norm(right)
    up = np.cross(direction, right)
    cos, sin = np.cos(np.radians(shown.roll)), np.sin(np.radians(shown.roll))
    axes = np.stack([cos * right - sin * up, cos * up + sin * right], axis=1)
    half_frame = np.tan(np.radians(FIELD_OF_VIEW / 2))  # at distance 1
    target, distance = np.zeros(3), 12.0
    for _ in range(8):  # a fixed-point iteration because of the perspective, which converges to 1e-4 of the frame
        seen = points - target
        places = seen @ axes / (distance - seen @ direction)[:, None] / half_frame  # -1 to 1
        low, high = places.min(axis=0), places.max(axis=0)
        target = target + axes @ ((low + high) / 2 * half_frame * distance)
        distance *= (high - low).max() / 2 / shown.size
    return target + distance * direction, target
