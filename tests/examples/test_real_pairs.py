"""`examples/real_pairs.py`: its scores, its tables, and the board whose figures are known."""

import json

import numpy as np
import pytest
import real_pairs
from photographs.cases import BORDER, Case, board, moved_onto, same_exposure
from photographs.methods import INPUT, KNOWN, PAIR, RESTORE, Found, applies, best_radius, with_disk, with_true_map
from photographs.scores import reblurred, score
from photographs.tables import BEGIN, END, replace_between, tables
from scipy.ndimage import gaussian_filter, shift

import blurphys as bp
import solvers

pytest.importorskip("torch")


def texture(seed=0, shape=(1, 96, 112)):
    """A picture in [0, 1] with details of some two pixels."""
    x = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (0, 1.2, 1.2))
    return 0.5 + 0.12 * x / x.std()


def blur(image, radius):
    return bp.Convolution(bp.psf.disk(radius), shape=image.shape, boundary="symmetric")(image)


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_a_known_shift_is_undone():
    sharp = texture()
    moved = shift(sharp, (0, 2.3, -1.4), mode="nearest")
    found = moved_onto(blur(moved, 3.0), sharp, max_radius=6.0)
    inner = (slice(None), slice(8, -8), slice(8, -8))
    error, before = (np.sqrt(np.mean((v - moved)[inner] ** 2)) for v in (found, sharp))
    assert error < 0.05 * before


def test_exposures_are_matched_beneath_the_blur():
    sharp = texture()
    found = same_exposure(sharp, 0.6 * blur(sharp, 3.0) + 0.05)
    gain, offset = np.polyfit(sharp.ravel(), found.ravel(), 1)
    assert (gain, offset) == pytest.approx((0.6, 0.05), abs=0.02)


def test_the_known_radius_is_found():
    sharp = np.clip(np.repeat(texture(), 3, axis=0), 0, 1)
    assert best_radius(Case(photo=blur(sharp, 2.5), reference=sharp, border=8)) == pytest.approx(2.5)


def test_the_true_map_undoes_the_blur_but_not_that_of_the_lens_in_focus():
    pupil, sharp = bp.Pupil.disk(core=0.5), np.clip(np.repeat(texture(), 3, axis=0), 0, 1)
    radii = np.full(sharp.shape[1:], 2.5)
    bank = bp.PSFBank(pupil, max_radius=3.0)
    in_focus, photo = (bp.DefocusBlur(v, bank=bank)(sharp).astype(np.float32) for v in (0 * radii, radii))
    case = Case(photo=photo, reference=in_focus, true_map=radii, pupil=bank, border=8)
    sharper = solvers.all_in_focus(photo, radii.astype(np.float32), pupil=bank, views=("combined",)).restored
    found = [score(case, found)["psnr"] for found in (Found(image=photo), with_true_map(case), Found(image=sharper))]
    assert found[1] > found[0] + 4 and found[1] > found[2] + 1, found


def test_the_true_picture_explains_the_photograph_better_than_the_photograph_itself():
    sharp = np.clip(np.repeat(texture(), 3, axis=0), 0, 1)
    radii, known = np.full(sharp.shape[1:], 3.0, np.float32), np.ones(sharp.shape[1:], bool)
    case = Case(photo=blur(sharp, 3.0), true_map=radii, known=known)
    assert reblurred(sharp, case) > reblurred(case.photo, case) + 10
    known[:40] = False  # the photograph is wrong there, which must not count
    spoiled = sharp.copy()
    spoiled[:, :30] = 0
    assert reblurred(spoiled, case) == pytest.approx(reblurred(sharp, case), abs=1e-6)


def test_what_is_scored_depends_on_what_is_known():
    photo = np.repeat(texture(), 3, axis=0).astype(np.float32)
    found = Found(image=0.9 * photo, defocus_map=np.full(photo.shape[1:], 1.5))
    mask = np.arange(photo.shape[2]) > 40
    assert set(score(Case(photo=photo, reference=photo), found)) == {"psnr", "ssim"}
    assert set(score(Case(photo=photo, sharp=True, flat_radius=0), found)) == {"psnr", "ssim", "map_radius"}
    masked = Case(photo=photo, mask=np.broadcast_to(mask, photo.shape[1:]))
    assert set(score(masked, found)) == {"changed", "inside", "outside", "auc"}
    assert score(Case(photo=photo, sharp=True), Found(image=photo))["psnr"] == 99  # JSON knows no infinity
    assert score(Case(photo=photo, sharp=True), found)["psnr"] < 40  # no gain is fitted here
    assert [applies(method, masked) for method in (INPUT, RESTORE, PAIR, KNOWN)] == [False, True, False, False]


# ---- tables ---------------------------------------------------------------------------------------------------------

FIGURES = {
    "restore": {"board": {"psnr": 29.0, "ssim": 0.861, "cpu_seconds": 12.0, "bytes": 2e8, "map_radius": 4.1}},
    "input": {"board": {"psnr": 27.0, "ssim": 0.785, "cpu_seconds": 0.0, "bytes": 0}},
    "a-net": {"board": {"psnr": 26.5, "ssim": 0.7}, "sand": {"error": "ValueError: no"}},
}


