"""The lecture's own architectures: a catalog that costs nothing to import, and `build`, which makes one of them.

No torch here: names, titles and citations serve `rfcalc list`, completion and error messages. A factory is imported
when its model is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CATALOG", "Entry", "build"]


@dataclass(frozen=True)
class Entry:
    """One architecture: what to call it, who published it, and how to make it."""

    name: str
    title: str
    paper: str
    year: int
    input_shape: tuple[int, ...]
    """Channels, height, width, as published; no batch."""
    factory: str
    """`package.module:function`."""
    kwargs: Mapping[str, object] = field(default_factory=dict, hash=False)


_LENET = (
    "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-Based Learning Applied to Document Recognition. "
    "Proceedings of the IEEE 86(11), 1998"
)
_ALEXNET = (
    "A. Krizhevsky, I. Sutskever, G. E. Hinton. ImageNet Classification with Deep Convolutional Neural Networks. "
    "NIPS 2012"
)
_WEIRD_TRICK = "A. Krizhevsky. One weird trick for parallelizing convolutional neural networks. 2014. arXiv:1404.5997"
_VGG = (
    "K. Simonyan, A. Zisserman. Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015. "
    "arXiv:1409.1556"
)
_BATCH_NORM = (
    "S. Ioffe, C. Szegedy. Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate "
    "Shift. ICML 2015. arXiv:1502.03167"
)
_GOOGLENET = "C. Szegedy et al. Going Deeper with Convolutions. CVPR 2015. arXiv:1409.4842"
_INCEPTION_V3 = (
    "C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna. Rethinking the Inception Architecture for Computer "
    "Vision. CVPR 2016. arXiv:1512.00567"
)
_RESNET = "K. He, X. Zhang, S. Ren, J. Sun. Deep Residual Learning for Image Recognition. CVPR 2016. arXiv:1512.03385"

_IMAGENET = (3, 224, 224)
_INCEPTION_3A = (192, 28, 28)


def _vgg(depth: int, letter: str) -> tuple[Entry, Entry]:
    title = f"VGG{depth} (configuration {letter})"
    factory = f"rfcalc.zoo.vgg:vgg{depth}"
    return (
        Entry(f"vgg{depth}", title, _VGG, 2014, _IMAGENET, factory),
        Entry(
            f"vgg{depth}-bn",
            f"{title}, batch normalization after every convolution",
            f"{_VGG}; {_BATCH_NORM}",
            2015,
            _IMAGENET,
            factory,
            {"batch_norm": True},
        ),
    )


def _resnet(depth: int, title: str) -> Entry:
    return Entry(f"resnet{depth}", title, _RESNET, 2015, _IMAGENET, f"rfcalc.zoo.resnet:resnet{depth}")


def _resnet_v1(depth: int) -> Entry:
    title = f"ResNet-{depth} as published: the stride is on the first 1x1"
    factory = f"rfcalc.zoo.resnet:resnet{depth}"
    return Entry(f"resnet{depth}-v1", title, _RESNET, 2015, _IMAGENET, factory, {"stride_on_1x1": True})


_ENTRIES = (
    Entry("lenet5", "LeNet-5, C3 fully connected, pooling without parameters", _LENET, 1998, (1, 32, 32),
          "rfcalc.zoo.lenet:lenet5"),
    Entry("alexnet", "AlexNet, two towers as on two GPUs", _ALEXNET, 2012, (3, 227, 227),
          "rfcalc.zoo.alexnet:alexnet"),
    Entry("alexnet-single", "AlexNet, single tower (torchvision's)", _WEIRD_TRICK, 2014, _IMAGENET,
          "rfcalc.zoo.alexnet:alexnet_single"),
    *_vgg(11, "A"),
    *_vgg(13, "B"),
    *_vgg(16, "D"),
    *_vgg(19, "E"),
    Entry("googlenet", "GoogLeNet (Inception v1), without auxiliary heads", _GOOGLENET, 2014, _IMAGENET,
          "rfcalc.zoo.googlenet:googlenet"),
    Entry("googlenet-aux", "GoogLeNet (Inception v1) with its two auxiliary heads", _GOOGLENET, 2014, _IMAGENET,
          "rfcalc.zoo.googlenet:googlenet", {"aux": True}),
    Entry("inception-naive", "Inception module, naive version (figure 2a), at inception3a", _GOOGLENET, 2014,
          _INCEPTION_3A, "rfcalc.zoo.googlenet:inception_naive"),
    Entry("inception-reduced", "Inception module with 1x1 reductions (figure 2b), at inception3a", _GOOGLENET, 2014,
          _INCEPTION_3A, "rfcalc.zoo.googlenet:inception_reduced"),
    Entry("inception_v3", "Inception V3, without auxiliary head", _INCEPTION_V3, 2015, (3, 299, 299),
          "rfcalc.zoo.inception_v3:inception_v3"),
    Entry("inception_v3-aux", "Inception V3 with its auxiliary head", _INCEPTION_V3, 2015, (3, 299, 299),
          "rfcalc.zoo.inception_v3:inception_v3", {"aux": True}),
    Entry("plain18", "ResNet-18 without its shortcuts", _RESNET, 2015, _IMAGENET, "rfcalc.zoo.resnet:plain18"),
    Entry("plain34", "ResNet-34 without its shortcuts", _RESNET, 2015, _IMAGENET, "rfcalc.zoo.resnet:plain34"),
    _resnet(18, "ResNet-18"),
    _resnet(34, "ResNet-34"),
    _resnet(50, "ResNet-50 v1.5: the stride is on the 3x3"),
    _resnet(101, "ResNet-101 v1.5: the stride is on the 3x3"),
    _resnet(152, "ResNet-152 v1.5: the stride is on the 3x3"),
    _resnet_v1(50),
    _resnet_v1(101),
    _resnet_v1(152),
)  # fmt: skip

CATALOG: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Every architecture by its name, oldest family first."""


def build(name: str) -> nn.Module:
    """Make the model called `name`, with torch's default initialisation, in eval mode, on the current default device.

    Raises:
        KeyError: no such name in `CATALOG`.
    """
    entry = CATALOG[name]
    module, function = entry.factory.split(":")
    model: nn.Module = getattr(import_module(module), function)(**entry.kwargs)
    return model.eval()
