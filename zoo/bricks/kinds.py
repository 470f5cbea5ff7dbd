"""The twelve kinds of brick, as solids of our own design. The unit of length is the distance between two studs.

Undersides are closed, because no view shows them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from manifold3d import CrossSection, Manifold

BRICK, PLATE = 1.12, 0.42  # heights
STUD_RADIUS, STUD_HEIGHT = 0.31, 0.23
ROUNDING = 0.05  # radius of the rounded edges, which reflect the light
GAP = 0.02  # a brick is this much narrower than the grid of its studs
SHARP_ANGLE = 40.0  # degrees between two faces, from which on their edge is rendered sharp
SEGMENTS = 40  # of a circle

Direction = tuple[float, float, float]
TOP: Direction = (0.0, 0.0, 1.0)
FRONT: Direction = (0.0, -1.0, 0.0)
SLANT: Direction = (0.0, -0.7071, 0.7071)
SIDE: Direction = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Kind:
    """A kind of brick.

    build: returns the solid, with its top facing +z and its front facing -y.
    shows: the direction of the face that shows the kind, besides the top, which is always visible.
    from_behind: the back has such a face too.
    tips: the brick may also lie on a side.
    """

    name: str
    build: Callable[[], Manifold]
    shows: Direction = TOP
    from_behind: bool = False
    tips: bool = True


def mesh(solid: Manifold) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices float32 [V, 3], normals float32 [V, 3] and triangles uint32 [F, 3], centred on the origin."""
    raw = solid.calculate_normals(0, SHARP_ANGLE).to_mesh()
    properties = np.asarray(raw.vert_properties, dtype=np.float32)
    points, normals = properties[:, :3], properties[:, 3:6]
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    return points - centre, normals, np.asarray(raw.tri_verts, dtype=np.uint32)


def brick(columns: int, rows: int, height: float = BRICK) -> Manifold:
    """Return a block with a stud on each cell of its top; the first cell lies at the origin."""
    return block(columns, rows, height) + studs(columns, rows, height)


def tile(columns: int, rows: int) -> Manifold:
    """Return a plate without studs."""
    return block(columns, rows, PLATE)


def slope() -> Manifold:
    """Return a 2x2 brick with a sloping front half and two studs behind it."""
    low, high = 0.2, BRICK
    profile = [(-0.5, 0.0), (1.5, 0.0), (1.5, high), (0.5, high), (-0.5, low)]  # y and z
    return prism(profile, 2) + studs(2, 1, high).translate([0.0, 1.0, 0.0])


def ridge() -> Manifold:
    """Return a 2x2 roof: two slopes that meet in the middle."""
    low, high = 0.2, BRICK + 0.05
    profile = [(-0.5, 0.0), (1.5, 0.0), (1.5, low), (0.5, high), (-0.5, low)]
    return prism(profile, 2)


def round_brick() -> Manifold:
    """Return a 2x2 brick with a round body and four studs."""
    body = turned([(0.0, 0.0), (1.0 - GAP, 0.0), (1.0 - GAP, BRICK), (0.0, BRICK)]).translate([0.5, 0.5, 0.0])
    return body + studs(2, 2, BRICK, spacing=0.9).translate([0.05, 0.05, 0.0])


def beam() -> Manifold:
    """Return a 1x2 brick with a round hole through its long sides, its rim set back."""
    middle = [0.5, 0.0, 0.56]
    hole = Manifold.cylinder(2.0, 0.31, circular_segments=SEGMENTS, center=True).rotate([90.0, 0.0, 0.0])
    rim = Manifold.cylinder(0.14, 0.39, circular_segments=SEGMENTS, center=True).rotate([90.0, 0.0, 0.0])
    rims = rim.translate([0.0, -0.5, 0.0]) + rim.translate([0.0, 0.5, 0.0])
    return block(2, 1, BRICK) + studs(2, 1, BRICK) - (hole + rims).translate(middle)


def pin() -> Manifold:
    """Return a peg along x that joins two holes: a collar in the middle, lips and a slit at both ends."""
    half = [(0.3, 0.0), (0.4, 0.0), (0.4, 0.11), (0.3, 0.11), (0.3, 0.88), (0.36, 0.93), (0.36, 1.03), (0.31, 1.1)]
    outline = [*half, (0.17, 1.1), (0.17, 0.12), (0.0, 0.12), (0.0, 0.0)]
    end = CrossSection([outline]).revolve(SEGMENTS)
    slit = Manifold.cube([0.13, 1.0, 0.62], center=True).translate([0.0, 0.0, 0.9])
    end -= slit
    return (end + end.mirror([0.0, 0.0, 1.0])).rotate([0.0, 90.0, 0.0])


def block(columns: int, rows: int, height: float) -> Manifold:
    """Return a solid box with rounded edges over that many cells."""
    return prism([(-0.5, 0.0), (rows - 0.5, 0.0), (rows - 0.5, height), (-0.5, height)], columns)


def prism(profile: list[tuple[float, float]], columns: int) -> Manifold:
    """Return a convex outline in (y, z) extruded along x over that many cells, with rounded edges."""
    outline = CrossSection([profile]).offset(-ROUNDING - GAP / 2)
    ball = Manifold.sphere(ROUNDING, 12)
    ends = (-0.5 + GAP / 2 + ROUNDING, columns - 0.5 - GAP / 2 - ROUNDING)
    corners = [point for polygon in outline.to_polygons() for point in polygon]
    return Manifold.batch_hull([ball.translate([x, y, z]) for x, (y, z) in product(ends, corners)])


def studs(columns: int, rows: int, height: float, spacing: float = 1.0) -> Manifold:
    """Return a stud for each cell, standing at that height."""
    stud = turned([(0.0, -0.1), (STUD_RADIUS, -0.1), (STUD_RADIUS, STUD_HEIGHT), (0.0, STUD_HEIGHT)])
    cells = product(range(columns), range(rows))
    return Manifold.compose([stud.translate([x * spacing, y * spacing, height]) for x, y in cells])


def turned(profile: list[tuple[float, float]]) -> Manifold:
    """Return the solid of revolution of an outline in (radius, z) around z, with rounded outer corners."""
    radius = max(r for r, _ in profile)
    bottom, top = min(z for _, z in profile), max(z for _, z in profile)
    arc = [(np.cos(a), np.sin(a)) for a in np.linspace(0.0, np.pi / 2, 4)]
    corner = [(radius - ROUNDING + ROUNDING * c, top - ROUNDING + ROUNDING * s) for c, s in arc]
    return CrossSection([[(0.0, bottom), (radius, bottom), *corner, (0.0, top)]]).revolve(SEGMENTS)


KINDS = (
    Kind("brick-1x1", lambda: brick(1, 1)),
    Kind("brick-1x2", lambda: brick(2, 1)),
    Kind("brick-2x2", lambda: brick(2, 2)),
    Kind("brick-2x4", lambda: brick(4, 2)),
    Kind("plate-1x4", lambda: brick(4, 1, PLATE), tips=False),
    Kind("plate-2x4", lambda: brick(4, 2, PLATE), tips=False),
    Kind("tile-2x2", lambda: tile(2, 2), tips=False),
    Kind("slope-2x2", slope, shows=SLANT),
    Kind("ridge-2x2", ridge, shows=SIDE, from_behind=True),
    Kind("round-2x2", round_brick),
    Kind("beam-1x2", beam, shows=FRONT, from_behind=True),
    Kind("pin", pin, tips=False),
)
