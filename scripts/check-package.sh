#!/usr/bin/env bash
# Makes the Debian packages of a build and uses them as a stranger would: check-package.sh [--clean ROOT] [BUILD_DIR]
#   --clean ROOT   install the program with apt into a copy of ROOT, too: a minimal Debian whose apt works, as made by
#                  debootstrap --variant=minbase bookworm ROOT (takes root, and minutes)
# Exit code 77 means that packages cannot be made or installed here; the last line says why.
set -euo pipefail
cd "$(dirname "$0")/.."
clean=""
if [ "${1:-}" = --clean ]; then
  clean=${2:-}
  [ -d "$clean/etc/apt" ] || { echo "check-package: --clean: '$clean' is no Debian system" >&2; exit 2; }
  shift 2
fi
build=${1:-build}
[ -f "$build/CPackConfig.cmake" ] || { echo "check-package: $build is not a build directory; build first: cmake --build $build" >&2; exit 2; }
build=$(realpath "$build")
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

fail() { echo "check-package: $*" >&2; exit 1; }
skip() { echo "check-package: $*"; exit 77; }
for tool in dpkg dpkg-deb dpkg-shlibdeps file gzip; do
  command -v $tool >/dev/null || skip "there is no $tool here (apt-get install dpkg-dev file)"
done

(cd "$build" && cpack -G DEB -B "$work/packages") >"$work/cpack.log" 2>&1 || { cat "$work/cpack.log" >&2; fail "cpack failed"; }
packages=("$work"/packages/*.deb)
version=$(sed -n 's/^set(CPACK_PACKAGE_VERSION "\(.*\)")$/\1/p' "$build/CPackConfig.cmake")

# Fields that dpkg and apt rely on; files where Debian wants them, readable, and nothing of the build or the tests.
for package in "${packages[@]}"; do
  name=$(dpkg-deb -f "$package" Package)
  [[ $(dpkg-deb -f "$package" Version) == "$version"-* ]] || fail "$name: version $(dpkg-deb -f "$package" Version), and the project's is $version"
  for field in Maintainer Section Depends Description Installed-Size; do
    [ -n "$(dpkg-deb -f "$package" $field)" ] || fail "$name: no field $field"
  done
  root=$work/contents/$name
  mkdir -p "$root"
  dpkg-deb -x "$package" "$root"
  files=$(cd "$root" && find . ! -type d -printf '%P\n')
  case $name in
    ivf) expected='usr/bin/ivf|usr/share/(man/man1/ivf(-[a-z-]+)?\.1\.gz|bash-completion/completions/ivf|zsh/vendor-completions/_ivf|fish/vendor_completions\.d/ivf\.fish|doc/ivf/README\.md|doc/ivf/changelog\.gz)' ;;
    ivf-torch | ivf-faiss) expected="usr/lib/(.*/)?ivf/${name//-/_}\\.so" ;;
    libivf-dev) expected='usr/include/ivf/[a-z_]+\.hpp|usr/lib/(.*/)?(libivf(_format)?\.a|cmake/ivf/[A-Za-z-]+\.cmake)' ;;
    *) fail "a package that nobody expects: $name" ;;
  esac
  if strange=$(grep -vxE "$expected|usr/share/doc/$name/(copyright|changelog\\.Debian\\.gz)" <<<"$files"); then
    fail "$name holds files that do not belong there: $strange"
  fi
  for file in copyright changelog.Debian.gz; do
    [ -s "$root/usr/share/doc/$name/$file" ] || fail "$name: no /usr/share/doc/$name/$file"
  done
  if odd=$(find "$root" -mindepth 1 \( ! -perm -a+r -o -type d ! -perm -a+x -o -perm /go+w \) -print | grep .); then
    fail "$name: permissions: $odd"
  fi
  if found=$(grep -rlF -e "$PWD" -e "$build" "$root"); then fail "$name: files name a folder of this machine: $found"; fi
done
root=$work/contents/ivf
for page in ivf $("$root/usr/bin/ivf" man --list | sed 's/^/ivf-/'); do
  gzip -t "$root/usr/share/man/man1/$page.1.gz" || fail "no page $page"
done
[[ $(dpkg-deb -f "$work"/packages/ivf_*.deb Depends) == *libhdf5* ]] || fail "ivf: the libraries that it is linked with are not among its dependencies"

# A user's session, in an empty folder.
session='set -e; cd "$(mktemp -d)"
ivf --version
ivf train clustered:n=5000,d=16,seed=1 --nlist 32 -o a.ivf -q
ivf add a.ivf clustered:n=5000,d=16,seed=1 -q
ivf search a.ivf clustered:n=50,d=16,seed=2 --nprobe 32 -k 5 --verify --min-recall 1 -q
ivf verify a.ivf
ivf demo --nb 2000 --nq 10 --nlist 16 -q >demo.txt
rm -rf "$PWD"'

# dpkg into an empty root. Nothing can be configured there: the libraries are those of this machine.
as_root=()
if [ "$(id -u)" != 0 ]; then
  unshare --map-root-user true 2>/dev/null || skip "contents are in order; installing takes root, or user namespaces"
  as_root=(unshare --map-root-user)
fi
root=$work/root
mkdir -p "$root"/var/lib/dpkg/{info,updates,triggers}
touch "$root/var/lib/dpkg/status"
PATH=$PATH:/usr/sbin:/sbin
into_root=("${as_root[@]}" dpkg --root="$root" --log=/dev/null --force-depends)
"${into_root[@]}" --unpack "${packages[@]}" >"$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log" >&2; fail "dpkg does not unpack the packages"; }
"${into_root[@]}" --verify
needs=$(dpkg-deb -f "$work"/packages/ivf_*.deb Depends)
dpkg-checkbuilddeps -d "$needs" -c '' /dev/null || fail "what the package ivf depends on is not here, although it was built here"
PATH=$root/usr/bin:$PATH bash -c "$session"
if [ -e "$work/contents/ivf-faiss" ]; then
  "$root/usr/bin/ivf" bench --library ivf,faiss --nb 2000 --nq 32 --nlist 16 --dim 16 --repeat 1 -q >/dev/null || fail "ivf does not find the module of ivf-faiss"
fi
if [ -e "$work/contents/ivf-torch" ]; then
  "$root/usr/bin/ivf" devices | grep -q torch || fail "ivf does not find the module of ivf-torch"
fi
echo "check-package: $(cd "$work/packages" && echo ./*.deb | sed 's,\./,,g'): in order, unpacked and run"

[ -n "$clean" ] || exit 0
[ "$(id -u)" = 0 ] || skip "--clean takes root"
root=$work/clean
cp -a "$clean" "$root"
cp "$work"/packages/ivf_*.deb "$root/tmp/"
# With a /proc of its own, which goes when the command ends.
inside=(unshare --mount --pid --fork --mount-proc="$root/proc" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
  DEBIAN_FRONTEND=noninteractive chroot "$root")
"${inside[@]}" bash -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends /tmp/ivf_*.deb' >"$work/apt.log" 2>&1 ||
  { tail -n 20 "$work/apt.log" >&2; fail "apt does not install the package into a copy of $clean"; }
"${inside[@]}" bash -c "$session"
"${inside[@]}" bash -c 'apt-get purge -y -qq ivf' >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fail "apt does not remove the package"; }
echo "check-package: installed by apt into a copy of $clean ($(cat "$root/etc/debian_version")), run and removed"
