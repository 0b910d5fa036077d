#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages that ivf needs and that are missing. Nothing to do: says so and ends.
set -euo pipefail

usage() {
  cat <<'END'
usage: scripts/setup.sh [--dry-run] [GROUP...]

Installs what is missing, through apt (as root, or with sudo). Without a GROUP: build, test and data.

  build   compiler, cmake, ninja and the libraries that ivf is built from
  test    Catch2, faiss (the reference that results are compared with), python3 for the checks
  data    npm, through which datasets/fetch.sh gets the real data sets
  torch   LibTorch for --device and --backend torch (docs/devices.md), with a fast BLAS; large
  plot    matplotlib, for scripts/plot.py and the pictures of scripts/reproduce.sh
  lint    clang-format, clang-tidy and shellcheck, in the versions of record
  fuzz    clang with libFuzzer (scripts/fuzz.sh), valgrind (scripts/torture.sh)

  --dry-run   say what is missing; exit code 0 when nothing is, 1 when something is
END
}

# One package a line: group, package, why. `command:NAME` in the fourth column means that the command is what counts,
# wherever it came from, and `python:NAME` that a Python module of that name will do as well.
packages() {
  cat <<'END'
build  g++                      C++20 compiler                                    command:c++
build  cmake                    build system (3.25 or newer)                      command:cmake
build  ninja-build              runs the build                                    command:ninja
build  pkg-config               finds zstd and xxHash                             command:pkg-config
build  git                      records the commit in the program's version       command:git
build  libcli11-dev             command-line parsing
build  libfmt-dev               text formatting
build  libhdf5-dev              HDF5 data sets
build  nlohmann-json3-dev       JSON records
build  libzstd-dev              compressed sections of index files
build  libxxhash-dev            checksums of index files
test   ccache                   makes a second build quick                        command:ccache
test   catch2                   unit-test framework
test   libopenblas-openmp-dev   BLAS for faiss
test   libfaiss-dev             the reference: tests, and ivf bench --library faiss
test   python3                  runs the checks                                   command:python3
test   dpkg-dev                 makes packages that name what they depend on      command:dpkg-shlibdeps
test   file                     tells it which files are programs                 command:file
test   jq                       the tutorial's pipelines                          command:jq
test   sqlite3                  its joins                                         command:sqlite3
test   socat                    its server                                        command:socat
data   nodejs                   runs npm                                          command:node
data   npm                      gets the data sets' packages                      command:npm
data   ca-certificates          secure connections to the registry
torch  libtorch-dev             LibTorch                                          python:torch
torch  libopenblas-openmp-dev   its BLAS: the reference BLAS takes several times as long
plot   python3-matplotlib       draws benchmark records
lint   clang-format-14          formatting of C++ files
lint   clang-tidy-14            static checks of C++ files
lint   shellcheck               static checks of scripts
fuzz   clang                    libFuzzer and sanitizers for scripts/fuzz.sh      command:clang++
fuzz   libclang-rt-14-dev       its runtime libraries
fuzz   valgrind                 memory checks of the program for scripts/torture.sh
END
}

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

has_python_module() {
  python3 -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)' "$1" 2>/dev/null
}

# Is the requirement met? A command that is there counts however it was installed.
met() {
  local package=$1 need=$2
  case $need in
    command:*) command -v "${need#command:}" >/dev/null ;;
    python:*) installed "$package" || has_python_module "${need#python:}" ;;
    *) installed "$package" ;;
  esac
}

dry_run=0
groups=()
for argument in "$@"; do
  case $argument in
    build | test | data | torch | plot | lint | fuzz) groups+=("$argument") ;;
    --dry-run) dry_run=1 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; printf 'setup: unknown argument: %s\n' "$argument" >&2; exit 2 ;;
  esac
done
[ ${#groups[@]} -gt 0 ] || groups=(build test data)
[[ " ${groups[*]} " != *" test "* ]] || [[ " ${groups[*]} " == *" build "* ]] || groups=(build "${groups[@]}")

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  fail "this script installs Debian and Ubuntu packages, and there is no apt-get here." \
    "Install these with your system's package manager, or point CMAKE_PREFIX_PATH at them, and build with cmake:" \
    "a C++20 compiler, cmake >= 3.25, ninja, pkg-config, CLI11, fmt, HDF5 (C), nlohmann/json, zstd, xxHash;" \
    "for the tests also Catch2 (2 or 3), faiss and python3; for the data sets npm; for devices LibTorch >= 1.13."
fi

find_missing() {
  missing=()
  listing=""
  while read -r group package why; do
    [[ " ${groups[*]} " == *" $group "* ]] || continue
    need=package
    if [[ $why == *command:* || $why == *python:* ]]; then
      need=${why##* }
      why=${why%%  *}
    fi
    # Groups may share a package.
    if [[ " ${missing[*]} " != *" $package "* ]] && ! met "$package" "$need"; then
      missing+=("$package")
      listing+=$(printf '  %-24s %s' "$package" "$why")$'\n'
    fi
  done < <(packages)
}

find_missing
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: everything is there (${groups[*]})"
  exit 0
fi
printf 'setup: missing (%s):\n%s' "${groups[*]}" "$listing"
[ "$dry_run" = 0 ] || exit 1

manual="apt-get install --no-install-recommends ${missing[*]}"
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || fail "installing needs root, and there is no sudo here. As root, run:" "  $manual"
  as_root=(sudo)
  # With nobody to type a password, sudo must not wait for one.
  [ -t 0 ] || as_root+=(-n)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 "$@"; }

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Installs without asking. A stale list of packages is the usual reason for a failure: refresh it and try once more.
install() {
  echo "setup: ${as_root[*]:+${as_root[*]} }apt-get install --no-install-recommends $*"
  apt install -y -q --no-install-recommends "$@" >"$log" 2>&1
}
refreshed=0
refresh() {
  refreshed=1
  echo "setup: ${as_root[*]:+${as_root[*]} }apt-get update"
  apt update -q >"$log" 2>&1
}
explain() {
  tail -n 5 "$log" >&2
  fail "apt could not install the packages: no network, no permission, or a package that this release does not have (above)." \
    "When it can, run as root:" "  $manual" "then run this script again."
}

# Some builds of nodejs bring npm with them and conflict with the package npm: see what is still missing after nodejs.
later=()
first=()
for package in "${missing[@]}"; do
  if [ "$package" = npm ]; then later+=(npm); else first+=("$package"); fi
done
compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || refresh || explain
if [ ${#first[@]} -gt 0 ]; then
  install "${first[@]}" || { [ $refreshed = 0 ] && refresh && install "${first[@]}"; } || explain
fi
if [ ${#later[@]} -gt 0 ] && ! command -v npm >/dev/null; then
  install "${later[@]}" || { [ $refreshed = 0 ] && refresh && install "${later[@]}"; } || explain
fi

find_missing
[ ${#missing[@]} -eq 0 ] || fail "still missing after the installation:" "$listing"
echo "setup: done (${groups[*]})"
