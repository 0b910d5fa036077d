// Whole HDF5 files, through the reader that a user gets: whatever the library does with them, there are rows or one
// error.
//
// The library works in a process of its own, so that what it covers is not seen here, and a fuzzer left to itself would
// soon try nothing but a few bytes that are no HDF5. Half of the inputs are therefore changes to a sound file: whatever
// bytes they consist of, what comes out is nearly HDF5. hdf5_chunks_fuzz.cpp looks inside.

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz.h"
#include "ivf/datasets/datasets.hpp"
#include "rows.h"

using namespace ivf::fuzz;

namespace {

constexpr std::uint8_t changes_follow = 0x80;  // In the first byte.

/// The committed files, in the order of their names, without what is put before them. IVF_FUZZ_SEEDS is their folder
/// where that of the sources is not there.
std::vector<std::string> read_sound_files() {
  const char* folder = std::getenv("IVF_FUZZ_SEEDS");
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder != nullptr ? folder : IVF_FUZZ_SEEDS)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> files;
  for (const auto& path : paths) {
    std::ifstream stream(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    if (!bytes.empty() && (static_cast<std::uint8_t>(bytes[0]) & changes_follow) == 0) files.push_back(bytes.substr(1));
  }
  require(!files.empty(), "there is no sound file to change");
  for (const std::string& file : files) {
    const MemoryFile whole(file);
    require(accepted([&] { ivf::datasets::stored_metric("h5:" + whole.path()); }), "what is changed was sound before");
  }
  return files;
}

/// A sound file after changes: bytes set, flipped or raised, fields of four bytes at their limits, pieces that are
/// missing or come twice, and an early end.
std::string changed_file(Choices& input) {
  static const std::vector<std::string> files = read_sound_files();
  std::string file = files[input.byte() % files.size()];
  while (!input.rest().empty() && !file.empty()) {
    const std::uint8_t kind = input.byte();
    const std::size_t low = input.byte(), at = (low | std::size_t{input.byte()} << 8) % file.size();
    const std::uint8_t value = input.byte();
    switch (kind % 8) {
      case 0:
        file.erase(at, value);
        break;
      case 1:
        file.insert(at, file.substr(at, value));
        break;
      case 2:
        file.resize(std::max(at, file.size() - std::min<std::size_t>(value, file.size())));
        break;
      case 3:
        for (std::size_t i = at; i < std::min(at + 4, file.size()); ++i)
          file[i] = static_cast<char>(value % 2 != 0 ? 255 : 0);
        break;
      case 4:
        file[at] = static_cast<char>(file[at] ^ (1 << value % 8));
        break;
      case 5:
        file[at] = static_cast<char>(file[at] + value % 16 - 8);
        break;
      default:
        file[at] = static_cast<char>(value);
    }
  }
  return file;
}

/// A signal ends the process that the library has to itself, and the reader says so: libFuzzer would write it down as
/// found, from the child. What a sanitizer reports of our own code in there it does write down. (scripts/fuzz.sh turns
/// off what the library would be reported for.)
const int children_die = ::pthread_atfork(nullptr, nullptr, [] {
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE}) std::signal(signal, SIG_DFL);
});

}  // namespace

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  require(children_die == 0, "children can be told apart");
  Choices input(data, size);
  const std::uint8_t kind = input.byte();
  const std::string bytes = (kind & changes_follow) != 0 ? changed_file(input) : std::string(input.rest());
  if (kind % 8 == 1) {
    const MemoryFile file(bytes);
    accepted([&] { ivf::datasets::stored_metric("h5:" + file.path()); });
  } else {
    check_rows("h5", bytes);
  }
  return 0;
}
