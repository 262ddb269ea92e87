"""Addresses of databases: checked, and never with a password in them or in a message."""

from pathlib import Path

import pytest

from search.errors import ExperimentError
from search.experiment.changes import RESUMABLE, refusal
from search.experiment.database_url import checked_url, without_passwords
from search.experiment.experiment import load

RECIPE = """\
name: small
data: {root: photos}
train:
  backbone: MobileNet
  weights: none
  image_size: 96
  batch_size: {choice: [8, 16]}
  head: {dropout: 0.5}
  augment: {policy: light}
  stages:
    - {name: head, unfreeze: 0.0, epochs: 2, learning_rate: 1e-3}
"""
SECRET = "x9-k/T@q"  # noqa: S105 - in no address that is accepted


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://searcher@db:5433/cars",
        "postgres:///cars",
        "postgresql://one:5432,two:5433/cars?target_session_attrs=read-write&sslmode=verify-full",
        "postgresql:///?service=cars",
    ],
)
def test_addresses_are_kept_as_given(url: str, file: Path) -> None:
    assert checked_url(url) == url
    assert load(file, [f"storage={url}"]).storage == url
    assert load(file).storage is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"postgresql://me:{SECRET}@db/cars", "holds a password"),
        (f"postgresql://db/cars?user=me&password={SECRET}", "holds a password"),
        (f"postgresql://db/cars?sslPassword={SECRET}", "holds a password"),
        ("postgresql://me:@db/cars", "holds a password"),
        (f"mysql://me:{SECRET}@db/cars", "expected postgresql://USER@HOST/DATABASE"),
        (f"postgresql+psycopg://me:{SECRET}@db/cars", "expected postgresql://USER@HOST/DATABASE"),
        (f"host=db password={SECRET}", "expected postgresql://USER@HOST/DATABASE"),
        ("postgresql://[db/cars", "no valid address"),
        ("postgresql:cars", "expected postgresql://USER@HOST/DATABASE"),
        ("postgresql://db/cars\u0007", "without blanks and control characters"),
    ],
)
def test_refusals_do_not_repeat_the_secret(url: str, message: str, file: Path) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        checked_url(url)
    assert SECRET not in str(refused.value)
    file.write_text(RECIPE + f"storage: {url!r}\n".replace("\\x07", "x x"), encoding="utf-8")
    with pytest.raises(ExperimentError, match=message) as invalid:
        load(file)
    assert SECRET not in str(invalid.value)


def test_overrides_are_quoted_without_the_secret(file: Path) -> None:
    override = f"storage=postgresql://me:{SECRET}@db/cars"
    with pytest.raises(ExperimentError, match="holds a password") as invalid:
        load(file, [override])
    assert "--set storage=postgresql://me:***@db/cars" in str(invalid.value)
    assert SECRET not in str(invalid.value)
    refused = refusal(override, RESUMABLE)
    assert refused is not None
    assert refused.startswith("--set storage=postgresql://me:***@db/cars: storage cannot change")


def test_texts_without_passwords_stay() -> None:
    for text in ("storage=postgresql://me@db/cars", "data.root=/a:b@c", "search.trials=8"):
        assert without_passwords(text) == text
    assert without_passwords(f"postgresql://db/cars?password={SECRET}&x=1") == "postgresql://db/cars?password=***&x=1"
