"""How far colours and layout carry on the sample data: python benchmarks/sample_baseline.py, about 10 s on 2 cores."""

import json
import tempfile
from pathlib import Path

from carcls.demo.sample import write_sample
from carcls.demo.sample_baseline import thumbnail_baseline

TARGET = 0.40


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cars"
        write_sample(root, train_per_class=100, test_per_class=30)
        score = thumbnail_baseline(root)
    print(f"logistic regression on 16x16 thumbnails: {score:.3f} of the test cars; chance is 0.100")
    print(json.dumps({"name": "sample-thumbnail-floor", "ours": score, "target": TARGET, "holds": score < TARGET}))


if __name__ == "__main__":
    main()
