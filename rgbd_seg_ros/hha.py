# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""HHA: depth as disparity, height above the floor and angle to gravity, batched.

Gupta et al., "Learning Rich Features from RGB-D Images for Object Detection and Segmentation",
ECCV 2014. No operation waits for the device and no control flow depends on values, so everything
can be captured in a CUDA graph. Points and directions are in the optical frame: x right, y down,
z forward.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: Radius in pixels of the windows in which the angle channel's normals are fitted.
R_ANGLE = 3
#: Distance between the centers of neighboring windows. Three by three of them make one of the
#: (3·STEP)² windows for the normals that gravity is estimated from.
STEP = 2 * R_ANGLE + 1
#: Thresholds in degrees and number of iterations of the search for gravity.
ROUNDS = ((45.0, 5), (15.0, 5))
#: Gravity is estimated from at least this many normals, evenly spaced over the image.
MIN_NORMALS = 19200
#: If no point is this far below the camera, the floor is not visible. It is then assumed to be
#: ASSUMED_FLOOR_M below the camera.
LEAST_FLOOR_M = 0.90
ASSUMED_FLOOR_M = 1.30

#: Window sums of a quantity f, by powers of the offsets: ``sums[i][j]`` is Σ uⁱ·vʲ·f.
Sums = list[list[Tensor]]


def hha(
    depth_m: Tensor, intrinsics: Tensor, gravity: Tensor | None = None, holes: str = "reference"
) -> Tensor:
    """HHA of a batch. See :func:`rgbd_seg_ros.depth.hha` for arguments and result."""
    if depth_m.ndim != 4 or depth_m.shape[1] != 1:
        raise ValueError(f"HHA needs depth B×1×H×W in meters, got {tuple(depth_m.shape)}")
    batch = depth_m.shape[0]
    if intrinsics.shape != (batch, 3, 3):
        raise ValueError(
            f"HHA needs intrinsics {batch}×3×3 in pixels, got {tuple(intrinsics.shape)}"
        )
    if gravity is not None and gravity.shape != (batch, 3):
        raise ValueError(f"gravity must be {batch}×3, pointing down, got {tuple(gravity.shape)}")
    # The caller's autocast must not apply: the 8 or 11 bits of half precision are too few for
    # window sums.
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
    """Unit vectors pointing down (B×3), estimated from depth (B×1×H×W meters, NaN invalid).

    Gravity is parallel to the normals of floors and perpendicular to those of walls. The search
    starts at (0, 1, 0), down in the image, which is also the result for an image without depth.
    """
    with torch.autocast(depth_m.device.type, enabled=False):
        z, valid = _clean(depth_m)
        sums = wider(*window_sums(z, valid, STEP), _stride(z))
        return gravity_from(*sums, _rays(intrinsics.float(), z), valid, _stride(z))


# --- Normals -----------------------------------------------------------------------------------


def window_sums(z: Tensor, valid: Tensor, margin: int) -> tuple[Sums, Sums]:
    """Sums of the mask and of 1/Z over (2·R_ANGLE+1)² windows, for the least-squares fit.

    Offsets u, v are relative to each window's own center. The nine sums therefore stay small, and
    those of the mask are integers, which are exact in float32.

    Args:
        z: B×H×W meters; any number except 0 where invalid.
        valid: B×H×W.
        margin: also compute windows whose centers are up to this far outside the image.

    Returns:
        Σ uⁱvʲ for i+j ≤ 2, and Σ uⁱvʲ/Z for i+j ≤ 1, B×(H+2·margin)×(W+2·margin) each.
    """
    pad = [margin + R_ANGLE] * 4
    mask = valid.float()  # arithmetic with booleans is about ten times slower on a CPU
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
    """The same sums over (3·STEP)² windows, at every ``stride``-th pixel.

    Args:
        m: sums of the mask from :func:`window_sums` with a margin of STEP.
        b: sums of 1/Z from the same call.
        stride: distance between the pixels; the first one is ``stride // 2``.
    """
    return _wider(m, stride), _wider(b, stride)


def _wider(sums: Sums, stride: int) -> Sums:
    # sums is a triangle: sums[i] has all powers of v for one power of u; joining along u needs
    # the transposed triangle.
    rows = [_join(by_v, -2, stride) for by_v in sums]
    columns = [_join([rows[i][j] for i in range(len(rows) - j)], -1, stride)
               for j in range(len(rows))]  # fmt: skip
    return [[columns[j][i] for j in range(len(columns) - i)] for i in range(len(columns))]


