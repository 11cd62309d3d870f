import cv2
import numpy as np
import pytest
from scipy.sparse import diags, eye, kron
from scipy.sparse.linalg import spsolve

from inout_aug.paste._poisson import poisson_change


def smooth(seed, height, width, channels, sigma=8.0):
    field = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width, channels)), (0, 0), sigma)
    field = field.reshape(height, width, channels)
    return (40 + 170 * (field - field.min()) / np.ptp(field)).astype(np.float32)


def sparse_solution(host, source):
    """Poisson's equation with the host as border, by a direct sparse solver."""
    height, width = host.shape[0] - 2, host.shape[1] - 2
    second = [diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n)) for n in (height, width)]
    laplace = (kron(second[0], eye(width)) + kron(eye(height), second[1])).tocsc()
    wanted = cv2.filter2D(source.astype(np.float64), -1, np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0.0]]))[1:-1, 1:-1]
    wanted[0] -= host[0, 1:-1]
    wanted[-1] -= host[-1, 1:-1]
    wanted[:, 0] -= host[1:-1, 0]
    wanted[:, -1] -= host[1:-1, -1]
    return spsolve(laplace, wanted.ravel()).reshape(height, width)


@pytest.mark.parametrize(("height", "width"), [(4, 5), (17, 40), (61, 30)])
def test_agrees_with_a_sparse_solver_to_a_fraction_of_a_16_bit_level(height, width):
    rng = np.random.default_rng(0)
    host, source = rng.uniform(0, 65535, (2, height + 2, width + 2)).astype(np.float32)
    change = poisson_change(host[..., None], source[..., None])[..., 0]
    np.testing.assert_allclose(host[1:-1, 1:-1] + change, sparse_solution(host, source), atol=0.3)


def test_agrees_with_opencv_where_that_is_exact_enough():
    host, source = smooth(0, 200, 240, 3), smooth(1, 200, 240, 3)
    top, left, height, width = 30, 40, 120, 150
    inner = np.s_[top - 1 : top + height + 1, left - 1 : left + width + 1]
    change = poisson_change(host[inner], source[inner])
    # OpenCV shrinks the region by three pixels
    outer = np.s_[top - 4 : top + height + 4, left - 4 : left + width + 4]
    piece = np.ascontiguousarray(source[outer]).astype(np.uint8)
    centre = (left - 4 + piece.shape[1] // 2, top - 4 + piece.shape[0] // 2)
    cloned = cv2.seamlessClone(
        piece, host.astype(np.uint8), np.full(piece.shape[:2], 255, np.uint8), centre, cv2.NORMAL_CLONE
    )
    theirs = (cloned.astype(np.float32) - host)[top : top + height, left : left + width]
    assert np.corrcoef(theirs.ravel(), change.ravel())[0, 1] > 0.99
    assert np.abs(theirs - change).mean() < 0.1 * np.abs(change).mean()


def test_a_source_with_the_hosts_gradients_changes_nothing():
    host = smooth(2, 40, 50, 3)
    np.testing.assert_allclose(poisson_change(host, host + 25), 0, atol=1e-2)


def test_mixing_keeps_the_hosts_texture_under_a_flat_source():
    host = np.random.default_rng(3).uniform(0, 255, (40, 50, 1)).astype(np.float32)
    flat = np.full_like(host, 99)
    np.testing.assert_allclose(poisson_change(host, flat, mixed=True), 0, atol=1e-3)
    assert np.abs(poisson_change(host, flat)).max() > 50
