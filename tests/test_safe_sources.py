"""Nothing in our sources runs what a file says: read from their syntax, so that comments and texts do not count."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("carcls", "search") for path in (ROOT / package).rglob("*.py"))

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "imp", "code"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__",
    "os.system", "os.popen",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load",
    "tarfile.TarFile.extractall", "shutil.unpack_archive",
    "keras.config.enable_unsafe_deserialization",
}  # fmt: skip
FORBIDDEN_ARGUMENTS = {("allow_pickle", True), ("safe_mode", False), ("shell", True), ("typ", "unsafe")}

OWN_SOCKETS = {"carcls/input/feeder.py", "carcls/input/batch_worker.py"}
"""They pickle what trainer and worker say to each other: two processes of ours, over a socket pair that nobody else
can open. Nothing of it comes from a file or over a network."""


def findings(tree: ast.AST) -> Iterator[str]:
    """What a source names that could run a stranger's code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.partition(".")[0] in FORBIDDEN_MODULES:
                yield node.module
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in FORBIDDEN_CALLS or name.endswith((".extractall", ".extract")):
                yield f"{name}()"
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, value) in FORBIDDEN_ARGUMENTS:
                    yield f"{keyword.arg}={value!r}"


def test_no_source_runs_what_a_file_says() -> None:
    found = {
        str(path.relative_to(ROOT)): sorted(set(findings(ast.parse(path.read_text(encoding="utf-8")))))
        for path in SOURCES
    }
    assert len(found) > 100
    assert {path: names for path, names in found.items() if names} == {path: ["pickle"] for path in sorted(OWN_SOCKETS)}


def test_models_and_arrays_are_loaded_in_safe_mode() -> None:
    """The defaults of NumPy and Keras are safe today; ours do not lean on them."""
    loads = {
        ("np.load", "allow_pickle"): False,
        ("np.lib.format.read_array", "allow_pickle"): False,
        ("keras.saving.load_model", "safe_mode"): True,
        ("keras.saving.deserialize_keras_object", "safe_mode"): True,
    }
    seen = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for (name, argument), wanted in loads.items():
                if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                    told = {one.arg: ast.unparse(one.value) for one in node.keywords}
                    assert told.get(argument) == str(wanted), f"{path}:{node.lineno}"
                    seen.add(name)
    assert {"np.lib.format.read_array", "keras.saving.deserialize_keras_object"} <= seen


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle as p", ["pickle"]),
        ("from marshal import loads", ["marshal"]),
        ("eval(text)", ["eval()"]),
        ("yaml.load(text, yaml.Loader)", ["yaml.load()"]),
        ("np.load(path, allow_pickle=True)", ["allow_pickle=True"]),
        ("load_model(path, safe_mode=False)", ["safe_mode=False"]),
        ("subprocess.run(text, shell=True)", ["shell=True"]),
        ("YAML(typ='unsafe')", ["typ='unsafe'"]),
        ("archive.extractall(folder)", ["archive.extractall()"]),
        ("# eval(text)\ntext = 'import pickle'; re.compile(text); yaml.safe_load(text)", []),
    ],
)
def test_what_is_looked_for_is_found(source: str, found: list[str]) -> None:
    assert list(findings(ast.parse(source))) == found
