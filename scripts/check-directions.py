#!/usr/bin/env python3
"""Checks that the rooms of the project depend on each other in one direction only (docs/architecture.md).

    apps -> libivf -> format        apps -> datasets -> format (errors, names, random numbers and files only)

Looked at: every #include of a room's sources, every command of a room's CMakeLists.txt, and the includes of the files
that are compiled for one instruction set, which may pull in no standard C++ library and no LibTorch: an inline function
compiled there with AVX-512 could be the copy that the linker keeps for everybody.

    scripts/check-directions.py [ROOT]        check the tree (default: the one that this script lies in)
    scripts/check-directions.py --self-test   show that each rule catches a breach of it
"""
import pathlib
import re
import sys
import tempfile

# What a room may include of another one: a set of rooms, and for some rooms only the headers that match.
ALLOWED = {
    "format": set(),
    "libivf": {"format"},
    "datasets": {"format"},
    "apps": {"libivf", "datasets", "format"},
}
DATASETS_MAY_SEE = {
    "ivf/error.hpp", "ivf/types.hpp", "ivf/philox.hpp", "ivf/format/mapped_file.hpp", "ivf/format/output_file.hpp",
}
# CMake targets of a room; a room that may include another one may link it.
TARGETS = {"ivf_format": "format", "ivf": "libivf", "ivf::ivf": "libivf", "ivf_datasets": "datasets", "ivf_cli": "apps", "ivf_bench": "apps"}
# Packages that only the named rooms may use.
PACKAGES = {"HDF5": {"datasets"}, "CLI11": {"apps"}, "ZSTD": {"format"}, "XXHASH": {"format", "apps"}, "Torch": {"libivf"}}
SYSTEM_HEADERS = {
    "hdf5": {"datasets"}, "CLI/": {"apps"}, "zstd": {"format"}, "xxhash": {"format", "apps"},
    "torch/": {"libivf"}, "ATen/": {"libivf"}, "c10/": {"libivf"},
}
# All that a file for one instruction set may take from outside the project: C headers and compiler intrinsics.
# Not <math.h>: in C++ it is <cmath> by another name. The scalar kernels are compiled for every CPU and may call it.
ISA_HEADERS = {"immintrin.h", "arm_neon.h", "stdint.h", "stddef.h", "float.h", "string.h", "cstdint", "cstddef", "cfloat"}
SCALAR_HEADERS = ISA_HEADERS | {"math.h"}
ISA_FILES = "libivf/src/backends/cpu/kernels_*.cpp"

SOURCE_SUFFIXES = {".cpp", ".hpp", ".h"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def includes(path):
    """(line, is quoted, name) of each #include of a file."""
    text = path.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start()) + 1, m[1] == '"', m[2]) for m in INCLUDE.finditer(text)]


def strip_comments(cmake):
    return re.sub(r"#[^\n]*", "", cmake)


