"""Poisson image editing on a rectangle: exact, for any number of channels and bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def poisson_change(host: Floats, source: Floats, *, mixed: bool = False) -> Floats:
    """Return what blending a source into a host seamlessly adds to the host.

    The blend has the source's gradients and meets the host at the border (Pérez, Gangnet and Blake, "Poisson image
    editing", 2003, equations 3 and 12). Written for the change of the host, the border condition is zero, and the
    Laplacian of the change is the divergence of the wanted gradients minus the host's. `cv2.seamlessClone` solves the
    same equation in 8 bit and three channels, on a region shrunk by three pixels.

    Args:
        host: (h + 2, w + 2, C): the rectangle, with a border of one pixel around it.
        source: Of the same shape.
        mixed: Want the stronger of the two gradients at each place, so that the host's texture shows through.

    Returns:
        (h, w, C).
    """
    laplacian = np.zeros((host.shape[0] - 2, host.shape[1] - 2, host.shape[2]), np.float32)
    for axis in (0, 1):
        wanted, had = np.diff(source, axis=axis), np.diff(host, axis=axis)
        if mixed:
            wanted = np.where(np.abs(wanted) > np.abs(had), wanted, had)
        divergence = np.diff(wanted - had, axis=axis)
        laplacian += divergence[:, 1:-1] if axis == 0 else divergence[1:-1]
    return _invert(laplacian)


def _invert(laplacian: Floats) -> Floats:
    """Return the array that has this 5-point Laplacian and is zero outside, by sine transforms as matrix products."""
    (rows, along_rows), (columns, along_columns) = (_sines(n) for n in laplacian.shape[:2])
    spectrum = rows @ laplacian.transpose(2, 0, 1) @ columns
    change = rows @ (spectrum / (along_rows[:, None] + along_columns)) @ columns
    return np.ascontiguousarray(change.transpose(1, 2, 0))


def _sines(size: int) -> tuple[Floats, Floats]:
    """Return the orthonormal eigenvectors, as a symmetric matrix, and eigenvalues of the second difference."""
    k = np.arange(1, size + 1)
    angle = np.pi / (size + 1) * k
    vectors = np.sqrt(2 / (size + 1)) * np.sin(angle[:, None] * k)
    return vectors.astype(np.float32), (2 * np.cos(angle) - 2).astype(np.float32)
