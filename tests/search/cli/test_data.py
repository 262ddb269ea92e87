"""The commands `carsearch data check` and `data unpack`."""

import io
import zipfile
from pathlib import Path

import pytest

from carcls.demo.sample import write_sample
from search.cli.app import main

FIXED = """\
name: x
data: {root: cars, validation: {fraction: 0.34}}
train:
  {backbone: MobileNet, alpha: 0.25, weights: none, image_size: 32, batch_size: 16,
   stages: [{name: head, unfreeze: 0.0, epochs: 1, learning_rate: 0.003}]}
"""


@pytest.fixture
def carsearch(tmp_path, monkeypatch, capsys):
    """carsearch(arguments...) in this process and an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["carsearch", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        told = capsys.readouterr()
        code = exited.value.code
        return (code if isinstance(code, int) else 0), told.out, told.err

    return call


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def listing(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def test_check_reports_and_writes_nothing_into_the_data_folder(carsearch, tmp_path):
    write_sample(tmp_path / "cars", train_per_class=4, test_per_class=1, classes=3)
    before = listing(tmp_path / "cars")
    code, out, err = carsearch("data", "check", "cars", "--image-size", "96")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "12 photos to train on, 3 classes; 3 to predict"
    assert lines[1:5] == [
        "  class  photos  validation",
        "  0           4           1",
        "  1           4           1",
        "  2           4           1",
    ]
    assert "split: 9 to train, 3 to validate: data.validation.fraction=0.25" in lines
    assert f"pixel store: {(12 * 96 * 96 * 3 + 128) / 1e3:.1f} kB at 96 px" in lines
    assert "copies and look-alikes: none" in lines
    assert "unusable: none" in lines
    assert lines[-1] == "lists and contact sheet: data-check-cars"
    assert "warning: 3 of 3 classes have under 10 photos to validate on: 0, 1, 2" in err.splitlines()
    assert listing(tmp_path / "cars") == before
    written = {"classes.csv", "duplicates.csv", "unusable.csv", "contact_sheet.png"}
    assert listing(tmp_path / "data-check-cars") == written


def test_check_counts_extra_photos_and_lists_those_left_out(carsearch, tmp_path):
    write_sample(tmp_path / "cars", train_per_class=4, test_per_class=1, classes=3)
    write_sample(tmp_path / "more", train_per_class=5, test_per_class=1, classes=3, seed=7)
    original = next((tmp_path / "cars" / "train" / "1").iterdir())
    (tmp_path / "more" / "train" / "1" / "twin.jpg").write_bytes(original.read_bytes())
    with (tmp_path / "more" / "train.csv").open("a", encoding="utf-8") as rows:
        rows.write("twin.jpg,1\n")
    code, out, err = carsearch("data", "check", "cars", "--extra", "more")
    assert code == 0, err
    assert "extra: 15 photos of 3 classes for the final training; 1 left out" in out.splitlines()
    listed = (tmp_path / "data-check-cars" / "unusable.csv").read_text(encoding="utf-8")
    assert f"more/train/1/twin.jpg,looks like train/1/{original.name}, which may be validated" in listed.replace(
        '"', ""
    )

    write_sample(tmp_path / "other", train_per_class=1, test_per_class=1, classes=4, seed=7)
    code, _, err = carsearch("data", "check", "cars", "--extra", "other")
    assert code == 2
    assert "other (data.extra): no such classes in cars: 3; expected 0, 1, 2." in err


def test_extra_photos_below_the_data_folder_are_not_listed_as_photos_without_rows(carsearch, tmp_path):
    for folder, seed in (("cars", 0), ("cars/extra", 7)):
        write_sample(tmp_path / folder, train_per_class=4, test_per_class=1, classes=2, seed=seed)
    code, out, err = carsearch("data", "check", "cars", "--extra", "cars/extra")
    assert code == 0, err
    assert "extra: 8 photos of 2 classes for the final training; 0 left out" in out.splitlines()
    assert "unusable: none" in out.splitlines()
    code, out, _ = carsearch("data", "check", "cars")
    assert "extra,no row of train.csv names a photo in it" in (tmp_path / "data-check-cars/unusable.csv").read_text()


def test_the_report_is_a_page_with_photos_of_every_class(carsearch, tmp_path):
    write_sample(tmp_path / "cars", train_per_class=6, test_per_class=1, classes=2)
    code, out, _ = carsearch("data", "report", "cars", "--output", "out")
    assert code == 0
    assert out.splitlines()[-2:] == ["report: out/report.html", "lists and contact sheet: out"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') >= 12
    assert page.count('<img src="data:image/png;base64,') == 4, "one picture for each policy but none"
    assert "0: 6 photos" in page
    assert "script-src &#39;sha256-" in page or "script-src 'sha256-" in page


def test_long_lists_are_cut_with_a_count_and_whole_in_the_file(carsearch, tmp_path):
    write_sample(tmp_path / "cars", train_per_class=15, test_per_class=1, classes=2)
    for photo in list((tmp_path / "cars" / "train" / "0").iterdir())[:13]:
        photo.write_bytes(b"no photo")
    code, out, err = carsearch("data", "check", "cars", "--output", "out")
    assert code == 0
    lines = out.splitlines()
    start = lines.index("unusable: 13")
    assert lines[start + 11] == "  and 3 more"
    assert all(line.startswith("  train/0/") for line in lines[start + 1 : start + 11])
    assert len((tmp_path / "out" / "unusable.csv").read_text().splitlines()) == 14
    assert "warning: 13 photos, rows or classes cannot be used as they are" in err


def test_check_without_photos_counts_rows_and_exits_2(carsearch, tmp_path):
    (tmp_path / "cars").mkdir()
    (tmp_path / "cars" / "train.csv").write_text("Id,Category\n1.jpg,0\n2.jpg,10\n3.jpg,2\n4.jpg,10\n")
    code, out, err = carsearch("data", "check", "cars")
    assert code == 2
    assert out.splitlines() == [
        "4 photos named, 3 classes; no photo was opened",
        "  0   1",
        "  2   1",
        "  10  2",
    ]
    assert err.startswith("carsearch: cars: nothing can be trained: ")
    assert len(err.splitlines()) == 1


def test_check_of_one_class_reports_it_and_exits_2(carsearch, tmp_path):
    write_sample(tmp_path / "cars", train_per_class=4, test_per_class=1, classes=1)
    code, out, err = carsearch("data", "check", "cars")
    assert code == 2
    assert out.startswith("4 photos to train on, 1 classes")
    assert "nothing can be trained: every usable photo is of the class '0'" in err


def test_check_of_no_data_folder_exits_2(carsearch):
    code, out, err = carsearch("data", "check", "absent")
    assert (code, out) == (2, "")
    assert err.startswith("carsearch: ")
    assert "absent" in err


@pytest.mark.parametrize(("row", "told"), [(",0.5", "found 3"), (",", "found 3")])
def test_check_and_train_refuse_a_sample_that_submit_could_not_follow(carsearch, tmp_path, row, told):
    write_sample(tmp_path / "cars", train_per_class=4, test_per_class=1, classes=2)
    sample = tmp_path / "cars" / "sample-submission.csv"
    sample.write_text("".join(f"{line}{row}\n" for line in sample.read_text().splitlines()))
    code, out, err = carsearch("data", "check", "cars")
    assert code == 2
    assert out.startswith("8 photos to train on, 2 classes")
    assert err.splitlines()[-1].startswith("carsearch: cars/sample-submission.csv:1: expected 2 columns")
    assert told in err
    (tmp_path / "e.yaml").write_text(FIXED)
    code, out, err = carsearch("train", "e.yaml")
    assert (code, out) == (2, "")
    assert "sample-submission.csv:1: expected 2 columns" in err
    assert not (tmp_path / "results" / "x").exists()


@pytest.mark.parametrize("command", ["check", "report"])
def test_columns_and_files_may_be_named_by_options(carsearch, tmp_path, command):
    write_sample(tmp_path / "made", train_per_class=2, test_per_class=1, classes=2)
    photos = sorted((tmp_path / "made" / "train").rglob("*.jpg"))
    for number, photo in enumerate(photos):
        photo.rename(tmp_path / "made" / f"{number}.jpg")
    (tmp_path / "made" / "train.csv").unlink()
    (tmp_path / "made" / "meta.csv").write_text("n,what,kind\n0,x,a\n1,x,a\n2,x,b\n3,x,b\n")
    code, _, err = carsearch("data", command, "made")
    assert (code, "meta.csv (set data.labels to read labels from it)" in err) == (2, True)
    options = (
        "--labels",
        "made/meta.csv",
        "--path-column",
        "n",
        "--label-column",
        "kind",
        "--test",
        "made/test_upload",
    )
    code, out, err = carsearch("data", command, "made", *options, "--extension", "jpg")
    assert code == 0, err
    assert out.startswith("4 photos to train on, 2 classes; 2 to predict\n")
    assert "  a           2           1" in out.splitlines()


def test_check_names_the_folder_that_is_validated_on(carsearch, tmp_path):
    write_sample(tmp_path / "cars", train_per_class=3, test_per_class=1, classes=2)
    (tmp_path / "cars" / "train.csv").unlink()
    for name in ("0", "1"):
        (tmp_path / "cars" / "val" / name).mkdir(parents=True)
        photo = min((tmp_path / "cars" / "train" / name).iterdir())
        (tmp_path / "cars" / "val" / name / photo.name).write_bytes(photo.read_bytes())
        photo = max((tmp_path / "cars" / "train" / name).iterdir())
        photo.rename(tmp_path / "cars" / "val" / name / photo.name)
    code, out, err = carsearch("data", "check", "cars")
    assert code == 0, err
    assert "split: 6 to train, 2 to validate: those in val, regardless of data.validation" in out.splitlines()
    assert (
        "warning: 2 of 4 photos in val are copies of training photos, or the only ones of their class; they stay"
        " in training"
    ) in err.splitlines()


def test_unpack_then_check_the_contests_archives(carsearch, tmp_path):
    write_sample(tmp_path / "made", train_per_class=3, test_per_class=1, classes=2)
    files = {
        path.relative_to(tmp_path / "made").as_posix(): path.read_bytes() for path in (tmp_path / "made").rglob("*.jpg")
    }
    for name, folder in (("train", "train/"), ("test", "test_upload/")):
        inside = {path.removeprefix(folder): content for path, content in files.items() if path.startswith(folder)}
        (tmp_path / f"{name}.zip").write_bytes(zipped(inside))
    code, out, err = carsearch("data", "unpack", "train.zip", "test.zip", "cars")
    assert (code, err) == (0, "")
    assert out.startswith("unpacked: 8 files, ")
    assert {name for name in listing(tmp_path / "cars") if name.endswith(".jpg")} == set(files)
    assert carsearch("data", "unpack", "train.zip", "test.zip", "cars")[1].startswith("unpacked: 0 files, 8 were there")
    assert carsearch("data", "check", "cars")[1].startswith("6 photos to train on, 2 classes; 2 to predict")


def test_unpack_refuses_in_one_line(carsearch, tmp_path):
    (tmp_path / "bad.zip").write_bytes(zipped({"../evil": b"x"}))
    code, out, err = carsearch("data", "unpack", "bad.zip", "cars")
    assert (code, out) == (2, "")
    assert err == (
        "carsearch: bad.zip: rejected because of its entry '../evil': a name with '..', which would leave the folder;"
        " nothing was unpacked\n"
    )
    assert listing(tmp_path) == {"bad.zip"}


def test_unpack_tells_how_names_were_read_and_takes_a_code_page(carsearch, tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"XXXX": b"1"}).replace(b"XXXX", "Нива".encode("cp1251")))
    code, _, err = carsearch("data", "unpack", "a.zip", "one")
    assert (code, listing(tmp_path / "one")) == (0, {"Нива"})
    assert (
        err == "warning: a.zip: file names are read as cp1251, such as 'Нива'; set another encoding with --encoding\n"
    )
    code, _, err = carsearch("data", "unpack", "a.zip", "two", "--encoding", "cp1252")
    assert (code, err, listing(tmp_path / "two")) == (0, "", {"Íèâà"})
    code, _, err = carsearch("data", "unpack", "a.zip", "three", "--encoding", "rot13")
    assert (code, "not a code page that Python knows" in err) == (2, True)


def test_unpack_needs_a_folder(carsearch):
    code, _, err = carsearch("data", "unpack", "bad.zip")
    assert code == 2
    assert "then the folder to unpack to" in err


def test_check_shows_own_groups_and_the_own_split(carsearch, tmp_path):
    write_sample(tmp_path / "cars", train_per_class=6, test_per_class=1, classes=2)
    header, *rows = (tmp_path / "cars" / "train.csv").read_text().splitlines()
    parts = ["train", "train", "train", "val", "val", "holdout"] * 2
    table = [f"{row},seller {n // 3},{part}" for n, (row, part) in enumerate(zip(rows, parts, strict=True))]
    (tmp_path / "cars" / "train.csv").write_text("\n".join([f"{header},who,part", *table]) + "\n")
    code, out, err = carsearch("data", "check", "cars", "--split-column", "part")
    assert code == 0, err
    lines = out.splitlines()
    told = "split: 6 to train, 4 to validate: those in the CSV file's column, regardless of data.validation"
    assert f"{told}; 2 in your holdout" in lines
    code, out, err = carsearch("data", "check", "cars", "--group-column", "who")
    assert code == 0, err
    assert "groups: 4 of two photos or more, the largest of 3; each stays on one side" in out.splitlines()
    code, out, err = carsearch("data", "check", "cars", "--group-column", "who", "--split-column", "part")
    assert code == 2
    assert "train.csv line 7: " in err
    assert "data.group_column (who)" in err
