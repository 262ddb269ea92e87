"""The smallest real search: drawn cars, a narrow MobileNet at 32 px, stages of one epoch."""

from pathlib import Path

from carcls.demo.sample import write_sample

EXPERIMENT = """\
name: tiny
data: {root: data, validation: {fraction: 0.25, seed: 0}}
train:
  backbone: MobileNet
  alpha: 0.25
  weights: none
  image_size: 32
  batch_size: 8
  head: {dropout: {uniform: [0.0, 0.5]}}
  augment: {policy: light, views: 2}
  stages:
    - {name: head, unfreeze: 0.0, epochs: 2, learning_rate: {loguniform: [1e-3, 1e-2]}}
    - {name: top, unfreeze: 0.1, epochs: 1, learning_rate: 1e-3}
search:
  trials: 4
  deterministic: true
  max_concurrent: 1
  scheduler: {kind: asha, reduction_factor: 3}
  resources: {cpus_per_trial: 1, gpus_per_trial: 0}
retrain:
  stages: {top: {epochs: 2}}
tta: {views: [plain, flip]}
"""

FIXED = (
    EXPERIMENT.replace("{uniform: [0.0, 0.5]}", "0.25")
    .replace("{loguniform: [1e-3, 1e-2]}", "1e-3")
    .replace("  stages: {top: {epochs: 2}}\n", "  gpus: 1\n")
)
"""The same without domains and without changes for the final training, for `carsearch train`."""

CLASSES = 3
TRAIN_PER_CLASS = 12
TEST_PER_CLASS = 2
VALIDATION_PHOTOS = 9
STAGES = 2


def write_tiny(folder: Path, text: str = EXPERIMENT, *, test_per_class: int = TEST_PER_CLASS) -> Path:
    """Writes photos to `folder`/data and the experiment file beside them; returns the file's path."""
    write_sample(folder / "data", classes=CLASSES, train_per_class=TRAIN_PER_CLASS, test_per_class=test_per_class)
    file = folder / "tiny.yaml"
    file.write_text(text, encoding="utf-8")
    return file
