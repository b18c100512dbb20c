"""PSNR and SSIM on 8-bit luma, the way FFmpeg's `psnr` and `ssim` filters define them.

Frames are paired by index by construction: everything is an array. SSIM is the
x264/FFmpeg form (8x8 windows every 4 samples), vectorised.
"""

import numpy as np

PEAK = 255.0
_C1 = (0.01 * PEAK) ** 2 * 64
_C2 = (0.03 * PEAK) ** 2 * 64 * 63


def mse(a, b):
    """Mean squared error of two uint8 arrays of one shape."""
    difference = a.astype(np.int16) - b.astype(np.int16)
    return float(np.mean(np.square(difference, dtype=np.int32)))


def psnr(mean_square_error):
    """PSNR in dB of a mean squared error; 99 for identical pictures, so that means stay finite."""
    return 99.0 if mean_square_error <= 0 else float(10.0 * np.log10(PEAK * PEAK / mean_square_error))


def _sums4(plane):
    height, width = plane.shape[0] & ~3, plane.shape[1] & ~3
    return plane[:height, :width].reshape(height // 4, 4, width // 4, 4).sum((1, 3), dtype=np.int64)


def _windows(sums):
    return sums[:-1, :-1] + sums[1:, :-1] + sums[:-1, 1:] + sums[1:, 1:]


def ssim(a, b):
    """SSIM of two uint8 planes [h, w] of one shape (at least 8x8)."""
    x, y = a.astype(np.int32), b.astype(np.int32)
    s1, s2 = _windows(_sums4(x)).astype(np.float64), _windows(_sums4(y)).astype(np.float64)
    squares = _windows(_sums4(x * x + y * y)).astype(np.float64)
    products = _windows(_sums4(x * y)).astype(np.float64)
    variances = squares * 64 - s1 * s1 - s2 * s2
    covariance = products * 64 - s1 * s2
    numerator = (2 * s1 * s2 + _C1) * (2 * covariance + _C2)
    denominator = (s1 * s1 + s2 * s2 + _C1) * (variances + _C2)
    return float(np.mean(numerator / denominator))
