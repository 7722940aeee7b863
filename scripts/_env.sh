# shellcheck shell=bash
# Sourced by the other scripts: goes to the repository's root and offers `need runtime`, `need dev` and `need fuzz`,
# which see to it that .venv holds exactly what requirements/<set>.lock says; fuzz comes on top of dev. All a machine must have is
# python3 (3.11 or newer, or another one named by $PYTHON); uv is used where it is on PATH.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly STAMP=.venv/.installed # written last: a .venv without it is an install that was cut short

_say() { echo "novamesh: $*" >&2; }

# What the stamp must hold. The path is part of it, because a .venv that was moved or copied is broken.
_inputs() {
    echo "$1 in $PWD"
    cat pyproject.toml requirements/*.lock
}

_has() { [[ -x .venv/bin/python && -f $STAMP ]] && _inputs "$1" | cmp -s - "$STAMP"; }

# The development set contains the runtime set, and the fuzz set stands on the development set.
_satisfied() { _has fuzz || { [[ $1 != fuzz ]] && _has dev; } || { [[ $1 == runtime ]] && _has runtime; }; }

_python() {
    local python=${PYTHON:-python3}
    if ! command -v "$python" >/dev/null; then
        _say "needs Python 3.11 or newer, and there is no $python on PATH"
        return 1
    fi
    "$python" - <<'PYTHON' || return 1
import sys
if sys.version_info < (3, 11):
    sys.exit("novamesh: needs Python 3.11 or newer, and %s is %s; name another one: PYTHON=python3.12"
             % (sys.executable, sys.version.split()[0]))
print(sys.executable)
PYTHON
}

_install() {
    local set=$1 python=$2
    if _has runtime || _has dev; then
        _say "adding the $set packages to .venv…"
        rm "$STAMP" # and novamesh itself stays untouched: a node may be running from here
        _pip -r "requirements/$set.lock"
    else
        _say "installing the $set packages into .venv…"
        rm -rf .venv
        if command -v uv >/dev/null; then
            uv venv --quiet --python "$python" .venv
        else
            "$python" -m venv .venv
        fi
        _pip -r "requirements/$set.lock"
        _pip --no-deps --editable .
    fi
    _inputs "$set" >"$STAMP"
}

_pip() {
    if command -v uv >/dev/null; then
        uv pip install --quiet --compile-bytecode --python .venv/bin/python "$@"
    else
        .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check "$@"
    fi
}

need() {
    if _satisfied "$1"; then return; fi
    local python
    python=$(_python) || exit 1
    # One install at a time, whoever else is starting. The lock belongs to descriptor 9, so it ends with this
    # shell; Python takes it, because not every system has flock(1).
    exec 9<requirements
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    if ! _satisfied "$1"; then _install "$1" "$python" >&2 </dev/null; fi
    exec 9<&-
}
