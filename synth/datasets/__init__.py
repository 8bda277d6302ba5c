"""Published datasets, read from their original folders, as torch-style map datasets without torch.

::

    test = synth.datasets.DPDD("data/dd_dp_dataset_canon", split="test", views=("left", "right"))
    sample = test[0]  # {"all_in_focus": ..., "left": ..., "right": ...}, each (3, H, W) float32
    print(test.names[0], test.files(0)["left"])

Arrays have the names they have everywhere in `synth`: what the lens recorded is ``combined``, its dual-pixel views are
``left`` and ``right``, and the sharp photograph is ``all_in_focus``. Images are handed out as they are stored, that is
sRGB-encoded, because the papers measure on encoded values; ``linear=True`` gives linear light. Nothing is downloaded.
`Pairs` reads any other blurred and sharp pictures that are matched by their names.
"""

from ._folders import FolderDataset
from .deblurring import DPDD, LFDOF, RTF, PixelDP, RealDOF
from .estimation import CUHK, SYNDOF
from .pairs import Pairs

__all__ = ["CUHK", "DPDD", "LFDOF", "RTF", "SYNDOF", "FolderDataset", "Pairs", "PixelDP", "RealDOF"]
__dir__ = __all__.copy  # what completion offers
