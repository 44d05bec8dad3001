# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""HHA: depth as horizontal disparity, height above the floor and angle to gravity, batched.

Gupta et al., "Learning Rich Features from RGB-D Images for Object Detection and Segmentation",
ECCV 2014. No step waits for the device or depends on a value, so all of it can be captured in a
CUDA graph. Points and directions are in the optical frame: x right, y down, z forward.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: What becomes of pixels without depth. ``reference``: what the published code makes of Z = 0,
#: disparity 255, the camera's own height, angle 218. ``zero``: 0 in all channels.
HOLES = ("reference", "zero")

#: Half the window of the angle channel's normals, pixels.
R_ANGLE = 3
#: Half the window of gravity's normals: three of the small windows side by side, 21 = 3·7.
R_GRAVITY = 10
#: Distance between the centers of those three.
STEP = 2 * R_ANGLE + 1
#: (threshold in degrees, rounds) of the search for gravity.
ROUNDS = ((45.0, 5), (15.0, 5))
#: Gravity is found from at least this many normals, spread evenly over the picture.
MIN_NORMALS = 19200
#: If nothing is seen further below the camera than this, no floor is seen, and it is assumed
#: to be at ASSUMED_FLOOR_M.
LEAST_FLOOR_M = 0.90
ASSUMED_FLOOR_M = 1.30

#: Window sums of one quantity, by powers of the offsets: ``sums[i][j]`` is Σ uⁱ·vʲ·f.
Sums = list[list[Tensor]]


def hha(
    depth_m: Tensor, intrinsics: Tensor, gravity: Tensor | None = None, holes: str = "reference"
) -> Tensor:
    """See :func:`rgbd_seg_ros.depth.hha`."""
    if depth_m.ndim != 4 or depth_m.shape[1] != 1:
        raise ValueError(f"HHA needs depth B×1×H×W in meters, got {tuple(depth_m.shape)}")
    batch = depth_m.shape[0]
    if intrinsics.shape != (batch, 3, 3):
        raise ValueError(
            f"HHA needs intrinsics {batch}×3×3 in pixels, got {tuple(intrinsics.shape)}"
        )
    if gravity is not None and gravity.shape != (batch, 3):
        raise ValueError(f"gravity must be {batch}×3, pointing down, got {tuple(gravity.shape)}")
    if holes not in HOLES:
        raise ValueError(f"unknown treatment of holes {holes!r}; known: {', '.join(HOLES)}")
    # Half precision has 8 or 11 bits, too few for window sums: the caller's autocast stays out.
    with torch.autocast(depth_m.device.type, enabled=False):
        z, valid = _clean(depth_m)
        rays = _rays(intrinsics.float(), z)
        m, b = window_sums(z, valid, 0 if gravity is not None else STEP)
        if gravity is None:
            down = gravity_from(*wider(m, b, _stride(z)), rays, valid, _stride(z))
            m, b = ([[f[:, STEP:-STEP, STEP:-STEP] for f in g] for g in s] for s in (m, b))
        else:
            down = direction(gravity)
        cosine = cosine_to(down, normals(m, b, rays))
        return channels(z, valid, rays, down, cosine, holes)


def estimate_gravity(depth_m: Tensor, intrinsics: Tensor) -> Tensor:
    """Unit vectors pointing down (B×3), found from depth (B×1×H×W meters, NaN invalid) alone.

    The direction that the floor's normals are parallel to and the walls' perpendicular to, nearest
    to the picture's own down. A picture without depth gives (0, 1, 0).
    """
    with torch.autocast(depth_m.device.type, enabled=False):
        z, valid = _clean(depth_m)
        sums = wider(*window_sums(z, valid, STEP), _stride(z))
        return gravity_from(*sums, _rays(intrinsics.float(), z), valid, _stride(z))


# --- Normals -----------------------------------------------------------------------------------


