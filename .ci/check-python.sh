#!/bin/sh
# One clear line where the interpreter cannot carry carsearch: wrong version, wrong system, or no venv module.
python="$1"
fail() { echo "carsearch: $1" >&2; exit 1; }
command -v "$python" >/dev/null 2>&1 || fail "no '$python' on PATH: install Python 3.11 or 3.12, or call 'make PYTHON=/path/to/python3.11'"
[ "$(uname -s)" = Linux ] || fail "this is $(uname -s): carsearch runs on Linux"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case "$version" in
    3.11 | 3.12) ;;
    *) fail "'$python' is Python $version: install Python 3.11 or 3.12, or call 'make PYTHON=/path/to/python3.11'" ;;
esac
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "'$python' has no venv module: install it (Debian, Ubuntu: apt-get install python$version-venv)"
