"""Weights that this project trained on drawn cars. README.md says how, and describes the file."""

from pathlib import Path

PATH = Path(__file__).with_name("mobilenet_v2_0.35_96.npz")
"""MobileNetV2, alpha 0.35, trained at 96 px, without the top."""
