"""The numbers of the demo, of a data set and of the networks, to be compared between two states of the code.

    python tests/tools/compare_states.py --out before.npz      # in the old checkout
    python tests/tools/compare_states.py --against before.npz  # in the new one: exit code 1 if an array differs

Everything is seeded and small (about a minute); arrays are compared relative to their largest value.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import blurphys as bp
import nets
import solvers
import synth
from nets.classical.demo import restore

SIZE = (96, 128)
SEED = 20240229


def _photo(*shape: int) -> np.ndarray:
    return np.random.default_rng(SEED).random(shape)


def demo() -> Iterator[tuple[str, np.ndarray]]:
    """What `blurphys demo` renders and restores, on a window of its photo."""
    scene = synth.scenes.stereo_motorcycle().window(150, 250, *SIZE)
    camera = synth.Camera.for_scene(scene, max_radius=6)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.h5"
        synth.generate(scene, path, camera=camera, samples=1, seed=0, model="gather")
        with synth.open(path) as data:
            sample = data[0]
    for name in ("all_in_focus", "combined", "left", "right", "defocus_map"):
        yield f"demo/{name}", np.asarray(sample[name])
    A = bp.DefocusBlur(sample["defocus_map"], bank=camera.bank())
    variance = float(camera.noise.combined.variance(np.maximum(sample["combined"], 0.0)).mean())
    for result in restore(A, sample["combined"], sample["all_in_focus"], noise_variance=variance):
        yield f"demo/{result.name}", np.asarray(result.x)
        yield f"demo/{result.name} PSNR, SSIM", np.array([result.psnr, result.ssim])


def dataset() -> Iterator[tuple[str, np.ndarray]]:
    """A folder of shards with the default model, from a drawn and a measured scene, with a camera full of faults."""
    scenes = [synth.scenes.stereo_motorcycle().window(150, 250, *SIZE), synth.scenes.dead_leaves(*SIZE, seed=3)]
    camera = synth.Camera.for_scene(scenes[0], max_radius=4)
    for model in ("layered", "gather"):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "data"
            synth.generate(scenes, out, camera=camera, samples=4, seed=SEED, model=model, shard_size=2, max_clamped=1)
            with synth.open(out) as data:
                for i in range(len(data)):
                    sample = data[i]
                    for name in ("left", "right", "combined", "all_in_focus", "defocus_map"):
                        yield f"data/{model}/{i}/{name}", np.asarray(sample[name])


def operators() -> Iterator[tuple[str, np.ndarray]]:
    """Images and adjoints of the operators on NumPy arrays."""
    H, W = SIZE
    radius = np.linspace(-5, 5, H * W).reshape(H, W)
    bank = bp.PSFBank(bp.Pupil.disk(split=0.15), max_radius=5, step=0.5)
    sigmas, supports = bp.gkm_bank(21)
    beta = np.random.default_rng(1).dirichlet(np.ones(21), (H, W)).transpose(2, 0, 1)
    all_ = {
        "DefocusBlur": bp.DefocusBlur(radius, bank=bank),
        "DualPixel": bp.DualPixel(radius, bank=bank),
        "GKM": bp.GKM(beta, sigmas=sigmas, supports=supports),
        "RKR": bp.RKR(beta[:4] / beta[:4].sum(0), atoms=np.full((3, 5), 0.2)),
        "Convolution": bp.Convolution(bp.psf.disk(9, 25), shape=(3, H, W)),
    }
    for name, A in all_.items():
        y = A(_photo(3, H, W))
        yield f"operators/{name}", y
        yield f"operators/{name}.H", A.adjoint(y)
    A = all_["DefocusBlur"]
    y = A(_photo(3, H, W))
    for name, solution in {
        "cgls": solvers.cgls(A, y, max_iterations=8),
        "hqs": solvers.hqs(A, y, prox=solvers.tv, rho=0.01, max_iterations=5),
        "fista": solvers.fista(A, y, prox=solvers.tv, strength=1e-3, max_iterations=5),
        "richardson_lucy": solvers.richardson_lucy(A, y, max_iterations=5),
    }.items():
        yield f"solvers/{name}", np.asarray(solution.x)


def networks() -> Iterator[tuple[str, np.ndarray]]:
    """Outputs of every network with weights from a formula, and of the weights that come with the package."""
    photo = _photo(3, 50, 70).astype(np.float32)
    for name in ("gkmnet", "nrknet", "kpac", "hqsnet", "defocusgan_generator"):
        torch.manual_seed(0)
        net = nets.create(name).eval()
        with torch.no_grad():
            for k, p in enumerate(net.parameters()):
                t = torch.arange(p.numel(), dtype=torch.float64)
                wave = torch.sin(0.7 * t + k) * (1.0 / max(p[0].numel() if p.ndim > 1 else p.numel(), 1)) ** 0.5
                p.copy_(wave.reshape(p.shape))
        yield f"nets/{name}", np.asarray(nets.deblur(net, photo))
    yield "nets/gkmnet-synthetic", np.asarray(nets.deblur(nets.load("gkmnet-synthetic"), photo))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-6, help="largest relative difference that passes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = dict(row for part in (operators, demo, dataset, networks) for row in part())
    if args.out:
        np.savez_compressed(args.out, **{name.replace("/", "|"): value for name, value in found.items()})
    if not args.against:
        return 0
    with np.load(args.against) as file:
        before = {name.replace("|", "/"): file[name] for name in file.files}
    worst = 0.0
    for name in sorted(before.keys() | found.keys()):
        if name not in before or name not in found:
            print(f"{name:45} only {'before' if name in before else 'now'}")
            continue
        a, b = before[name].astype(float), found[name].astype(float)
        gap = np.inf if a.shape != b.shape else np.abs(a - b).max(initial=0) / max(np.abs(a).max(initial=0), 1e-300)
        worst = max(worst, gap)
        print(f"{name:45} {'equal' if gap == 0 else f'differs by {gap:.2g}'}")
    return int(worst > args.tolerance)


if __name__ == "__main__":
    sys.exit(main())