def window_sums(z: Tensor, valid: Tensor, margin: int) -> tuple[Sums, Sums]:
    """Sums over (2·R_ANGLE+1)² windows, of the mask and of 1/Z, for the least squares.

    Offsets are counted from each window's own center: the nine sums then stay small, and those of
    the mask are whole numbers, exact in float32.

    Args:
        z: B×H×W meters, any number but 0 where invalid.
        valid: B×H×W.
        margin: windows centerd up to so far outside the picture too.

    Returns:
        B×(H+2·margin)×(W+2·margin) each: Σ uⁱvʲ for i+j ≤ 2, and Σ uⁱvʲ/Z for i+j ≤ 1.
    """
    pad = [margin + R_ANGLE] * 4
    mask = valid.float()  # booleans in arithmetic are some ten times slower on a CPU
    m, b = functional.pad(mask, pad), functional.pad(mask / z, pad)
    m_rows, b_rows = _moments(m, -1, 2), _moments(b, -1, 1)
    return (
        [_moments(f, -2, 2 - i) for i, f in enumerate(m_rows)],
        [_moments(f, -2, 1 - i) for i, f in enumerate(b_rows)],
    )


def _moments(f: Tensor, dim: int, order: int) -> list[Tensor]:
    """[Σ f(x+d), Σ d·f(x+d), Σ d²·f(x+d)][:order+1] over |d| ≤ 3 along ``dim``."""
    length = f.shape[dim] - 2 * R_ANGLE

    def at(d: int) -> Tensor:
        return f.narrow(dim, R_ANGLE + d, length)

    if order == 0:
        total = at(0) + at(1)
        for d in (-1, 2, -2, 3, -3):
            total += at(d)
        return [total]
    pairs = [at(d) + at(-d) for d in (1, 2, 3)]
    first = at(1) - at(-1)
    for d in (2, 3):
        first.add_(at(d), alpha=d).sub_(at(-d), alpha=d)
    sums = [at(0) + pairs[0] + pairs[1] + pairs[2], first]
    if order == 2:
        sums.append(pairs[0].add_(pairs[1], alpha=4).add_(pairs[2], alpha=9))
    return sums


def wider(m: Sums, b: Sums, stride: int) -> tuple[Sums, Sums]:
    """The same sums over (2·R_GRAVITY+1)² windows, at every ``stride``-th pixel.

    Args:
        m: of :func:`window_sums` with a margin of STEP.
        b: likewise.
        stride: between the pixels; the first is ``stride // 2``.
    """
    return _wider(m, stride), _wider(b, stride)


def _wider(sums: Sums, stride: int) -> Sums:
    # Along v each list sums[i] is complete; along u it is the transposed triangle.
    rows = [_join(by_v, -2, stride) for by_v in sums]
    columns = [_join([rows[i][j] for i in range(len(rows) - j)], -1, stride)
               for j in range(len(rows))]  # fmt: skip
    return [[columns[j][i] for j in range(len(columns) - i)] for i in range(len(columns))]