def _join(sums: list[Tensor], dim: int, stride: int) -> list[Tensor]:
    """Moments of three adjacent windows along ``dim``, about the center of the middle one."""
    length = sums[0].shape[dim] - 2 * STEP

    def at(f: Tensor, offset: int) -> Tensor:
        window = f.narrow(dim, STEP + offset, length).movedim(dim, -1)[..., stride // 2 :: stride]
        return window.movedim(-1, dim)

    left, middle, right = ([at(f, d) for f in sums] for d in (-STEP, 0, STEP))
    joint = [a + c + b for a, c, b in zip(left, middle, right, strict=True)]
    # Expand Σ (d + s)ᵏ f by the binomial theorem, with s = -7, 0, 7.
    if len(sums) > 1:
        joint[1] = joint[1].add(right[0] - left[0], alpha=STEP)
    if len(sums) > 2:
        joint[2] = joint[2].add(right[1] - left[1], alpha=2 * STEP)
        joint[2] = joint[2].add(right[0] + left[0], alpha=STEP**2)
    return joint


def normals(m: Sums, b: Sums, rays: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Plane normals by a least-squares fit of N·(X/Z, Y/Z, 1) = 1/Z in each window.

    Returns:
        x, y and z (B×H×W each) of unit vectors pointing away from the camera; 0 if the valid
        pixels of the window do not span a plane.
    """
    (n, s_v, s_vv), (s_u, s_uv), (s_uu,) = m
    (t, t_v), (t_u,) = b
    fx, fy, x, y = rays
    # Fit 1/Z = α·u + β·v + γ, with offsets from the center, by Cramer's rule.
    uu, vv, uv = n * s_uu - s_u * s_u, n * s_vv - s_v * s_v, n * s_uv - s_u * s_v
    ub, vb = n * t_u - s_u * t, n * t_v - s_v * t
    both = uu * vv
    determinant = both - uv * uv
    # The determinant is 0 for pixels on one line. Allow for rounding: correlation² > 1 - 1e-4.
    fine = determinant > 1e-4 * both
    scale = fine.float() / determinant.masked_fill_(~fine, 1.0)
    alpha, beta = (vv * ub - uv * vb) * scale, (uu * vb - uv * ub) * scale
    gamma = (t - alpha * s_u - beta * s_v) / n.clamp(min=1.0)
    normal_x, normal_y = alpha * fx, beta * fy
    normal_z = gamma - normal_x * x - normal_y * y
    length = (normal_x * normal_x + normal_y * normal_y + normal_z * normal_z).sqrt_()
    # N·ray is γ, so the sign of γ shows to which side the normal points.
    unit = gamma.sign() * fine.float() / length.clamp_(min=1e-30)
    return normal_x * unit, normal_y * unit, normal_z * unit


# --- Gravity -----------------------------------------------------------------------------------


def gravity_from(m: Sums, b: Sums, rays: tuple[Tensor, ...], valid: Tensor, stride: int) -> Tensor:
    """Gravity (B×3) from window sums at every ``stride``-th pixel."""
    fx, fy, x, y = rays
    every = slice(stride // 2, None, stride)
    n = torch.stack(normals(m, b, (fx, fy, x[..., every], y[:, every])), dim=1)
    n = (n * valid[:, None, every, every]).flatten(2)
    return search_gravity(n)


def direction(gravity: Tensor) -> Tensor:
    """Unit vectors along ``gravity`` (B×3, any length); (0, 1, 0) for rows with zero or NaN."""
    gravity = gravity.float()
    length = gravity.norm(dim=1, keepdim=True)
    known = (length > 1e-6) & (length < math.inf)  # False for NaN
    default = torch.eye(3, device=gravity.device)[1].expand_as(gravity)
    return torch.where(known, gravity / length, default)


def search_gravity(n: Tensor) -> Tensor:
    """Unit vectors pointing down (B×3) from unit normals (B×3×M; zero vectors have no effect).

    As in Gupta et al. (CVPR 2013): normals parallel to the current estimate, within a threshold,
    belong to floors and normals perpendicular to it to walls. The next estimate is the direction
    that fits both best.
    """
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
    """Eigenvector of the smallest eigenvalue of B×3×3 symmetric float64, in ``near``'s half-space.

    A closed form, because PyTorch's solver waits for the device. Let A be the matrix minus its
    mean eigenvalue and λ the smallest eigenvalue of A. Then adj(A − λ) = A² + λA + λ² − ½·tr A²
    is the projection onto the eigenvector times a positive number. In float64 the error is about
    1e-16 divided by the relative gap to the next eigenvalue. If the direction is undefined, the
    result is ``near``.
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
    """Disparity, height and angle, B×3×H×W float32, integers from 0 to 255."""
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
    """Meters with 1 m where depth is invalid, and the mask of valid pixels, B×H×W each."""
    z = depth_m[:, 0].float()
    valid = (z > 0) & (z < math.inf)
    return z.masked_fill(~valid, 1.0), valid


def _rays(intrinsics: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """fx, fy (B×1×1), and x (B×1×W) and y (B×H×1) of each pixel's ray, whose z is 1."""
    k = intrinsics[:, :, :, None, None]
    fx, fy = k[:, 0, 0], k[:, 1, 1]
    u = torch.arange(z.shape[2], device=z.device, dtype=torch.float32)
    v = torch.arange(z.shape[1], device=z.device, dtype=torch.float32)
    return fx, fy, (u - k[:, 0, 2]) / fx, (v[:, None] - k[:, 1, 2]) / fy


def _stride(z: Tensor) -> int:
    return max(1, math.isqrt(z.shape[1] * z.shape[2] // MIN_NORMALS))
