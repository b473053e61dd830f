"""What a study works on, loaded or looked up before it starts, so that whatever is missing shows before any work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from trainables.configs import ImageConfig
from trainables.data.image_input import check_bound
from trainables.data.images import ImageData, known_classes, load_images
from trainables.data.transforms import recipe
from trainables.models.vision import load_backbone

C = TypeVar("C", bound=ImageConfig)


@dataclass(frozen=True)
class Materials:
    """Number of classes, and hashes of data and weights where these were loaded.

    Attributes:
        notices: what a user should know before anything starts, one line each.
    """

    classes: int
    data_hash: str | None = None
    weights_hash: str | None = None
    notices: tuple[str, ...] = ()


def image_materials(configs: Sequence[C], load: bool, check: Callable[[C, ImageData], None] | None = None) -> Materials:
    """Images and a vision backbone, the same for all ``configs``.

    Args:
        load: decode the images (or find them in the cache) and load the weights; False loads images only where their
            number of classes is not known otherwise, and weights never.
        check: what can be said of a configuration only when the data are known; raises InputError.

    Raises:
        InputError: data or weights cannot be had, or a configuration does not fit them.
    """
    first = configs[0]
    backbone = load_backbone(first.backbone, pretrained=load)
    for config in configs:
        check_bound(config, recipe(config.data, config.dataset, backbone.size, backbone.scaling))
    classes = None if load else known_classes(first.dataset, first.data)
    if classes is not None:
        return Materials(classes)
    data = load_images(first.dataset, first.data, backbone.size)
    if check:
        for config in configs:
            check(config, data)
    return Materials(data.classes, data.content_hash, backbone.weights_hash)