def test_tables_show_gains_costs_and_failures_in_the_order_of_methods():
    text = tables(FIGURES)
    lines = [
        line for line in text.splitlines() if "27.00" in line or "dB" in line or "29.00" in line or "26.50" in line
    ]
    assert lines[1:] == [
        "| input | 27.00, .785 | 0.0 | 0 |",
        "| a-net | 26.50 (-0.50), .700 |  |  |",
        "| restore | 29.00 (+2.00), .861 | 12.0 | 200 |",
    ]
    assert "| restore | 4.1 |" in text and "- a-net, sand: ValueError: no" in text
    assert "sharp already" not in text  # no figure, no table


def test_a_mean_over_samples_needs_all_of_them():
    held_out = {"held out 0": {"psnr": 20.0, "ssim": 0.5}, "held out 1": {"psnr": 30.0, "ssim": 0.7}}
    text = tables({"input": held_out, "restore": {"held out 0": {"psnr": 40.0, "ssim": 0.9}}})
    assert "| input | 25.00, .600 |" in text and "restore" not in text


def test_only_what_lies_between_the_markers_changes():
    page = f"# Title\n\n{BEGIN}\nold\n{END}\n\nEnd | of page\n"
    found = replace_between(page, "new\n\nfigures\n")
    assert found == f"# Title\n\n{BEGIN}\nnew\n\nfigures\n{END}\n\nEnd | of page\n"
    assert replace_between(found, "new\n\nfigures") == found


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_page_without_its_markers_is_refused(page):
    with pytest.raises(ValueError, match="figures: begin"):
        replace_between(page, "new")


def test_the_page_has_its_markers_and_its_command():
    page = real_pairs.PAGE.read_text(encoding="utf-8")
    replace_between(page, "")
    assert "python examples/real_pairs.py" in page


def test_new_figures_replace_old_ones_and_others_are_kept():
    old = {"input": {"a": {"psnr": 1.0}, "b": {"psnr": 2.0}}, "gone": {"a": {"psnr": 3.0}}}
    new = {"input": {"b": {"psnr": 5.0}}, "restore": {"a": {"psnr": 4.0}}}
    assert real_pairs.merged(old, new) == {
        "input": {"a": {"psnr": 1.0}, "b": {"psnr": 5.0}}, "gone": {"a": {"psnr": 3.0}}, "restore": {"a": {"psnr": 4.0}}
    }  # fmt: skip


# ---- command --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--only", "bord"], "bord"),
        (["--methods", "magic"], "magic"),
        (["--nets", "no-such-net"], "no-such-net"),
        (["--json", "no-such-folder/figures.json"], "no-such-folder"),
        (["--markdown", str(real_pairs.PAGE.with_name("claims.md"))], "figures: begin"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        real_pairs.main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_folder_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        real_pairs.main(["--data", str(tmp_path), "--only", "Canon 003", "CUHK"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert "canon_r6m2_scene_003" in last and "cuhk_bd" in last and "pixel4" not in last


def test_the_command_measures_in_another_process_and_writes_json_and_page(tmp_path, capsys):
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    figures.write_text(json.dumps(FIGURES))
    arguments = ["--data", str(tmp_path), "--only", "chelsea", "--methods", "disk of 2 px"]
    assert real_pairs.main([*arguments, "--json", str(figures), "--markdown", str(page)]) == 0
    found = json.loads(figures.read_text())
    chelsea = found["disk of 2 px"]["chelsea"]
    assert chelsea["psnr"] < 40 and chelsea["cpu_seconds"] > 0 and chelsea["radius"] == 2
    assert chelsea["bytes"] is None or chelsea["bytes"] > 1e6
    assert found["restore"] == FIGURES["restore"]
    assert f"| disk of 2 px | {chelsea['psnr']:.1f} |" in page.read_text() and "chelsea" in capsys.readouterr().out


def test_tables_are_written_from_stored_figures_alone(tmp_path):
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text(f"{BEGIN}\n{END}\n")
    figures.write_text(json.dumps(FIGURES))
    assert real_pairs.main(["--no-measure", "--json", str(figures), "--markdown", str(page), "--data", "nowhere"]) == 0
    assert page.read_text() == f"{BEGIN}\n{tables(FIGURES)}\n{END}\n"
    assert json.loads(figures.read_text()) == FIGURES


# ---- photographs ----------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_the_board_gains_three_decibels_by_its_radius(data):
    if not (data / "canon_r6m2_flat_0600mm").is_dir():
        pytest.skip("canon_r6m2_flat_0600mm is missing from ../shared/data")
    case = board(data, "combined")
    assert BORDER == case.border == 64
    before, after = (score(case, found)["psnr"] for found in (Found(image=case.photo), with_disk(case, 4.0)))
    assert before == pytest.approx(27.00, abs=0.02)
    assert after - before >= 3
