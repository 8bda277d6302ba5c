"""Dense matrices of every operator, written from the definitions with plain loops in float64.

Nothing here imports `blurphys`, and NumPy only stores the numbers. Slow on purpose: use images of at most 9x11.
A matrix acts on the flattened image: pixel (c, m, n) of a (C, H, W) image is entry (c * H + m) * W + n.
"""

import math

import numpy as np

BOUNDARIES = ("reflect", "symmetric", "replicate", "circular", "zero")


def extension_limit(n, boundary):
    """Pixels that an axis of length n may be extended by; None stands for any number."""
    return {"reflect": n - 1, "symmetric": n}.get(boundary)


def source_index(i, n, boundary):
    """Index inside 0..n-1 that supplies position i of the extended axis, or None where a zero stands."""
    if boundary == "zero":
        return i if 0 <= i < n else None
    if boundary == "replicate":
        return 0 if i < 0 else n - 1 if i > n - 1 else i
    if boundary == "reflect" and n == 1:
        return 0
    while i < 0 or i > n - 1:
        if boundary == "circular":
            i = i + n if i < 0 else i - n
        elif boundary == "reflect":  # ... 2 1 | 0 1 2 | 1 0 ...
            i = -i if i < 0 else 2 * (n - 1) - i
        elif boundary == "symmetric":  # ... 1 0 | 0 1 2 | 2 1 ...
            i = -1 - i if i < 0 else 2 * n - 1 - i
        else:
            raise AssertionError(boundary)
    return i


def taps_of(psf, height, width, boundary):
    """Table [m][n] of (source row, source column, weight): (h * x)[m,n] = sum_ij h[i,j] x[m-(i-ci), n-(j-cj)]."""
    size_h, size_w = len(psf), len(psf[0])
    centre_h, centre_w = size_h // 2, size_w // 2
    rows = [[source_index(m - (i - centre_h), height, boundary) for i in range(size_h)] for m in range(height)]
    columns = [[source_index(n - (j - centre_w), width, boundary) for j in range(size_w)] for n in range(width)]
    values = [[float(v) for v in row] for row in psf]
    return [
        [
            [
                (row, column, values[i][j])
                for i, row in enumerate(rows[m])
                if row is not None
                for j, column in enumerate(columns[n])
                if column is not None
            ]
            for n in range(width)
        ]
        for m in range(height)
    ]


def per_colour(kernels, channels):
    """kernels[k] (h, w) shared by the colours, or kernels[k][c] (h, w): always returned as [c][k]."""
    if np.ndim(kernels[0]) == 2:
        return [[k for k in kernels] for _ in range(channels)]
    return [[k[c] for k in kernels] for c in range(channels)]


def mixture(kernels, maps, boundary, *, mix=None, form="gather"):
    """Matrix of y_o = sum_i sum_k mix[o,i,k] map_k . (h_ik * x_i); scatter: h_ik * (map_k . x_i).

    kernels[c][k] is a 2-D array, maps (K, H, W), mix (C_out, C_in, K) or None for colour by colour.
    """
    channels, count = len(kernels), len(kernels[0])
    maps = np.asarray(maps, dtype=np.float64).tolist()
    height, width = len(maps[0]), len(maps[0][0])
    outputs = channels if mix is None else len(mix)
    matrix = [[0.0] * (channels * height * width) for _ in range(outputs * height * width)]
    for i in range(channels):
        for k in range(count):
            taps = taps_of(kernels[i][k], height, width, boundary)
            gains = [float(o == i) if mix is None else float(mix[o][i][k]) for o in range(outputs)]
            for m in range(height):
                for n in range(width):
                    for row, column, value in taps[m][n]:
                        weight = maps[k][m][n] if form == "gather" else maps[k][row][column]
                        for o in range(outputs):
                            if gains[o]:
                                line = matrix[(o * height + m) * width + n]
                                line[(i * height + row) * width + column] += gains[o] * weight * value
    return np.array(matrix)


def gaussian_taps(sigma, support):
    """Point-sampled exp(-t^2 / 2 sigma^2), cut to an odd support, divided by its sum; sigma 0 is the Dirac."""
    reach = support // 2
    values = [
        (1.0 if t == 0 else 0.0) if sigma == 0 else math.exp(-t * t / (2.0 * sigma * sigma))
        for t in range(-reach, reach + 1)
    ]
    total = sum(values)
    return [v / total for v in values]