class Tree:
    def __init__(self, root):
        self.root = root
        self.breaches = []
        self.public = {}   # header as others include it -> room
        self.private = {}  # header below a room's src -> rooms
        for room in ALLOWED:
            base = root / room / "include"
            for header in sorted(base.rglob("*.h*")) if base.is_dir() else []:
                self.public[header.relative_to(base).as_posix()] = room

    def breach(self, path, line, message):
        self.breaches.append(f"{path.relative_to(self.root)}:{line}: {message}")

    def resolve(self, path, room, name):
        """The file that a quoted include means, or None when it is not the project's."""
        for base in (path.parent, self.root / room / "src", self.root / room / "include", self.root / room):
            if (base / name).is_file():
                return (base / name).resolve()
        other = self.public.get(name)
        return self.root / other / "include" / name if other else None

    def is_generated(self, room, name):
        """Whether the build makes this header: then the room's CMakeLists.txt names it."""
        cmake = self.root / room / "CMakeLists.txt"
        return cmake.is_file() and re.search(rf"/{re.escape(name)}\b", strip_comments(cmake.read_text(encoding="utf-8")))

    def check_include(self, path, room, line, quoted, name):
        if ".." in pathlib.PurePosixPath(name).parts:
            self.breach(path, line, f'"{name}" leaves its folder; include by the path below src/ or include/')
            return
        owner = self.public.get(name)
        if owner and owner != room:
            if owner not in ALLOWED[room]:
                self.breach(path, line, f'{room} must not include {owner} ("{name}")')
            elif room == "datasets" and name not in DATASETS_MAY_SEE:
                self.breach(path, line, f'datasets may use errors and files of format only, not "{name}"')
        elif quoted and not owner and self.resolve(path, room, name) is None and not self.is_generated(room, name):
            self.breach(path, line, f'"{name}" is neither a header of {room} nor a public header of another room')
        for prefix, rooms in SYSTEM_HEADERS.items():
            if not quoted and name.startswith(prefix) and room not in rooms:
                self.breach(path, line, f"<{name}> belongs to {', '.join(sorted(rooms))}")

    def check_sources(self):
        count = 0
        for room in ALLOWED:
            for path in sorted((self.root / room).rglob("*")):
                if path.suffix in SOURCE_SUFFIXES and path.is_file():
                    count += 1
                    for line, quoted, name in includes(path):
                        self.check_include(path, room, line, quoted, name)
        return count

    def check_links(self):
        for room in ALLOWED:
            for path in sorted((self.root / room).rglob("CMakeLists.txt")):
                text = strip_comments(path.read_text(encoding="utf-8"))
                for command in re.finditer(r"\b(target_link_libraries|target_include_directories|find_package|"
                                           r"pkg_check_modules)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text):
                    line = text.count("\n", 0, command.start()) + 1
                    words = command[2].split()
                    for word in words[1:] if command[1].startswith("target_") else words:
                        word = re.sub(r"\$<BUILD_INTERFACE:([^>]*)>?", r"\1", word)
                        target = TARGETS.get(word)
                        if target and target != room and target not in ALLOWED[room]:
                            self.breach(path, line, f"{room} must not link {target} ({word})")
                        if command[1] == "target_include_directories":
                            for other in ALLOWED:
                                if other != room and re.search(rf"/{other}/", word):
                                    self.breach(path, line, f"{room} reaches into {other} ({word}): link its target")
                        for package, rooms in PACKAGES.items():
                            if re.match(rf"(\$\{{)?(PkgConfig::)?{package}\b", word, re.I) and room not in rooms:
                                self.breach(path, line, f"{word} belongs to {', '.join(sorted(rooms))}")

    def check_isa_files(self):
        files = sorted(self.root.glob(ISA_FILES))
        for path in files:
            self.follow_isa(path, path, set())
        return len(files)

    def follow_isa(self, start, path, seen):
        seen.add(path)
        for line, quoted, name in includes(path):
            target = self.resolve(path, "libivf", name) if quoted else None
            if target is not None and target not in seen:
                self.follow_isa(start, target, seen)
            elif target is None and name not in (SCALAR_HEADERS if start.stem == "kernels_scalar" else ISA_HEADERS):
                via = "" if path == start else f" (included by {start.name})"
                self.breach(path, line, f"a file for one instruction set must not include <{name}>{via}")


def check(root):
    tree = Tree(root.resolve())
    sources = tree.check_sources()
    tree.check_links()
    kernels = tree.check_isa_files()
    return sources, kernels, tree.breaches


GOOD = {
    "format/include/ivf/error.hpp": "#include <string>\n",
    "format/include/ivf/format/container.hpp": '#include "ivf/error.hpp"\n',
    "format/src/container.cpp": '#include <zstd.h>\n#include "ivf/format/container.hpp"\n',
    "format/CMakeLists.txt": "target_link_libraries(ivf_format PRIVATE $<BUILD_INTERFACE:ivf_options> PkgConfig::ZSTD)\n",
    "libivf/include/ivf/index.hpp": '#include "ivf/error.hpp"\n',
    "libivf/src/rows.h": "#include <vector>\n",
    "libivf/src/backends/cpu/kernels.h": "#include <stdint.h>\n",
    "libivf/src/backends/cpu/kernels_avx2.cpp": '#include <immintrin.h>\n#include "backends/cpu/kernels.h"\n',
    "libivf/CMakeLists.txt": "target_link_libraries(ivf PUBLIC ivf_format PRIVATE fmt::fmt)\n",
    "datasets/include/ivf/datasets/datasets.hpp": '#include "ivf/error.hpp"\n',
    "datasets/CMakeLists.txt": "find_package(HDF5 REQUIRED)\ntarget_link_libraries(ivf_datasets PUBLIC ivf_format)\n",
    "apps/main.cpp": '#include <CLI/CLI.hpp>\n#include "version.h"\n#include "ivf/index.hpp"\n#include "ivf/datasets/datasets.hpp"\n',
    "apps/CMakeLists.txt": "add_custom_target(version BYPRODUCTS generated/version.h)\ntarget_link_libraries(ivf_cli PRIVATE ivf_options ivf ivf_datasets)\n",
}
# (file, text appended to it): each breaks one rule.
BAD = [
    ("format/src/container.cpp", '#include "ivf/index.hpp"\n'),
    ("format/src/container.cpp", "#include <hdf5.h>\n"),
    ("libivf/src/rows.h", '#include "ivf/datasets/datasets.hpp"\n'),
    ("libivf/src/rows.h", "#  include <ivf/datasets/datasets.hpp>\n"),
    ("libivf/src/rows.h", '#include "../../datasets/include/ivf/datasets/datasets.hpp"\n'),
    ("libivf/src/rows.h", '#include "no_such_header.h"\n'),
    ("datasets/include/ivf/datasets/datasets.hpp", '#include "ivf/index.hpp"\n'),
    ("datasets/include/ivf/datasets/datasets.hpp", '#include "ivf/format/container.hpp"\n'),
    ("apps/main.cpp", '#include "rows.h"\n'),
    ("apps/main.cpp", "#include <hdf5.h>\n"),
    ("format/CMakeLists.txt", "target_link_libraries(ivf_format PUBLIC ivf)\n"),
    ("libivf/CMakeLists.txt", "target_link_libraries(ivf\n  PRIVATE ivf_datasets)\n"),
    ("libivf/CMakeLists.txt", "target_include_directories(ivf PRIVATE ${PROJECT_SOURCE_DIR}/datasets/include)\n"),
    ("libivf/CMakeLists.txt", "find_package(HDF5)\n"),
    ("datasets/CMakeLists.txt", "target_link_libraries(ivf_datasets PRIVATE ivf::ivf)\n"),
    ("libivf/src/backends/cpu/kernels_avx2.cpp", "#include <algorithm>\n"),
    ("libivf/src/backends/cpu/kernels_avx2.cpp", "#include <torch/torch.h>\n"),
    ("libivf/src/backends/cpu/kernels_avx2.cpp", "#include <math.h>\n"),
    ("libivf/src/backends/cpu/kernels_avx2.cpp", '#include "rows.h"\n'),
    ("libivf/src/backends/cpu/kernels.h", "#include <cmath>\n"),
]


def breaches_of(files):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return check(root)[2]


def self_test():
    failures = [f"a sound tree was refused: {breach}" for breach in breaches_of(GOOD)]
    for name, text in BAD:
        if not breaches_of({**GOOD, name: GOOD[name] + text}):
            failures.append(f"not caught in {name}: {text.strip()}")
    return failures


def main():
    if sys.argv[1:] == ["--self-test"]:
        failures = self_test()
        print("\n".join(failures) or f"check-directions: {len(BAD)} breaches caught")
        return 1 if failures else 0
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent
    sources, kernels, breaches = check(root)
    print("\n".join(breaches) or f"check-directions: {sources} files, {kernels} of them for one instruction set: in order")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
