"""Networks by name, with torchvision's parameter names where torchvision has them.

create_model("resnet20", num_classes=10, rng=rng)       for CIFAR, the paper's section 4.2
create_model("resnet18", num_classes=1000, rng=rng)     for ImageNet
"""

from minidl.models import densenet, mobilenet, resnet, vgg
from minidl.models.count import count
from minidl.models.registry import create_model, model_info, model_names, register

__all__ = ["count", "create_model", "densenet", "mobilenet", "model_info", "model_names", "register", "resnet", "vgg"]
