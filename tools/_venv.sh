# Sourced by the scripts beside it: sets PYTHON to the interpreter of .venv, with the project and EXTRAS installed.
# An install is repeated only when pyproject.toml or the extras changed. Everything pip says goes to stderr.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${TDT_VENV:-$ROOT/.venv}
PYTHON=$VENV/bin/python

# What must hold wherever the package is installed; the rest of the suite does not depend on that.
CORE_TESTS=(tests/audio/test_ways.py tests/audio/test_tracks.py tests/kernels tests/text tests/test_goldens_text.py
    tests/test_recognizer.py)

find_python() {
    local candidate
    for candidate in "${TDT_PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer was found. Install one, or name it: TDT_PYTHON=/path/to/python $0" >&2
    return 1
}

ensure_venv() {
    local extras=$1 stamp wanted base
    stamp=$VENV/.parakeet-tdt-$extras
    wanted=$(cksum <"$ROOT/pyproject.toml")
    if [ -x "$PYTHON" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    if [ ! -x "$PYTHON" ]; then
        base=$(find_python)
        echo "Making $VENV …" >&2
        "$base" -m venv "$VENV" >&2 || {
            echo "The venv module is missing. On Debian and Ubuntu: apt-get install python3-venv" >&2
            return 1
        }
    fi
    echo "Installing parakeet-tdt${extras:+ [$extras]} (a few minutes the first time) …" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -e "$ROOT${extras:+[$extras]}" >&2
    echo "$wanted" >"$stamp"
}
