"""The physics against photographs: a Canon board at f/20 and f/4, and the measured kernels of a Pixel 4."""

import math

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

import blurphys as bp
from blurphys.colour import linear_to_srgb, srgb_to_linear

pytestmark = pytest.mark.data
BORDER = 40


# ---- Canon R6 Mark II, board 0.6 m away, focus at 1 m -------------------------------------------------------------


@pytest.fixture(scope="module")
def board(data):
    """Views (3, H, W) in sRGB values: name -> array."""
    folder = data / "canon_r6m2_flat_0600mm"
    if not folder.is_dir():
        pytest.skip("canon_r6m2_flat_0600mm is missing from ../shared/data")
    views = {}
    for name in ("f20_l", "f20_r", "f4_l", "f4_r"):
        pixels = np.asarray(Image.open(folder / f"{name}.png"))
        assert pixels.dtype == np.uint8 and pixels.shape == (512, 768, 3)
        views[name] = np.ascontiguousarray(pixels.transpose(2, 0, 1)) / 255.0
    return views


def lens(f_number):
    return bp.ThinLens(focal_length_mm=50.0, f_number=f_number, focus_distance_m=1.0, pixel_pitch_um=36.0e3 / 768.0)


def mean_light(board, aperture):
    return (srgb_to_linear(board[f"{aperture}_l"]) + srgb_to_linear(board[f"{aperture}_r"])) / 2.0


def psnr_in_srgb(psf, sharp, target, *, linear):
    """PSNR in sRGB values of psf * sharp against target (both linear light), a gain fitted for each colour."""
    if not linear:
        sharp, target = linear_to_srgb(sharp), linear_to_srgb(target)
    blurred = bp.Convolution(psf, shape=sharp.shape)(sharp)
    inside = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    found, wanted = blurred[inside], target[inside]
    gain = (found * wanted).sum(axis=(1, 2), keepdims=True) / (found * found).sum(axis=(1, 2), keepdims=True)
    found = gain * found
    if linear:
        found, wanted = linear_to_srgb(np.clip(found, 0.0, None)), linear_to_srgb(wanted)
    return -10.0 * math.log10(float(np.mean((found - wanted) ** 2)))


def test_canon_radius_predicted_by_the_camera_alone(board):
    """No fitted radius: > 37.5 dB, and more than 2 dB above blurring the gamma-encoded values."""
    radius = abs(float(lens(4.0).defocus_map(np.full((1, 1), 0.6))[0, 0]))
    assert radius == pytest.approx(4.68, abs=0.01)
    sharp, target = mean_light(board, "f20"), mean_light(board, "f4")
    light = psnr_in_srgb(bp.psf.disk(radius), sharp, target, linear=True)
    gamma = psnr_in_srgb(bp.psf.disk(radius), sharp, target, linear=False)
    assert light > 37.5
    assert light > gamma + 2.0
    assert psnr_in_srgb(bp.psf.disk(2 * radius), sharp, target, linear=True) < light - 5.0  # diameter for radius


def test_canon_best_radius(board):
    """The best fit lies in [3.7, 4.3] px with > 39 dB, more than 3 dB above the best of gamma space."""
    sharp, target = mean_light(board, "f20"), mean_light(board, "f4")
    radii = np.arange(3.0, 5.51, 0.25)
    light = [psnr_in_srgb(bp.psf.disk(r), sharp, target, linear=True) for r in radii]
    gamma = [psnr_in_srgb(bp.psf.disk(r), sharp, target, linear=False) for r in radii]
    best = int(np.argmax(light))
    assert 3.7 <= radii[best] <= 4.3
    assert light[best] > 39.0
    assert light[best] > max(gamma) + 3.0


