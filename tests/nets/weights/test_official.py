"""The authors' checkpoints: what is loaded, and what is refused."""

import base64
import importlib.util
import json
import pickle
import struct
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nets.layers.blocks import BatchNorm
from nets.net import Net
from nets.weights.npz_arrays import read_npz
from nets.weights.official import OFFICIAL_NETS, _shapes, load_official

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"

golden = pytest.mark.skipif(
    not (REFERENCE / "golden" / "formula.py").is_file(),
    reason="the authors' outputs (../shared/reference/golden) are not beside this checkout",
)

# What `numpy.savez` of Python 2.7 and NumPy 1.16 makes of an array of objects: float32 (2, 3), the same as big-endian
# float64 in Fortran order, and [0.5, -1].
PYTHON2 = base64.b64decode(
    "k05VTVBZAQB2AHsnZGVzY3InOiAnfE8nLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMywpLCB9ICAgICAgICAgICAgICAgICAg"
    "ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAqAAmNudW1weS5jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CnEB"
    "Y251bXB5Cm5kYXJyYXkKcQJLAIVVAWKHUnEDKEsBSwOFY251bXB5CmR0eXBlCnEEVQJPOEsASwGHUnEFKEsDVQF8Tk5OSv////9K/////0s/dGKJ"
    "XXEGKGgBaAJLAIVVAWKHUnEHKEsBSwJLA4ZoBFUCZjRLAEsBh1JxCChLA1UBPE5OTkr/////Sv////9LAHRiiVUYAAAAAAAAgD8AAABAAABAQAAA"
    "gEAAAKBAdGJoAWgCSwCFVQFih1JxCShLAUsCSwOGaARVAmY4SwBLAYdScQooSwNVAT5OTk5K/////0r/////SwB0YohVMAAAAAAAAAAAQAgAAAAA"
    "AAA/8AAAAAAAAEAQAAAAAAAAQAAAAAAAAABAFAAAAAAAAHRiaAFoAksAhVUBYodScQsoSwFLAoVoCIlVCAAAAD8AAIC/dGJldGIu"
)
SMALL = "defocusgan_blur"


def constant(name, *, numpy=False):
    """Arrays of the right names and shapes, each of one value of its own."""
    state = {key: torch.full(shape, 0.01 * (i % 7)) for i, (key, shape) in enumerate(_shapes(name, False).items())}
    state |= {key: torch.tensor(7) for key in state if key.endswith("num_batches_tracked")}
    return {key: tensor.numpy() for key, tensor in state.items()} if numpy else state


