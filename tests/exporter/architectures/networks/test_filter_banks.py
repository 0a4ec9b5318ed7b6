"""The filter banks, compared with independent computations of their definitions."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from convscope.exporter.architectures.networks.filter_banks import edge_kernels, leung_malik_kernels

Floats = NDArray[np.float64]


def test_each_edge_kernel_responds_to_one_direction_only() -> None:
    step = torch.zeros(9, 9)
    step[:, 5:] = 1  # brighter to the right
    answers = torch.nn.functional.conv2d(step[None, None], edge_kernels()[:, None])[0]
    assert answers[0].max() == 3
    assert answers[1].abs().max() == 0
    turned = torch.nn.functional.conv2d(step.T[None, None], edge_kernels()[:, None])[0]
    assert torch.equal(turned[1], answers[0].T)


def numeric(kernel: Floats) -> Floats:
    balanced: Floats = kernel - kernel.mean()
    scaled: Floats = balanced / np.abs(balanced).sum()
    return scaled


def gaussian(x: Floats, y: Floats, wide: float, high: float) -> Floats:
    bell: Floats = np.exp(-(x**2) / (2 * wide**2) - y**2 / (2 * high**2))
    return bell


@pytest.mark.parametrize("scale", range(3))
@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("order", [1, 2])
def test_a_leung_malik_filter_is_the_derivative_of_a_rotated_gaussian(
    scale: int, step: int, order: int
) -> None:
    sigma, angle, tiny = math.sqrt(2) ** (scale + 1), math.pi * step / 6, 1e-3
    rows, columns = np.mgrid[24:-25:-1, -24:25].astype(float)

    def turned(shift: float) -> Floats:
        along = math.cos(angle) * columns - math.sin(angle) * rows
        across = math.sin(angle) * columns + math.cos(angle) * rows + shift
        return gaussian(along, across, 3 * sigma, sigma)

    derivative = (
        turned(tiny) - turned(-tiny) if order == 1 else turned(tiny) - 2 * turned(0) + turned(-tiny)
    )
    found = leung_malik_kernels()[18 * (order - 1) + 6 * scale + step].numpy()
    np.testing.assert_allclose(found, numeric(derivative), atol=2e-6)


def test_the_other_leung_malik_filters_are_laplacians_and_gaussians() -> None:
    rows, columns = np.mgrid[24:-25:-1, -24:25].astype(float)
    bank = leung_malik_kernels().numpy()
    sigmas = [math.sqrt(2) ** power for power in (1, 2, 3, 4)]
    for index, sigma in enumerate([*sigmas, *(3 * one for one in sigmas)]):
        bell = gaussian(columns, rows, sigma, sigma)
        laplacian = (rows**2 + columns**2 - 2 * sigma**2) / sigma**4 * bell
        np.testing.assert_allclose(bank[36 + index], numeric(laplacian), atol=1e-7)
    for index, sigma in enumerate(sigmas):
        bell = gaussian(columns, rows, sigma, sigma)
        np.testing.assert_allclose(bank[44 + index], bell / bell.sum(), atol=1e-7)


def test_all_48_filters_but_the_gaussians_have_a_mean_of_zero() -> None:
    bank = leung_malik_kernels()
    assert bank.shape == (48, 49, 49)
    assert bank[:44].mean(dim=(1, 2)).abs().max() < 1e-7
    torch.testing.assert_close(bank.abs().sum(dim=(1, 2)), torch.ones(48))
