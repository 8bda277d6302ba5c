"""The costs published in the papers, our own counts, and which of them can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .summaries import Summary

__all__ = ["COST_RULES", "PUBLISHED", "Published", "by_rule"]

CANON = (1120, 1680)
HD = (720, 1280)

COST_RULES: Mapping[str, str] = {
    "gkmnet": "multiply-accumulates by hooks on modules: the Gaussian bank, a functional call, is left out, transposed "
    "convolutions count fourfold, and normalisation layers, left out here, add 0.5 %",
    "gkmnet/2": "the GKMNet figure by the same hooks, halved",
    "nrknet": "multiply-accumulates by hooks on modules, transposed convolutions fourfold, and all halved",
    "kpac": "twice the multiply-accumulates, without the transposed convolutions",
    "hqs": "454.04 (P + 1) GFLOP: P + 1 applications of B and of its adjoint as two ungrouped dense 21 x 21 "
    "convolutions, and nothing else",
    "rkr": "multiply-accumulates of the blur operators alone, but not counted alike in all four rows: NonAdaptive is "
    "nine times the taps of its dense kernels at every pixel",
}
"""How the published cost columns were obtained, as far as their numbers can be reproduced. Columns of different rules
cannot be compared, and none of them is the cost of the network's convolutions."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of a table in a paper.

    Attributes
    ----------
    title : str
    source : str
        Paper and table.
    net : str or None
        Key of `nets.NETS`, or None where no network of ours is this.
    config : dict
        Its arguments.
    millions : float or None
        Parameters as printed, in millions.
    parameters : int or None
        As counted from the authors' code or the paper's description.
    cost : float or None
        As printed, in billions.
    unit : str
        Of the cost, as the paper calls it.
    size : (int, int) or None
        Height and width the cost is for, px.
    rule : str or None
        Key of `COST_RULES`.
    scope : str
        What the parameters are of.
    """

    title: str
    source: str
    net: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    millions: float | None = None
    parameters: int | None = None
    cost: float | None = None
    unit: str = ""
    size: tuple[int, int] | None = None
    rule: str | None = None
    scope: str = "network"


def _gkmnet(title: str, millions: float, parameters: int, cost: float, **config: Any) -> Published:
    return Published(
        title=title,
        source="GKMNet, NeurIPS 2021, tables 4 and 5",
        net="gkmnet",
        config=config,
        millions=millions,
        parameters=parameters,
        cost=cost,
        unit="GFLOP",
        size=CANON,
        rule="gkmnet",
    )


def _hqs(steps: int, cost: float) -> Published:
    return Published(
        title=f"HQS + CG, P = {steps}",
        source="GKMNet, NeurIPS 2021, supplement, table 2",
        net="hqsnet",
        config={"iterations": steps},
        millions=3.26,
        cost=cost,
        unit="GFLOP",
        size=CANON,
        rule="hqs",
    )


def _kpac(
    title: str, table: str, millions: float, parameters: int, cost: float | None = None, **config: Any
) -> Published:
    return Published(
        title=title,
        source=f"KPAC, ICCV 2021, table {table}",
        net="kpac",
        config=config,
        millions=millions,
        parameters=parameters,
        cost=cost,
        unit="" if cost is None else "GFLOP",
        size=None if cost is None else HD,
        rule=None if cost is None else "kpac",
    )


def _nrknet(title: str, parameters: int, **config: Any) -> Published:
    source = "NRKNet, CVPR 2023, table 4 and text; no counts are published"
    return Published(title=title, source=source, net="nrknet", config=config, parameters=parameters)


def _rkr(title: str, parameters: float, cost: float, **config: Any) -> Published:
    return Published(
        title=title,
        source="NRKNet, CVPR 2023, table 3",
        net="nrknet",
        config=config,
        millions=parameters / 1e6,
        cost=cost,
        unit="GMAC",
        size=HD,
        rule="rkr",
        scope="kernels",
    )


def _other(title: str, source: str, millions: float, cost: float | None, unit: str, size: tuple[int, int]) -> Published:
    return Published(title=title, source=source, millions=millions, cost=cost, unit=unit, size=size)


_T1, _KPAC5, _NRK1 = "GKMNet, NeurIPS 2021, table 1", "KPAC, ICCV 2021, table 5", "NRKNet, CVPR 2023, table 1"

PUBLISHED: tuple[Published, ...] = (
    # GKMNet and its variants
    _gkmnet("GKMNet", 1.41, 1_409_131, 603.5),
    Published(
        title="GKMNet as the paper's text has it",
        source="GKMNet, NeurIPS 2021, section 3.3",
        net="gkmnet",
        config={"preset": "paper"},
        parameters=1_384_923,
    ),
    _gkmnet("GKMNet(1)", 1.41, 1_409_131, 459.7, scales=1),
    _gkmnet("GKMNet without ConvLSTM", 1.11, 1_109_799, 418.7, recurrent="conv"),
    _gkmnet("SRAM*", 1.41, 1_409_731, 606.1, attention_only=True),
    _gkmnet("learned GCM (GKM)", 1.41, 1_412_672, 603.5, bank="gaussian"),
    _gkmnet("learned GCM (Rand)", 1.41, 1_412_672, 603.5, bank="random"),
    _gkmnet("GKMNet S=1, R=3", 1.41, 1_409_995, 1384.2, scales=1, iterations=3),
    _gkmnet("GKMNet S=2, R=3", 4.22, 4_229_985, 1730.3, scales=2, iterations=3, shared=False),
    _gkmnet("GKMNet S=3, R=2", 2.81, 2_819_990, 1211.2, iterations=2, shared=False),
    Published(
        title="GKMNet",
        source=_NRK1,
        net="gkmnet",
        millions=1.4,
        parameters=1_409_131,
        cost=148,
        unit="GMAC",
        size=HD,
        rule="gkmnet/2",
    ),
    # HQS + CG
    _hqs(10, 4994.3),
    _hqs(15, 7264.5),
    _hqs(20, 9534.7),
    _hqs(25, 11804.9),
    # NRKNet and its variants
    Published(
        title="NRKNet",
        source=_NRK1,
        net="nrknet",
        millions=6.1,
        parameters=6_094_107,
        cost=553,
        unit="GMAC",
        size=HD,
        rule="nrknet",
    ),
    _nrknet("NRKNet, 20 atoms", 6_082_810, atoms=20),
    _nrknet("NRKNet, 15 atoms", 6_029_325, atoms=15),
    _nrknet("NRKNet, 18 atoms", 6_060_816, atoms=18),
    _nrknet("NRKNet, 22 atoms", 6_105_604, atoms=22),
    _nrknet("NRKNet, 25 atoms", 6_141_295, atoms=25),
    _nrknet("NRKNet, full expansion", 6_094_107, expansion="full"),
    _nrknet("NRKNet, 2 scales", 6_094_107, scales=2),
    _nrknet("NRKNet, 4 scales", 6_094_107, scales=4),
    _nrknet("NRKNet without LSTM, as in the code", 5_940_063, recurrent="conv"),
    _nrknet("NRKNet without LSTM, deeper instead", 6_087_519, recurrent="none"),
    _rkr("RKR", 60, 1.60),
    _rkr("RKR, NonRecursive", 440, 2.03, kernels="separable"),
    _rkr("RKR, NonSeparable", 12_340, 12.99, kernels="full"),
    _rkr("RKR, NonAdaptive", 9261, 76.81, kernels="gaussian"),
    # KPAC and its variants
    _kpac("KPAC, 2 levels", "5", 1.58, 1_578_277, 358, levels=2),
    _kpac("KPAC, 3 levels", "5", 2.06, 2_057_893, 197, levels=3),
    Published(
        title="KPAC, dual-pixel",
        source="KPAC, released code",
        net="kpac",
        config={"levels": 3, "dual": True},
        parameters=2_061_493,
    ),
    _kpac("KPAC, 1 block", "3", 1.05, 1_047_188, levels=2, blocks=1),
    _kpac("KPAC, 2 blocks", "3", 1.58, 1_578_277, levels=2),
    _kpac("KPAC, 3 blocks", "3", 2.11, 2_109_366, levels=2, blocks=3),
    _kpac("KPAC, 4 blocks", "3", 2.64, 2_640_455, levels=2, blocks=4),
    _kpac("KPAC without weight sharing", "1", 2.50, 2_499_877, levels=2, shared=False),
    _kpac("KPAC, atrous only", "2", 1.33, 1_327_299, levels=2, scale_attention=False, shape_attention=False),
    _kpac("KPAC, shape attention", "2", 1.33, 1_330_875, levels=2, scale_attention=False),
    _kpac("KPAC, scale attention", "2", 1.58, 1_574_701, levels=2, shape_attention=False),
    _kpac("KPAC, plain residual blocks", "2", 2.26, 2_259_939, levels=2, plain=True),
    # DefocusGAN: no cost is published
    Published(
        title="DefocusGAN, generator",
        source="DefocusGAN, table 1",
        net="defocusgan_generator",
        millions=4.59,
        parameters=4_934_531,
    ),
    Published(title="DefocusGAN, map network", source="DefocusGAN, code", net="defocusgan_map", parameters=3_306_755),
    Published(title="DefocusGAN, blur kernels", source="DefocusGAN, code", net="defocusgan_blur", parameters=55_730),
    Published(
        title="DefocusGAN, discriminator",
        source="DefocusGAN, code",
        net="defocusgan_discriminator",
        parameters=2_764_737,
    ),
    # what the papers compare with
    _other("DMENet", _T1, 26.94, None, "GFLOP", CANON),
    _other("DPDNet-S", _T1, 32.25, 4042.5, "GFLOP", CANON),
    _other("DPDNet-D", _T1, 32.25, 4048.6, "GFLOP", CANON),
    _other("SRN", _T1, 10.25, 3117.6, "GFLOP", CANON),
    _other("AttNet", _T1, 6.91, 3450.4, "GFLOP", CANON),
    _other("DPDNet single", _KPAC5, 32.25, 1980, "GFLOP", HD),
    _other("DPDNet dual", _KPAC5, 32.25, 1983, "GFLOP", HD),
    _other("DPDNet-S", _NRK1, 32.3, 485, "GMAC", HD),
    _other("AIFNet", _NRK1, 41.6, 985, "GMAC", HD),
    _other("MDP", _NRK1, 46.9, 1081, "GMAC", HD),
    _other("KPAC", _NRK1, 2.1, 197, "GMAC", HD),
    _other("IFANet", _NRK1, 10.5, 363, "GMAC", HD),
    _other("DRBNet", _NRK1, 11.7, 347, "GMAC", HD),
    _other("DPDNet single", "DefocusGAN, table 1", 35.25, None, "GMAC", CANON),
    _other("IFAN", "DefocusGAN, table 1", 10.48, None, "GMAC", CANON),
    _other("MDPNet", "DefocusGAN, table 1", 46.86, None, "GMAC", CANON),
)
"""Every figure of parameters or cost in the papers of the four networks. Of the kernels alone ours are fewer: one side
is stored where they are symmetric (NonRecursive), and nothing where they are fixed Gaussians."""


def by_rule(rule: str, cost: Summary) -> float | None:
    """Return the cost of a network by the rule of a published column, in billions, or None where counts do not give it.

    Parameters
    ----------
    rule : str
        A key of `COST_RULES`.
    cost : Summary
        Of the network at the size of the column.

    Returns
    -------
    float or None
    """
    hooks = (cost.layers + cost.mix + 3 * cost.transposed) / 1e9
    values = {
        "gkmnet": hooks,
        "gkmnet/2": hooks / 2,
        "nrknet": hooks / 2,
        "kpac": 2 * (cost.layers - cost.transposed) / 1e9,
    }
    return values.get(rule)