def equal_states(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def npz(path, *members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def npy(header, data=b""):
    """A member by hand, so that it may lie about itself."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def objects(pickled, shape=(1,)):
    return npy(f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}", pickled)


class Program:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


# What is loaded


@pytest.mark.parametrize("name", OFFICIAL_NETS)
def test_loads_every_network_by_the_names_of_its_authors(name):
    before = torch.random.get_rng_state()
    net = load_official(name, constant(name, numpy=True))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert isinstance(net, Net) and not net.training
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
    stored = sum(tensor.double().sum().item() for tensor in constant(name).values())
    assert sum(tensor.double().sum().item() for tensor in net.state_dict().values()) == pytest.approx(stored, rel=1e-6)


@pytest.mark.parametrize("name", ["gkmnet", "nrknet"])
def test_statistics_of_the_image_are_the_default(name):
    state = constant(name)
    for bn_stats, given in (("batch", {}), ("batch", {"bn_stats": "batch"}), ("running", {"bn_stats": "running"})):
        net = load_official(name, state, **given)
        layers = [module for module in net.modules() if isinstance(module, BatchNorm)]
        assert layers and all(layer.bn_stats == bn_stats for layer in layers)
        assert net.config["bn_stats"] == bn_stats
    with pytest.raises(ValueError, match="bn_stats to be one of 'running', 'batch', got 'mean'"):
        load_official(name, state, bn_stats="mean")


def test_takes_kpac_by_numbers_names_and_as_a_list():
    state = constant("kpac_2level")
    nets = [
        load_official("kpac_2level", source)
        for source in (
            state,
            list(state.values()),
            {f"param_{i:03d}": tensor.numpy() for i, tensor in reversed([*enumerate(state.values())])},
        )
    ]
    assert equal_states(nets[0], nets[1]) and equal_states(nets[0], nets[2])
    assert nets[0].merge[2].bias.unique().item() == pytest.approx(
        0.01 * ([*state].index("deblur_net/deblur/cm_2/b_conv2d") % 7)
    )


def test_takes_files_of_every_kind(tmp_path):
    state = constant(SMALL)
    expected = load_official(SMALL, state)
    box = {f"module.{key}": tensor for key, tensor in state.items()}
    torch.save(state, tmp_path / "bare.pth")
    torch.save({"epoch": 3, "state_dict": {"head": torch.zeros(1)}, "state_dict_Rs": box}, tmp_path / "boxed.pt")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "bare.safetensors")
    np.savez_compressed(tmp_path / "bare.npz", **{key: tensor.numpy() for key, tensor in state.items()})
    for name in ("bare.pth", "boxed.pt", "old.pth", "bare.safetensors", "bare.npz"):
        assert equal_states(load_official(SMALL, str(tmp_path / name)), expected), name


@pytest.mark.parametrize("kind", ["objects", "plain"])
def test_takes_the_npz_of_kpac(tmp_path, kind):
    arrays = [array.numpy() for array in constant("kpac_2level").values()]
    file = tmp_path / "single_2level.npz"
    if kind == "plain":
        np.savez(file, **{f"param_{i:03d}": array for i, array in enumerate(arrays)})
    else:
        params = np.empty(len(arrays), dtype=object)
        params[:] = arrays
        np.savez(file, params=params)
    assert equal_states(load_official("kpac_2level", file), load_official("kpac_2level", arrays))


def test_reads_what_python_2_pickled(tmp_path):
    arrays = read_npz(npz(tmp_path / "python2.npz", ("params.npy", PYTHON2)))
    assert [array.dtype for array in arrays] == [np.float32, np.float64, np.float32]
    np.testing.assert_array_equal(arrays[0], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(arrays[1], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(arrays[2], [0.5, -1.0])
    assert all(array.flags.writeable for array in arrays)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_reads_what_python_3_pickles(tmp_path, protocol):
    params = np.empty(2, dtype=object)
    params[:] = [np.asfortranarray(np.arange(12.0).reshape(3, 4)), np.ones((1, 2, 1), np.float16)]
    if protocol == 5:  # NumPy's own choice
        np.savez(tmp_path / "python3.npz", params=params)
    else:
        npz(tmp_path / "python3.npz", ("params.npy", objects(pickle.dumps(params, protocol), (2,))))
    for found, array in zip(read_npz(tmp_path / "python3.npz"), params, strict=True):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


# What is refused


def test_names_tensors_that_are_missing_superfluous_or_misshapen():
    state = constant(SMALL)
    first, second = [*state][:2]
    del state[first]
    state["surplus"] = torch.zeros(2)
    state[second] = torch.zeros(1, 1, 3, 5)
    message = (
        rf"expected the 50 tensors of DefocusGAN's blur kernels, got 1 missing: {first}; 1 superfluous: surplus; "
        rf"1 of another shape: {second} with \(1, 1, 3, 5\) for \(1, 1, 3, 3\)"
    )
    with pytest.raises(ValueError, match=message):
        load_official(SMALL, state)
    with pytest.raises(ValueError, match=r"50 missing: .*, .*, .*, .* and 46 more$"):
        load_official(SMALL, {})
    with pytest.raises(ValueError, match="58 missing: deblur.*; 58 superfluous: x, param_000, param_001"):
        load_official("kpac_2level", {"x": torch.ones(1)} | {f"param_{i:03d}": torch.ones(1) for i in range(57)})


@pytest.mark.parametrize(("name", "other"), [*pairwise([*OFFICIAL_NETS, "gkmnet"])])
def test_names_the_network_a_checkpoint_is_of(name, other):
    message = f"this is a checkpoint of {OFFICIAL_NETS[other].title}; expected {OFFICIAL_NETS[name].title}"
    with pytest.raises(ValueError, match=message):
        load_official(name, constant(other))
    if other.startswith("kpac"):
        with pytest.raises(ValueError, match=message):
            load_official(name, list(constant(other).values()))


def test_sends_our_own_files_to_the_function_that_reads_them():
    own = load_official("nrknet", constant("nrknet")).state_dict()
    with pytest.raises(ValueError, match=r"names of our own NRKNet; nets\.load reads such files"):
        load_official("nrknet", own)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: np.full(a.shape, np.nan, np.float32), ValueError, "expected finite weights, got others in weight"),
        (lambda a: a.astype(np.int32), TypeError, "to hold floats, got torch.int32"),
        (lambda a: a.astype(np.complex64), TypeError, "to be an array, got ndarray of complex64"),
        (lambda a: a.tolist(), TypeError, "to be an array, got list"),
        (lambda a: torch.from_numpy(a).to("meta"), TypeError, "to be an array, got Tensor of torch.float32"),
        (lambda a: torch.from_numpy(a).to_sparse(), TypeError, "to be an array, got Tensor of torch.float32"),
    ],
)
def test_refuses_values_that_are_no_weights(change, error, message):
    state = constant(SMALL, numpy=True)
    key = [*state][3]
    state[key] = change(state[key])
    with pytest.raises(error, match=message):
        load_official(SMALL, state)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (3, TypeError, "expected a path or a mapping of arrays, got int"),
        (b"PK", TypeError, "expected a path or a mapping of arrays, got bytes"),
        ({1: torch.zeros(1)}, TypeError, "expected names as keys"),
        ({"state_dict_Rs": {1: torch.zeros(1)}}, TypeError, "expected names as keys of 'state_dict_Rs'"),
        ({"state_dict": {}, "epoch": 1}, ValueError, "to have 'state_dict_Rs', got state_dict$"),
        ("/nowhere/else.pth", FileNotFoundError, "there is no file"),
        ("/tmp", ValueError, "got the folder"),
    ],
)
def test_refuses_sources_of_another_kind(source, error, message):
    with pytest.raises(error, match=message):
        load_official(SMALL, source)


def test_refuses_names_it_does_not_know():
    with pytest.raises(ValueError, match="expected name to be one of 'gkmnet', .*, got 'kpac'"):
        load_official("kpac", {})


def test_refuses_files_of_another_kind(tmp_path):
    for name, content, message in (
        ("weights.pkl", b"", "expected a file ending in .pth, .pt, .safetensors, .npz"),
        ("weights.safetensors", b"\x00" * 20, "no safetensors file, or a damaged one"),
        ("weights.pth", b"nothing", "could not be read as tensors alone"),
        ("weights.npz", b"nothing", "expected an npz archive, which this is not"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_official(SMALL, tmp_path / name)
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="to hold tensors by name, got list"):
        load_official(SMALL, tmp_path / "list.pth")


def test_runs_nothing_that_a_file_holds(tmp_path):
    ran = tmp_path / "ran"
    torch.save({"x": Program(ran)}, tmp_path / "program.pth")
    with pytest.raises(ValueError, match="could not be read as tensors alone, and whatever else .* is not executed"):
        load_official("gkmnet", tmp_path / "program.pth")
    with pytest.raises(ValueError, match=r"is not executed \(it asks for [\w.]+\)$") as caught:
        load_official("gkmnet", tmp_path / "program.pth")
    assert str(caught.value).isprintable() and "weights_only" not in str(caught.value)
    for protocol in range(2, 6):
        params = np.empty(1, dtype=object)
        params[0] = Program(ran)
        file = npz(tmp_path / "program.npz", ("params.npy", objects(pickle.dumps(params, protocol))))
        with pytest.raises(ValueError, match="pickle that asks for .*, of which nothing was run"):
            load_official("kpac_2level", file)
    assert not ran.exists()
    with np.load(file, allow_pickle=True) as archive:  # it would have run
        archive["params"]
    assert ran.exists()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
FLOAT = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
OBJECT = FLOAT.replace(b"f4", b"O8").replace(b"U\x01<", b"U\x01|").replace(b"K\x00tb", b"K?tb")


def pickled(*items):
    """An array of objects, its items by hand."""
    return (
        b"\x80\x02"
        + ARRAY
        + b"(K\x01K"
        + bytes([len(items)])
        + b"\x85"
        + OBJECT
        + b"\x89]("
        + b"".join(items)
        + b"etb."
    )


def pickled_array(shape=b"K\x01K\x02\x86", dtype=FLOAT, data=b"U\x08" + bytes(8), version=b"K\x01"):
    return ARRAY + b"(" + version + shape + dtype + b"\x89" + data + b"tb"


def test_the_pickles_made_here_are_those_of_numpy(tmp_path):
    expected = pickle.loads(pickled(pickled_array(), pickled_array()), encoding="latin1")
    found = read_npz(
        npz(tmp_path / "good.npz", ("params.npy", objects(pickled(pickled_array(), pickled_array()), (2,))))
    )
    assert len(found) == 2
    np.testing.assert_array_equal(np.stack(found), np.stack(list(expected)))


BOMB = b"(]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)) + b"t"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (pickled(pickled_array(shape=b"J\xff\xff\xff\x7fK\x02\x86")), "8 bytes for an array of shape .2147483647, 2"),
        (pickled(pickled_array(shape=b"J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86")), "it is cut or damaged"),
        (pickled(pickled_array(shape=b"K\x00K\x02\x86", data=b"U\x00")), "0 bytes for an array of shape"),
        (pickled(pickled_array(shape=BOMB)), "an array whose shape is none"),
        (pickled(pickled_array(shape=b"(" + 9 * b"K\x01" + b"t", data=b"U\x04" + bytes(4))), "whose shape is none"),
        (pickled(pickled_array(dtype=FLOAT.replace(b"f4", b"i4"))), "an array of type 'i4', not of floats"),
        (pickled(pickled_array(dtype=FLOAT.replace(b"f4", b"O8"))), "without a list of them"),
        (pickled(pickled_array(dtype=FLOAT.replace(b"U\x01<", BOMB))), "a byte order that is none"),
        (pickled(pickled_array(dtype=b"N")), "an array of no type"),
        (pickled(pickled_array(data=b"N")), "whose content is not bytes"),
        (pickled(pickled_array(data=b"X\x03\x00\x00\x00\xe2\x82\xac")), "damaged or no list of arrays"),
        (pickled(pickled_array(dtype=OBJECT, data=b"]")), "not all arrays of floats"),
        (pickled(pickled_array() + b"Nb"), "gives a state to something else than a new array"),
        (pickled(ARRAY), "not all arrays of floats"),
        (pickled(b"K\x01"), "not all arrays of floats"),
        (pickled(BOMB), "not all arrays of floats"),
        (pickled(b"\x80\x04" + BOMB + b"U\x01x\x93"), "a name that is no text"),
        (pickled(pickled_array(), pickled_array()), "says it holds 1 objects, and holds 2"),
        (pickled(pickled_array()) + b".", "goes on after the end of its pickle"),
        (pickled(pickled_array())[:-1], "cut or damaged"),
        (b"\x80\x02" + 100_002 * b"N" + b".", "more than 100000 instructions"),
        (b"\x80\x02K\x01.", "something else than an array of objects"),
        (b"\x80\x02}.", "the instruction EMPTY_DICT, which arrays do not need"),
        (b"\x80\x02t.", "damaged or no list of arrays"),
        (b"\x80\x02N\x85\x85\x85R.", "damaged or no list of arrays"),
        (b"\x80\x02cnumpy\nndarray\nNR.", "calls something else than"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "calls NumPy in another way"),
        (b"\x80\x02U\x0c_reconstruct)R.", "calls something else than"),
        (b"\x80\x02ccodecs\nencode\n.", "asks for codecs.encode, of which nothing was run"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.", "cut or damaged"),
        (b"\x80\x02\x8b\xff\xff\xff\x7fabc.", "cut or damaged"),
    ],
)
def test_refuses_pickles_that_are_no_arrays(tmp_path, program, message):
    with pytest.raises(ValueError, match=message):
        read_npz(npz(tmp_path / "bad.npz", ("params.npy", objects(program))))


FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "holds no arrays"),
        ([("readme.txt", b"")], "'readme.txt', which is no array"),
        ([("x.npy", b"")], "whose header is no array's"),
        ([("x.npy", npy("__import__('os')"))], "whose header is no array's"),
        ([("x.npy", npy("(" * 60))], "whose header is no array's|archive, which this is not"),
        (
            [("x.npy", npy(FLOATS % "(1000000, 1000000)", bytes(8)))],
            r"holds 8 bytes for an array of shape \(1000000, 1",
        ),
        ([("x.npy", npy(FLOATS % "(-2, -1)", bytes(8)))], "cut or damaged"),
        ([("x.npy", npy(FLOATS % "(3,)", bytes(8)))], "cut or damaged"),
        ([("x.npy", npy((FLOATS % "(2,)").replace("<f4", "<U1"), bytes(8)))], "not of numbers"),
        ([("x.npy", npy((FLOATS % "(1,)").replace("'<f4'", "[('a', 'O')]"), bytes(8)))], "not of numbers or arrays"),
        ([("x.npy", PYTHON2), ("y.npy", PYTHON2)], "a single array of objects, got 2"),
    ],
)
def test_refuses_archives_that_are_no_arrays(tmp_path, members, message):
    with pytest.raises(ValueError, match=message):
        read_npz(npz(tmp_path / "bad.npz", *members))


def test_refuses_archives_that_unpack_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("nets.weights.npz_arrays.MAX_BYTES", 1 << 20)
    file = tmp_path / "large.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 20))
        archive.writestr("y.npy", b"!")
    assert file.stat().st_size < 1 << 14
    with pytest.raises(ValueError, match="1048577 bytes, which is more than the 1048576 read here"):
        read_npz(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", b"")
    with pytest.raises(ValueError, match="compressed in a way that NumPy does not write"):
        read_npz(file)


def test_files_cut_or_damaged_anywhere_are_refused_in_a_sentence(tmp_path):
    file = tmp_path / "damaged.npz"
    for end in range(0, len(PYTHON2), 2):
        with pytest.raises(ValueError, match="expected an npz archive of arrays of floats"):
            read_npz(npz(file, ("params.npy", PYTHON2[:end])))
    whole = npz(file, ("params.npy", PYTHON2)).read_bytes()
    for end in range(0, len(whole) - 1, 13):
        file.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="expected an npz archive"):
            read_npz(file)
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(250):
        damaged = bytearray(PYTHON2)
        for at in rng.integers(len(damaged), size=2):
            damaged[at] = rng.integers(256)
        try:
            arrays = read_npz(npz(file, ("params.npy", bytes(damaged))))
            assert len(arrays) == 3 and sum(array.size for array in arrays) == 14
        except ValueError:
            refused += 1
    assert 50 < refused < 250


# Outputs of the authors' code through this door


@pytest.fixture(scope="module")
def formula():
    spec = importlib.util.spec_from_file_location("formula", REFERENCE / "golden" / "formula.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weights(formula, name):
    net, _, part = name.partition("_")
    entries = json.loads((REFERENCE / f"{net}_official_keys.json").read_text())
    parts = {"map": "coc_estimator_f", "blur": "reblur_g", "discriminator": "patch_discriminator"}
    return formula.state_dict(entries[parts.get(part, part)] if part else entries, 1, numbered=net == "kpac")


def close(found, file, array, *, tolerance=2e-5):
    with np.load(REFERENCE / "golden" / f"{file}.npz") as stored:
        expected = stored[array]
    found = found.numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@golden
@pytest.mark.parametrize("bn_stats", ["running", "batch"])
@torch.no_grad()
def test_gkmnet_reproduces_the_authors(formula, bn_stats):
    y = formula.image(1, (1, 3, 64, 80), "gkmnet_y")
    images = [y, formula.half(y), formula.half(formula.half(y))]
    found = load_official("gkmnet", weights(formula, "gkmnet"), bn_stats=bn_stats).scales(
        tuple(torch.from_numpy(image) for image in images)
    )
    for size, image in zip(("full", "half", "quarter"), found, strict=True):
        close(image, "gkmnet", f"{bn_stats}_out_{size}")


@golden
@pytest.mark.parametrize("bn_stats", ["running", "batch"])
@torch.no_grad()
def test_nrknet_reproduces_the_authors(formula, bn_stats):
    x = torch.from_numpy(formula.image(1, (1, 3, 64, 80), "nrknet_x")).flip(1)
    net = load_official("nrknet", weights(formula, "nrknet"), bn_stats=bn_stats)
    close(net(x).flip(1), "nrknet", f"{bn_stats}_test_out")


@golden
@pytest.mark.parametrize("name", ["kpac_2level", "kpac_3level", "kpac_dual"])
@torch.no_grad()
def test_kpac_reproduces_the_authors(formula, name):
    letters = "clr" if name == "kpac_dual" else "c"
    images = [torch.from_numpy(formula.image(1, (1, 3, 64, 72), f"kpac_{letter}")) for letter in letters]
    found = load_official(name, list(weights(formula, name).values()))(*images)
    close((2 * found - 1).permute(0, 2, 3, 1), name, "out")


@golden
@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("defocusgan_generator", "G_free"),
        ("defocusgan_generator", "G_guided_n5000"),
        ("defocusgan_map", "f"),
        ("defocusgan_blur", "g"),
        ("defocusgan_discriminator", "D"),
    ],
)
@torch.no_grad()
def test_defocusgan_reproduces_the_authors(formula, name, array):
    def image(what, channels=3):
        return torch.from_numpy(formula.image(1, (1, channels, 64, 80), f"defocusgan_{what}"))

    inputs = {
        "G_free": (),
        "G_guided_n5000": (20 * image("guide", 1) - 10, float(np.exp(-0.25))),
        "f": (image("right").flip(1),),
        "g": ((54 * image("coc") - 27).clamp(-24, 24).flip(1),),
        "D": (),
    }[array]
    found = load_official(name, weights(formula, name))(image("x").flip(1), *inputs)
    close(found.flip(1) if found.shape[1] == 3 else found, "defocusgan", array)