def outer(a, b):
    """Separable kernel a b^T, a down the rows."""
    return np.array([[u * v for v in b] for u in a], dtype=np.float64)


def default_support(sigma):
    """Odd support 2 ceil(3 sigma) + 1."""
    return 2 * math.ceil(3.0 * sigma) + 1


def gkm(beta, sigmas, supports, channels, boundary, mix=None):
    """Matrix of GKM for one (K, H, W) map; sigmas (K,) or (C, K), supports (K,) or (C, K)."""

    def at(table, c, k):
        return table[c][k] if np.ndim(table) == 2 else table[k]

    count = len(beta)
    kernels = []
    for c in range(channels):
        kernels.append([])
        for k in range(count):
            sigma = float(at(sigmas, c, k))
            support = default_support(sigma) if supports is None else int(at(supports, c, k))
            line = gaussian_taps(sigma, support)
            kernels[c].append(outer(line, line))
    return mixture(kernels, beta, boundary, mix=mix)


def symmetric(beta, taps, supports, channels, boundary, mix=None):
    """Matrix of SymmetricMixture for one (K, H, W) map; one-sided taps (K, h + 1) or (C, K, h + 1), cut to supports."""
    kernels = []
    for c in range(channels):
        kernels.append([])
        for k in range(len(beta)):
            side = taps[c][k] if np.ndim(taps) == 3 else taps[k]
            half = int(supports[k]) // 2
            line = [float(side[abs(t)]) for t in range(-half, half + 1)]
            kernels[c].append(outer(line, line))
    return mixture(kernels, beta, boundary, mix=mix)


def full_convolution(a, b):
    """Every product of two kernels: support h_a + h_b - 1 (odd sizes keep their centre)."""
    out = np.zeros((len(a) + len(b) - 1, len(a[0]) + len(b[0]) - 1))
    for i in range(len(a)):
        for j in range(len(a[0])):
            for p in range(len(b)):
                for q in range(len(b[0])):
                    out[i + p, j + q] += float(a[i][j]) * float(b[p][q])
    return out


def recursive_kernels(atoms, channels):
    """[c][j]: A_1 = Dirac, A_j = A_(j-1) * (a_j a_j^T) with atoms (J-1, t) or (J-1, C, t)."""
    kernels = []
    for c in range(channels):
        chain = [np.ones((1, 1))]
        for atom in atoms:
            line = [float(v) for v in (atom[c] if np.ndim(atom) == 2 else atom)]
            chain.append(full_convolution(chain[-1], outer(line, line)))
        kernels.append(chain)
    return kernels


def rkr(gamma, atoms, channels, boundary, mix=None):
    """Matrix of RKR on the extended plane: the composed kernels act on the image extended once."""
    return mixture(recursive_kernels(atoms, channels), gamma, boundary, mix=mix)


def rkr_stagewise(gamma, atoms, channels, boundary, mix=None):
    """Matrix of RKR that extends anew before every atom, found by pushing unit images through the stages."""
    count, height, width = np.shape(gamma)
    outputs = channels if mix is None else len(mix)
    matrix = np.zeros((outputs * height * width, channels * height * width))
    for i in range(channels):
        stages = []
        for atom in atoms:
            line = [float(v) for v in (atom[i] if np.ndim(atom) == 2 else atom)]
            stages.append(taps_of(outer(line, line), height, width, boundary))
        for row in range(height):
            for column in range(width):
                image = [[float(m == row and n == column) for n in range(width)] for m in range(height)]
                for k in range(count):
                    if k:
                        taps = stages[k - 1]
                        image = [
                            [sum(v * image[p][q] for p, q, v in taps[m][n]) for n in range(width)]
                            for m in range(height)
                        ]
                    for o in range(outputs):
                        gain = float(o == i) if mix is None else float(mix[o][i][k])
                        for m in range(height):
                            for n in range(width):
                                entry = (o * height + m) * width + n, (i * height + row) * width + column
                                matrix[entry] += gain * float(gamma[k][m][n]) * image[m][n]
    return matrix


