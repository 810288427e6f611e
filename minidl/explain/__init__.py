"""Looking into trained networks: what they look at, how far they see, and how their priors moved."""

from minidl.explain.field import ReceptiveField, receptive_field
from minidl.explain.gradcam import GradCam, default_layer, grad_cam
from minidl.explain.predict import Prediction, predict
from minidl.explain.resize import bilinear

__all__ = [
    "GradCam",
    "Prediction",
    "ReceptiveField",
    "bilinear",
    "default_layer",
    "grad_cam",
    "predict",
    "receptive_field",
]