def test_canon_sign_of_the_views(board):
    """In front of focus the left view's weight lies at +x; exchanging the views, or splitting too much, is worse."""
    sharp = mean_light(board, "f20")
    views = {side: srgb_to_linear(board[f"f4_{side[0]}"]) for side in ("left", "right")}
    other = {"left": "right", "right": "left"}

    def score(pupil, swap=False):
        return np.mean(
            [
                psnr_in_srgb(pupil.psf(-4.0, view=other[v] if swap else v), sharp, views[v], linear=True)
                for v in ("left", "right")
            ]
        )

    left = bp.Pupil.disk(split=0.15).psf(-4.0, view="left")
    assert float((left.sum(axis=0) * (np.arange(left.shape[1]) - left.shape[1] // 2)).sum()) > 0.2
    right_way, wrong_way = score(bp.Pupil.disk(split=0.15)), score(bp.Pupil.disk(split=0.15), swap=True)
    none, strong = score(bp.Pupil.disk(split=0.0)), score(bp.Pupil.disk(split=0.5))
    assert right_way > none > wrong_way
    assert right_way > strong + 1.5


def test_canon_published_left_kernel_needs_the_mirror(board):
    """The published arrays as impulse responses: with c < 0 the left view is the mirrored one."""
    sharp, target = mean_light(board, "f20"), srgb_to_linear(board["f4_l"])
    front = psnr_in_srgb(bp.psf.butterworth(-3, view="left"), sharp, target, linear=True)
    behind = psnr_in_srgb(bp.psf.butterworth(3, view="left"), sharp, target, linear=True)
    assert front > behind + 1.0


# ---- Pixel 4 ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pixel4(data):
    folder = data / "pixel4_dp"
    if not folder.is_dir():
        pytest.skip("pixel4_dp is missing from ../shared/data")
    return folder


def grey16(path):
    pixels = np.asarray(Image.open(path))
    assert pixels.dtype == np.uint16
    return pixels.astype(np.float64)


def kernels(folder, side):
    return np.load(folder / f"blur_kernels_{side}.npy").astype(np.float64)


def rescaled(psf, scale):
    """k(x / s) resampled about the centre and brought back to unit sum."""
    centre = psf.shape[0] // 2
    reach = math.ceil(centre * scale)
    at = np.arange(-reach, reach + 1) / scale + centre
    wide = map_coordinates(psf, np.meshgrid(at, at, indexing="ij"), order=1)
    return wide / wide.sum()


def test_pixel4_kernels_are_what_the_notes_say(pixel4):
    left, right = kernels(pixel4, "left"), kernels(pixel4, "right")
    x = np.arange(61) - 30
    for psfs in (left, right):
        assert psfs.shape == (48, 61, 61)
        assert np.abs(psfs.sum(axis=(1, 2)) - 1.0).max() <= 1e-6
    separation = (right.sum(axis=1) * x).sum(axis=1) - (left.sum(axis=1) * x).sum(axis=1)
    assert separation.min() > 4.9 and separation.max() < 5.6


def explained(folder, scene, patch, scale, *, mirrored=False):
    """Share of the variance of a captured patch explained by the measured kernel, mean of the two views."""
    sharp = grey16(folder / f"{scene}_gt_aif.png") / 65535.0
    row, column = 168 * patch[0], 168 * patch[1]
    shares = []
    for side in ("left", "right"):
        psf = rescaled(kernels(folder, side)[8 * (1 + patch[0]) + 2 + patch[1]], scale)
        if mirrored:
            psf = psf[::-1, ::-1].copy()
        margin = psf.shape[0] // 2
        window = (slice(row - margin, row + 168 + margin), slice(column - margin, column + 168 + margin))
        x = np.ascontiguousarray(sharp[window])[None]
        y = bp.Convolution(psf, shape=x.shape)(x)[0, margin:-margin, margin:-margin]
        taken = (grey16(folder / f"{scene}_{side}.png") - 1024.0) / 16383.0
        taken = taken[row : row + 168, column : column + 168]
        design = np.stack([y.ravel(), np.ones(y.size)], axis=1)
        fit = design @ np.linalg.lstsq(design, taken.ravel(), rcond=None)[0]
        shares.append(1.0 - np.mean((fit - taken.ravel()) ** 2) / taken.var())
    return float(np.mean(shares))


def test_pixel4_measured_kernels_convolve(pixel4):
    """Scene 013, patch (1, 1): > 98 % as convolution, < 95 % when the kernels are mirrored (correlation)."""
    assert explained(pixel4, "013", (1, 1), 1.4) > 0.98
    assert explained(pixel4, "013", (1, 1), 1.4, mirrored=True) < 0.95


def test_pixel4_another_patch(pixel4):
    right_way = explained(pixel4, "013", (1, 2), 1.4)
    assert right_way > 0.98 and right_way > explained(pixel4, "013", (1, 2), 1.4, mirrored=True) + 0.02


def test_pixel4_left_leans_left_of_right_in_the_model(pixel4):
    """The pupil model's sign agrees with the measured kernels for c > 0 and gives their separation at g near 0.4."""
    pupil = bp.Pupil.disk(split=0.42)
    x = np.arange(-15, 16)
    modelled = []
    for view in ("left", "right"):
        psf = pupil.psf(12.5, view=view)
        x = np.arange(psf.shape[1]) - psf.shape[1] // 2
        modelled.append(float(psf.sum(axis=0) @ x))
    measured = [float((kernels(pixel4, side).sum(axis=1) @ (np.arange(61) - 30)).mean()) for side in ("left", "right")]
    assert modelled[0] < modelled[1] and measured[0] < measured[1]
    assert modelled[1] - modelled[0] == pytest.approx(measured[1] - measured[0], rel=0.1)


# ---- photograph with holes in its depth ---------------------------------------------------------------------------


def test_motorcycle_disparity_needs_a_policy():
    """The scikit-image stereo pair marks unknown disparity by inf: no silent sharp or maximal blur there."""
    skimage_data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    _, _, disparity = skimage_data.stereo_motorcycle()
    assert np.isinf(disparity).mean() == pytest.approx(0.073, abs=0.002)
    with np.errstate(divide="ignore"):
        depth = (0.193001 * 994.978 / (disparity + 31.086)).astype(np.float64)
    assert np.any(depth == 0.0)
    camera = bp.ThinLens(focal_length_mm=50.0, f_number=2.8, focus_distance_m=2.5, pixel_pitch_um=50.0)
    with pytest.raises(ValueError, match=r"depth|invalid"):
        camera.defocus_map(depth)
    c = camera.defocus_map(depth, invalid="nearest")
    valid = depth > 0
    known = camera.radius_at_infinity * (1.0 - 2.5 / depth[valid])
    assert np.allclose(c[valid], known, rtol=1e-9, atol=1e-9)
    assert known.min() - 1e-9 <= c.min() and c.max() <= known.max() + 1e-9