def psf_stack(psfs, weights, channels, boundary, form="gather"):
    """Matrix of PSFStack; psfs (L, h, w) or (L, C, h, w), weights (L, H, W)."""
    return mixture(per_colour(psfs, channels), weights, boundary, form=form)


def convolution(psf, shape, boundary):
    """Matrix of Convolution; psf (h, w) or (C, h, w)."""
    channels, height, width = shape
    return mixture(per_colour([psf], channels), np.ones((1, height, width)), boundary)


def pixel_kernels(kernel_at, channels, height, width, boundary):
    """Matrix of the gather operator whose output pixel (c, m, n) owns the PSF kernel_at(c, m, n)."""
    size = channels * height * width
    matrix = [[0.0] * size for _ in range(size)]
    for c in range(channels):
        for m in range(height):
            for n in range(width):
                psf = kernel_at(c, m, n)
                line = matrix[(c * height + m) * width + n]
                rows = [source_index(m - (i - len(psf) // 2), height, boundary) for i in range(len(psf))]
                columns = [source_index(n - (j - len(psf[0]) // 2), width, boundary) for j in range(len(psf[0]))]
                for i, row in enumerate(rows):
                    for j, column in enumerate(columns):
                        if row is not None and column is not None:
                            line[(c * height + row) * width + column] += psf[i][j]
    return np.array(matrix)


def pixel_psf(psfs, channels, boundary):
    """Matrix of PixelPSF; psfs (H, W, h, w)."""
    table = np.asarray(psfs, dtype=np.float64).tolist()
    return pixel_kernels(lambda c, m, n: table[m][n], channels, len(table), len(table[0]), boundary)


def interpolated_psf(c, psfs, radii):
    """(1 - f) h_i + f h_(i+1) for the levels r_i <= c <= r_(i+1)."""
    for i in range(len(radii) - 1):
        if radii[i] <= c <= radii[i + 1]:
            f = (c - radii[i]) / (radii[i + 1] - radii[i])
            low, high = psfs[i], psfs[i + 1]
            return [[(1.0 - f) * low[p][q] + f * high[p][q] for q in range(len(low[0]))] for p in range(len(low))]
    raise AssertionError(f"{c} lies outside {radii}")


def defocus_blur(defocus_map, psfs, radii, channels, boundary):
    """Matrix of DefocusBlur; defocus_map (H, W), psfs (L, h, w) or (L, C, h, w)."""

    coloured = np.ndim(psfs) == 4
    table = np.asarray(psfs, dtype=np.float64).tolist()

    def kernel_at(c, m, n):
        levels = [level[c] for level in table] if coloured else table
        return interpolated_psf(float(defocus_map[m][n]), levels, radii)

    return pixel_kernels(kernel_at, channels, len(defocus_map), len(defocus_map[0]), boundary)


def dual_pixel(defocus_map, views, radii, channels, boundary):
    """Matrix of DualPixel: the views one below the other; views is a list of PSF levels."""
    return np.concatenate([defocus_blur(defocus_map, psfs, radii, channels, boundary) for psfs in views])


def hat(node, count, line, size, nodes):
    """Weight of a node of a grid at a line of the frame."""
    if count == 1:
        return 1.0
    place = line * (count - 1) / max(size - 1, 1) if nodes == "corners" else (line + 0.5) * count / size - 0.5
    return max(0.0, 1.0 - abs(min(max(place, 0.0), count - 1.0) - node))


def field_defocus(defocus_map, psfs, radii, channels, boundary, nodes):
    """Matrix of FieldDefocus, sum_g diag(w_g) A_g; psfs[i][j] are the views of the node (i, j)."""
    height, width = np.shape(defocus_map)
    total = 0.0
    for i, row in enumerate(psfs):
        for j, views in enumerate(row):
            down = [hat(i, len(psfs), m, height, nodes) for m in range(height)]
            right = [hat(j, len(row), n, width, nodes) for n in range(width)]
            weight = np.tile(np.outer(down, right).ravel(), len(views) * channels)
            total = total + weight[:, None] * dual_pixel(defocus_map, views, radii, channels, boundary)
    return total


def layered(alphas, views, radii, levels, channels, boundary, *, per_layer, normalize):
    """Matrix of LayeredDefocus, layer k with the PSF of radii[k]; views is a list of PSFs at the radii `levels`."""
    count, height, width = np.shape(alphas)
    size = height * width
    blocks = []
    for psfs in views:
        rows = []
        for c in range(channels):
            share, parts = [1.0] * size, []
            for k in range(count):
                colour = [level[c] if np.ndim(psfs) == 4 else level for level in psfs]
                blur = convolution(interpolated_psf(radii[k], colour, levels), (1, height, width), boundary)
                alpha = np.reshape(alphas[k], -1)
                parts.append([[share[p] * blur[p][q] * alpha[q] for q in range(size)] for p in range(size)])
                share = [share[p] * (1.0 - sum(blur[p][q] * alpha[q] for q in range(size))) for p in range(size)]
            for part in parts:
                for p in range(size):
                    cover = 1.0 - share[p]
                    part[p] = [v / cover if cover > 1e-12 else 0.0 for v in part[p]] if normalize else part[p]
            block = np.zeros((size, (count if per_layer else 1) * channels * size))
            for k in range(count):
                first = ((k if per_layer else 0) * channels + c) * size
                block[:, first : first + size] += np.array(parts[k])
            rows.append(block)
        blocks.append(np.concatenate(rows))
    return np.concatenate(blocks)


def butterworth_filter(radius, order, cutoff, floor, view):
    """The published dual-pixel *filter array* (to be correlated) at an integer radius, step by step.

    The impulse response is this array rotated by 180 degrees.
    """
    size = 2 * radius + 1
    grid = [[(i - radius) ** 2 + (j - radius) ** 2 for j in range(size)] for i in range(size)]
    edge = (cutoff * radius) ** 2
    ring = [[0.0 if s == 0 else 1.0 / (1.0 + (edge / s) ** order) for s in row] for row in grid]
    low, high = min(map(min, ring)), max(map(max, ring))  # the corners of the square count
    ring = [[floor + (1.0 - floor) * (v - low) / (high - low) for v in row] for row in ring]
    ring = [[v if s <= radius**2 else 0.0 for v, s in zip(a, b, strict=True)] for a, b in zip(ring, grid, strict=True)]
    window = round(size / 7) + 1
    window += 1 - window % 2
    sigma = 0.3 * ((window - 1) / 2 - 1) + 0.8
    pad = (window - 1) // 2
    full = size + 2 * pad
    padded = [[0.0] * full for _ in range(full)]
    for i in range(size):
        for j in range(size):
            padded[i + pad][j + pad] = ring[i][j]
    line = gaussian_taps(sigma, window)

    def smooth(rows):
        return [
            [sum(line[t] * row[source_index(n + t - pad, full, "reflect")] for t in range(window)) for n in range(full)]
            for row in rows
        ]

    half = smooth(padded)
    blurred = np.array(smooth([list(column) for column in zip(*half, strict=True)])).T
    ramp = [j / (full - 1) for j in range(full)]
    left = np.array([[v * r for v, r in zip(row, ramp, strict=True)] for row in blurred])
    array = {"combined": blurred, "left": left, "right": left[::-1, ::-1]}[view]
    return array / array.sum()


def disk_coverage(radius, size, samples=64):
    """Fraction of every pixel that lies in a disk, columns of each pixel integrated exactly, rows by midpoints."""
    out = np.zeros((size, size))
    centre = size // 2
    for i in range(size):
        for j in range(size):
            total = 0.0
            for s in range(samples):
                y = i - centre - 0.5 + (s + 0.5) / samples
                half = math.sqrt(max(radius * radius - y * y, 0.0))
                total += max(0.0, min(j - centre + 0.5, half) - max(j - centre - 0.5, -half))
            out[i, j] = total / samples
    return out


def moments(psf):
    """Sum, centroid (x, y) and central variances (x, y) in px about index size // 2."""
    total = sx = sy = 0.0
    height, width = len(psf), len(psf[0])
    for i in range(height):
        for j in range(width):
            value = float(psf[i][j])
            total += value
            sx += value * (j - width // 2)
            sy += value * (i - height // 2)
    cx, cy = sx / total, sy / total
    vx = vy = 0.0
    for i in range(height):
        for j in range(width):
            vx += float(psf[i][j]) * (j - width // 2 - cx) ** 2
            vy += float(psf[i][j]) * (i - height // 2 - cy) ** 2
    return total, (cx, cy), (vx / total, vy / total)