def _join(sums: list[Tensor], dim: int, stride: int) -> list[Tensor]:
    """Moments of three windows side by side along ``dim``, about the middle one's center."""
    length = sums[0].shape[dim] - 2 * STEP

    def at(f: Tensor, offset: int) -> Tensor:
        window = f.narrow(dim, STEP + offset, length).movedim(dim, -1)[..., stride // 2 :: stride]
        return window.movedim(-1, dim)

    left, middle, right = ([at(f, d) for f in sums] for d in (-STEP, 0, STEP))
    joint = [a + c + b for a, c, b in zip(left, middle, right, strict=True)]
    # Σ (d + s)ᵏ f by the binomial theorem, s = -7, 0, 7.
    if len(sums) > 1:
        joint[1] = joint[1].add(right[0] - left[0], alpha=STEP)
    if len(sums) > 2:
        joint[2] = joint[2].add(right[1] - left[1], alpha=2 * STEP)
        joint[2] = joint[2].add(right[0] + left[0], alpha=STEP**2)
    return joint


def normals(m: Sums, b: Sums, rays: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Plane normals by least squares of N·(X/Z, Y/Z, 1) = 1/Z in each window.

    Returns:
        Unit vectors' x, y and z (B×H×W each), pointing away from the camera; 0 where the window
        holds no three pixels that span a plane.
    """
    (n, s_v, s_vv), (s_u, s_uv), (s_uu,) = m
    (t, t_v), (t_u,) = b
    fx, fy, x, y = rays
    # 1/Z = α·u + β·v + γ in the offsets from the center, by Cramer's rule.
    uu, vv, uv = n * s_uu - s_u * s_u, n * s_vv - s_v * s_v, n * s_uv - s_u * s_v
    ub, vb = n * t_u - s_u * t, n * t_v - s_v * t
    both = uu * vv
    determinant = both - uv * uv
    # Pixels in one line have determinant 0, up to rounding: correlation² within 1e-4 of 1.
    fine = determinant > 1e-4 * both
    scale = fine.float() / determinant.masked_fill_(~fine, 1.0)
    alpha, beta = (vv * ub - uv * vb) * scale, (uu * vb - uv * ub) * scale
    gamma = (t - alpha * s_u - beta * s_v) / n.clamp(min=1.0)
    normal_x, normal_y = alpha * fx, beta * fy
    normal_z = gamma - normal_x * x - normal_y * y
    length = (normal_x * normal_x + normal_y * normal_y + normal_z * normal_z).sqrt_()
    # N·ray is γ, so its sign tells which way the plane's normal points.
    unit = gamma.sign() * fine.float() / length.clamp_(min=1e-30)
    return normal_x * unit, normal_y * unit, normal_z * unit


# --- Gravity -----------------------------------------------------------------------------------


def gravity_from(m: Sums, b: Sums, rays: tuple[Tensor, ...], valid: Tensor, stride: int) -> Tensor:
    """Gravity (B×3) from window sums taken at every ``stride``-th pixel."""
    fx, fy, x, y = rays
    every = slice(stride // 2, None, stride)
    n = torch.stack(normals(m, b, (fx, fy, x[..., every], y[:, every])), dim=1)
    n = (n * valid[:, None, every, every]).flatten(2)
    return search_gravity(n)


def direction(gravity: Tensor) -> Tensor:
    """Unit vectors along ``gravity`` (B×3, any length); the picture's own down for zero or NaN."""
    gravity = gravity.float()
    length = gravity.norm(dim=1, keepdim=True)
    known = (length > 1e-6) & (length < math.inf)  # no for NaN
    own = torch.eye(3, device=gravity.device)[1].expand_as(gravity)
    return torch.where(known, gravity / length, own)


def search_gravity(n: Tensor) -> Tensor:
    """Unit vectors pointing down (B×3) from unit normals (B×3×M; zeros count for nothing)."""
    outer = n[:, :, None] * n[:, None]
    down = torch.eye(3, device=n.device, dtype=torch.float64)[1].expand(n.shape[0], 3)
    for degrees, rounds in ROUNDS:
        angle = math.radians(degrees)
        for _ in range(rounds):
            c = (n * down.float()[:, :, None]).sum(dim=1).abs_()
            sign = (c < math.sin(angle)).float() - (c > math.cos(angle)).float()
            scatter = (outer * sign[:, None, None]).sum(dim=-1)
            down = least_eigenvector(scatter.double(), down)
    return down.float()


def least_eigenvector(matrix: Tensor, near: Tensor) -> Tensor:
    """Eigenvector of the least eigenvalue of B×3×3 symmetric float64, on the side of ``near``.

    Closed form, since the library's solver waits for the device. With A the matrix less its mean
    eigenvalue and λ the least eigenvalue of A, adj(A − λ) = A² + λA + λ² − ½·tr A² is the
    projection onto the eigenvector times a positive number. In float64 the result is off by about
    1e-16 over the relative gap to the next eigenvalue; where that direction is undefined,
    ``near`` itself comes back.
    """
    trace = matrix.diagonal(dim1=1, dim2=2).sum(dim=1)
    a = matrix - torch.diag_embed((trace / 3)[:, None].expand(-1, 3))
    a2 = a @ a
    t2 = a2.diagonal(dim1=1, dim2=2).sum(dim=1)
    p = (t2 / 6).sqrt()
    r = (a2 * a).sum(dim=(1, 2)) / (6 * p**3).clamp(min=1e-300)
    least = (2 * p * torch.cos(r.clamp(-1, 1).acos() / 3 + 2 * math.pi / 3))[:, None]
    a_near = (a * near[:, None]).sum(dim=2)
    a2_near = (a2 * near[:, None]).sum(dim=2)
    v = a2_near + least * a_near + (least**2 - t2[:, None] / 2) * near
    length = v.norm(dim=1, keepdim=True)
    defined = length > 1e-12 * t2[:, None]
    return torch.where(defined, v / length.clamp(min=1e-300), near)


# --- Channels ----------------------------------------------------------------------------------


def cosine_to(down: Tensor, n: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Cosine of the angle between gravity (B×3) and unit normals, B×H×W."""
    x, y, z = down[:, :, None, None].unbind(1)
    return n[0] * x + n[1] * y + n[2] * z


def channels(
    z: Tensor,
    valid: Tensor,
    rays: tuple[Tensor, ...],
    down: Tensor,
    cosine: Tensor,
    holes: str,
) -> Tensor:
    """Disparity, height and angle, B×3×H×W, whole numbers from 0 to 255 in float32."""
    _, _, x, y = rays
    down_x, down_y, down_z = down[:, :, None, None].unbind(1)
    up_m = (x * down_x + (y * down_y + down_z)) * -z
    lowest_m = up_m.masked_fill(~valid, math.inf).amin(dim=(1, 2), keepdim=True)
    lowest_m.masked_fill_(lowest_m > -LEAST_FLOOR_M, -ASSUMED_FLOOR_M)
    out = z.new_empty(z.shape[0], 3, *z.shape[1:])
    disparity, height, angle = out.unbind(1)
    torch.reciprocal(z.clamp(min=1.0), out=disparity).mul_(310.0)
    torch.sub(up_m, lowest_m, out=height).mul_(100.0)
    torch.acos(cosine.clamp(-1.0, 1.0), out=angle).mul_(180.0 / math.pi).add_(38.0)
    out.round_().clamp_(0.0, 255.0)
    if holes == "zero":
        return out * valid[:, None]
    empty = torch.stack(
        [
            torch.full_like(lowest_m, 255.0),
            (lowest_m * -100.0).round().clamp(0.0, 255.0),
            torch.full_like(lowest_m, 218.0),
        ],
        dim=1,
    )
    return torch.where(valid[:, None], out, empty)


def _clean(depth_m: Tensor) -> tuple[Tensor, Tensor]:
    """Meters B×H×W with 1 m in the holes, and where depth is valid."""
    z = depth_m[:, 0].float()
    valid = (z > 0) & (z < math.inf)
    return z.masked_fill(~valid, 1.0), valid


def _rays(intrinsics: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """fx, fy (B×1×1) and the directions' x (B×1×W) and y (B×H×1), with z = 1."""
    k = intrinsics[:, :, :, None, None]
    fx, fy = k[:, 0, 0], k[:, 1, 1]
    u = torch.arange(z.shape[2], device=z.device, dtype=torch.float32)
    v = torch.arange(z.shape[1], device=z.device, dtype=torch.float32)
    return fx, fy, (u - k[:, 0, 2]) / fx, (v[:, None] - k[:, 1, 2]) / fy


def _stride(z: Tensor) -> int:
    return max(1, math.isqrt(z.shape[1] * z.shape[2] // MIN_NORMALS))
