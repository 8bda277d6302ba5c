"""The names of networks, in `nets.create`, files of weights and on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from blurphys.importing import import_object, names_code

from .net import Net

__all__ = ["NETS", "create", "nearest", "net_class"]

NETS: dict[str, str] = {
    "gkmnet": "nets.models.gkmnet.gkmnet:GKMNet",
    "nrknet": "nets.models.nrknet.nrknet:NRKNet",
    "kpac": "nets.models.kpac.kpac:KPACNet",
    "hqsnet": "nets.models.hqsnet.hqsnet:HQSNet",
    "blurmap": "nets.models.blurmap.blur_map_net:BlurMapNet",
    "defocusgan_generator": "nets.models.defocus_gan.generator:DefocusGenerator",
    "defocusgan_map": "nets.models.defocus_gan.map_net:DefocusMapNet",
    "defocusgan_blur": "nets.models.defocus_gan.blur_kernel:LearnableBlurKernel",
    "defocusgan_discriminator": "nets.models.defocus_gan.discriminator:PatchDiscriminator",
}
"""Name to ``module:Class``; a module is imported when one of its networks is created. Your own networks can be added:
``NETS["mine"] = "my_package.my_module:MyNet"``."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the nearest known word, if any, and the list of known words.

    Examples
    --------
    >>> nearest("gkm-net", ["gkmnet", "kpac"])
    "did you mean 'gkmnet'? There are gkmnet, kpac"
    """
    words = list(known)
    close = get_close_matches(word.lower(), words, n=1, cutoff=0.5)
    listed = f"there are {', '.join(words)}" if words else "there are none"
    return f"did you mean {close[0]!r}? T{listed[1:]}" if close else listed


def net_class(name: str) -> type[Net]:
    """Return the class of a network.

    Parameters
    ----------
    name : str
        A key of `NETS`, or ``module:Class`` for a network of your own.

    Returns
    -------
    type

    Raises
    ------
    ValueError
        There is no such network; the message has the nearest name and the list.
    TypeError
        The entry of `NETS` is not a `Net` of that name, or ``module:Class`` is not a `Net`.
    """
    if isinstance(name, str) and name not in NETS and names_code(name):
        own = import_object(name, "my_nets:MyNet")
        if not (isinstance(own, type) and issubclass(own, Net)):
            raise TypeError(f"{name}: expected a subclass of nets.Net, got {own!r}; docs/networks.md has an example")
        return own
    if not isinstance(name, str) or name not in NETS:
        raise ValueError(f"no network is called {name!r}; {nearest(str(name), NETS)}")
    module, _, attribute = NETS[name].partition(":")
    found = getattr(import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, Net) and getattr(found, "name", None) == name):
        raise TypeError(f"NETS[{name!r}]: expected a subclass of Net whose name is {name!r}, got {found!r}")
    return found


def create(name: str, **config: Any) -> Net:
    """Build a network with fresh weights.

    Parameters
    ----------
    name : str
        A key of `NETS`, or ``module:Class`` for a subclass of `Net` of your own; the current folder is searched first.
    **config
        Arguments of its class.

    Returns
    -------
    Net

    Raises
    ------
    ValueError
        There is no such network, it has no such argument, or it refuses a value.

    Examples
    --------
    >>> create("gmknet")
    Traceback (most recent call last):
    ...
    ValueError: no network is called 'gmknet'; did you mean 'gkmnet'? There are gkmnet, nrknet, kpac, hqsnet, ...
    """
    cls = net_class(name)
    known = inspect.signature(cls).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()):
        for key in config:
            if key not in known:
                raise ValueError(f"{name} has no argument {key!r}; {nearest(key, known)}")
    return cls(**config)
