"""Four trials and their report, and what a browser would read of a page."""

import json
from html.parser import HTMLParser

from search.policy.records import TrialState
from search.report import report_data
from tests.helpers.search.trial_builders import climb, trial

EVIL = "<script>alert('&')</script>\x00$\\frac{1}$\u202e\udcff"
SCORES = json.loads("""{
  "best_epoch": 3, "best_stage": "full", "image_size": 160, "validation_photos": 100, "plain_accuracy": 0.95,
  "plain_log_loss": 0.1712, "plain_correct": 95, "tta_accuracy": 0.96, "tta_log_loss": 0.1533,
  "tta_interval": [0.004, 0.031], "tta_views": ["plain", "flip"], "seconds": 1234.0, "device": "CPU", "trial": 1
}""")

EFFICIENCY = {
    "parameters": 20_881_970, "model_bytes": 83_900_000, "peak_memory_bytes": 2_140_000_000, "batch_size": 16,
    "plain_s_per_photo": 0.0124, "views_s_per_photo": 0.0256,
    "stages": [{"name": "head", "image_size_px": 448, "epochs": 5, "trainable_parameters": 20_490, "seconds": 7384.0,
                "images_per_s": 118.6}],
}  # fmt: skip

BASELINE = trial(0, TrialState.COMPLETE, climb([0.5], [0.625], [0.75]), params={"train.rate": 0.5})
BEST = trial(1, TrialState.COMPLETE, climb([0.25, 0.5], [0.375], [0.8125]), params={"train.rate": 0.25, "train.b": 1})
PRUNED = trial(2, TrialState.PRUNED, climb([0.875]), params={"train.rate": 0.125})
LOST = trial(3, TrialState.FAIL, climb([0.9])[:1], cause="loss is NaN", infeasible=True)
RECORDS = (BASELINE, BEST, PRUNED, LOST)


def data(records=RECORDS, **changes):
    values = {"name": "cars", "experiment_text": "name: cars", "validation_photos": 100} | changes
    return report_data(records=records, **values)


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would parse them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.texts.append(data)
