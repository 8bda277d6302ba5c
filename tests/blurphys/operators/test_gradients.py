"""torch gradients through image, maps, kernels and defocus map; numerical derivatives are the oracle."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from tests.oracles import BOUNDARIES
from tests.profiles import examples, laws
from tests.strategies import simplex, unit_psfs

torch = pytest.importorskip("torch", reason="gradients need torch")

C, H, W = 2, 4, 3
SIGMAS = np.array([0.6, 1.3])
SUPPORTS = [3, 5]
RADII = (-1.5, -0.5, 0.0, 1.0)


def between_levels(rng, shape):
    """Signed radii that keep clear of the levels, where the interpolation has a kink."""
    level = rng.integers(0, len(RADII) - 1, shape)
    low, high = np.take(RADII, level), np.take(RADII, level + 1)
    return low + rng.uniform(0.2, 0.8, shape) * (high - low)


def gkm(rng):
    parts = (simplex(rng, (2, H, W)), SIGMAS * rng.uniform(0.8, 1.2, 2))
    return parts, lambda b, o: bp.GKM(o[0], sigmas=o[1], supports=SUPPORTS, channels=C, boundary=b)


def gkm_batch(rng):
    parts = (simplex(rng, (1, 2, H, W)),)
    return parts, lambda b, o: bp.GKM(o[0], sigmas=[0.3, 0.0], channels=C, boundary=b)


def gkm_per_colour(rng):
    parts = (simplex(rng, (2, H, W)), rng.uniform(0.6, 1.2, (C, 2)), rng.normal(size=(3, C, 2)))

    def build(b, o):
        return bp.GKM(o[0], sigmas=o[1], supports=SUPPORTS, channels=C, boundary=b, mix=o[2])

    return parts, build


def rkr(rng):
    parts = (simplex(rng, (3, H, W)), rng.uniform(0.1, 0.6, (2, 3)))
    return parts, lambda b, o: bp.RKR(o[0], atoms=o[1], channels=C, boundary=b)


def rkr_stagewise(rng):
    parts = (simplex(rng, (3, H, W)), rng.uniform(0.1, 0.6, (2, C, 3)))
    return parts, lambda b, o: bp.RKR(o[0], atoms=o[1], channels=C, boundary=b, stagewise=True)


def rkr_mix(rng):
    parts = (simplex(rng, (3, H, W)), rng.uniform(0.1, 0.6, (2, C, 3)), rng.normal(size=(1, C, 3)))
    return parts, lambda b, o: bp.RKR(o[0], atoms=o[1], channels=C, boundary=b, mix=o[2])


def psf_stack(rng):
    parts = (unit_psfs(rng, (2, 3, 4)), simplex(rng, (2, H, W)))
    return parts, lambda b, o: bp.PSFStack(o[0], weights=o[1], channels=C, boundary=b)


def scatter_per_colour(rng):
    parts = (unit_psfs(rng, (2, C, 4, 3)), simplex(rng, (2, H, W)))
    return parts, lambda b, o: bp.PSFStack(o[0], weights=o[1], channels=C, boundary=b, form="scatter")


def pixel_psf(rng):
    return (unit_psfs(rng, (H, W, 2, 3)),), lambda b, o: bp.PixelPSF(o[0], channels=C, boundary=b)


def convolution(rng):
    return (unit_psfs(rng, (C, 3, 4)),), lambda b, o: bp.Convolution(o[0], shape=(C, H, W), boundary=b)


def defocus_blur(rng):
    parts = (between_levels(rng, (H, W)), unit_psfs(rng, (len(RADII), 3, 4)))

    def build(b, o):
        return bp.DefocusBlur(o[0], bank=bp.PSFBank(psfs=o[1], radii=RADII), channels=C, boundary=b)

    return parts, build


def defocus_of_a_pupil(rng):
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=1.0, step=0.5)
    levels = rng.integers(-2, 2, (H, W)) * 0.5
    parts = (levels + rng.uniform(0.1, 0.4, (H, W)),)
    return parts, lambda b, o: bp.DefocusBlur(o[0], bank=bank, channels=C, boundary=b)


def dual_pixel(rng):
    parts = (between_levels(rng, (H, W)), *(unit_psfs(rng, (len(RADII), C, 3, 4)) for _ in range(2)))

    def build(b, o):
        bank = bp.PSFBank(psfs={"left": o[1], "right": o[2]}, radii=RADII)
        return bp.DualPixel(o[0], bank=bank, channels=C, boundary=b)

    return parts, build


def composed(rng):
    parts = (simplex(rng, (2, H, W)), rng.uniform(0.6, 1.2, 2), rng.uniform(0.1, 0.6, (1, 3)))

    def build(b, o):
        return 0.5 * (
            bp.GKM(o[0], sigmas=o[1], supports=SUPPORTS, channels=C, boundary=b)
            @ bp.RKR(o[0], atoms=o[2], channels=C, boundary=b)
        )

    return parts, build


OPERATORS = {
    f.__name__: f
    for f in (
        gkm,
        gkm_batch,
        gkm_per_colour,
        rkr,
        rkr_stagewise,
        rkr_mix,
        psf_stack,
        scatter_per_colour,
        pixel_psf,
        convolution,
        defocus_blur,
        defocus_of_a_pupil,
        dual_pixel,
        composed,
    )
}
every_operator = pytest.mark.parametrize("name", OPERATORS)


def problem(name, boundary, seed, adjoint):
    """(f, leaves): f(image, *parts) = A x or A.H x with every part a float64 leaf."""
    rng = np.random.default_rng(seed)
    parts, build = OPERATORS[name](rng)
    leaves = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in parts]
    A = build(boundary, leaves)
    shape = A.out_shape if adjoint else A.in_shape
    lead = tuple(A.batch_shape)
    image = torch.tensor(rng.normal(size=(*lead, *shape)), requires_grad=True)

    def f(x, *o):
        B = build(boundary, o)
        return B.adjoint(x) if adjoint else B(x)

    return f, [image, *leaves]


def check(which, f, leaves, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own tools; those of the operators are checked elsewhere
        return which(f, leaves, **options)


FAMILIES = {
    "GKM": ("gkm", "gkm_batch", "gkm_per_colour"),
    "RKR": ("rkr", "rkr_stagewise", "rkr_mix"),
    "PSFStack": ("psf_stack", "scatter_per_colour"),
    "PixelPSF": ("pixel_psf",),
    "Convolution": ("convolution",),
    "DefocusBlur": ("defocus_blur", "defocus_of_a_pupil"),
    "DualPixel": ("dual_pixel",),
    "algebra": ("composed",),
}
drawn = {
    "boundary": st.sampled_from(BOUNDARIES),
    "seed": st.integers(0, 2**16),
    "adjoint": st.booleans(),
    "row": st.integers(0, 5),
}


@pytest.mark.parametrize("family", FAMILIES)
@laws
@given(**drawn)
def test_gradient_along_a_random_direction(family, boundary, seed, adjoint, row):
    """Backward pass against the central difference, all parts moved together; third order in the step is left."""
    f, leaves = problem(FAMILIES[family][row % len(FAMILIES[family])], boundary, seed, adjoint)
    rng = np.random.default_rng([seed, 1])
    directions = [torch.tensor(rng.normal(size=tuple(p.shape))) for p in leaves]
    y = f(*leaves)
    u = torch.tensor(rng.normal(size=tuple(y.shape)))
    gradients = torch.autograd.grad(y, leaves, u)
    claimed = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    step = 1e-4
    with torch.no_grad():
        ahead, behind = (f(*(p + s * d for p, d in zip(leaves, directions, strict=True))) for s in (step, -step))
    measured = float(((ahead - behind) * u).sum()) / (2.0 * step)
    scale = float(sum((g * d).abs().sum() for g, d in zip(gradients, directions, strict=True)))
    assert abs(claimed - measured) <= 1e-6 * max(scale, 1.0)


@pytest.mark.parametrize("family", FAMILIES)
@examples(10)
@given(**drawn)
def test_gradcheck_and_gradgradcheck(family, boundary, seed, adjoint, row):
    torch.manual_seed(seed)
    f, leaves = problem(FAMILIES[family][row % len(FAMILIES[family])], boundary, seed, adjoint)
    assert check(torch.autograd.gradcheck, f, leaves, fast_mode=True, atol=1e-6, rtol=1e-5)
    assert check(torch.autograd.gradgradcheck, f, leaves, fast_mode=True, atol=1e-5, rtol=1e-4)


@every_operator
def test_every_entry_of_the_jacobian(name):
    f, leaves = problem(name, "reflect", 3, adjoint=False)
    assert check(torch.autograd.gradcheck, f, leaves, atol=1e-7, rtol=1e-5)


@every_operator
def test_every_part_receives_a_gradient(name):
    """A detached map or kernel would train silently on zeros."""
    for adjoint in (False, True):
        f, leaves = problem(name, "symmetric", 4, adjoint)
        f(*leaves).square().sum().backward()
        for leaf in leaves:
            assert leaf.grad is not None and bool(leaf.grad.abs().max() > 0)


def test_gradient_of_the_defocus_map_is_the_difference_of_the_two_levels():
    rng = np.random.default_rng(5)
    psfs = torch.tensor(unit_psfs(rng, (3, 3, 3)))
    c = torch.full((H, W), 0.25, dtype=torch.float64, requires_grad=True)
    bank = bp.PSFBank(psfs=psfs, radii=(-1.0, 0.0, 0.5))
    x = torch.tensor(rng.normal(size=(C, H, W)))
    bp.DefocusBlur(c, bank=bank, channels=C, boundary="circular")(x).sum().backward()
    low, high = (bp.Convolution(psfs[i], shape=(C, H, W), boundary="circular")(x) for i in (1, 2))
    assert torch.allclose(c.grad, ((high - low) / 0.5).sum(0), rtol=0, atol=1e-12)


def test_no_graph_is_kept_when_nothing_asks_for_it():
    x = torch.ones((C, H, W), dtype=torch.float64)
    A = bp.Convolution(torch.ones((3, 3), dtype=torch.float64) / 9.0, shape=(C, H, W))
    assert not A(x).requires_grad
    with torch.no_grad():
        assert not A(x.requires_grad_()).requires_grad
