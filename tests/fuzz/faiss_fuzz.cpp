// Files of faiss: whatever the input is, it is refused with one line, or becomes a sound index that comes back from
// another file of faiss the same.

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "fuzz.h"
#include "ivf/index.hpp"
#include "ivf/interchange.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::fuzz;

namespace {

/// In memory where the system has such a folder: each index is made durable before it is there.
std::string file(const char* name) {
  static const support::TemporaryDirectory directory = [] {
    if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 0);
    return support::TemporaryDirectory();
  }();
  return directory.file(name);
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  Choices input(data, size);
  const std::string index = file("a.ivf"), again = file("b.ivf");
  const std::string exported = file("a.faiss"), exported_again = file("b.faiss");
  ImportOptions options;
  options.threads = 1;
  const std::uint8_t choice = input.byte();
  if ((choice & 1) != 0) options.max_memory = 4096;
  if ((choice & 2) != 0) options.metric = Metric::cosine;
  options.compress = (choice & 4) != 0;
  const MemoryFile source(input.rest());
  ImportReport report;
  if (!accepted([&] { report = import_faiss(source.path(), index, options); })) return 0;

  RunOptions run;
  run.threads = 1;
  verify_index(index, true, run);
  const StoredIndex stored(index, run);
  require(stored.rows() == report.rows && stored.dim() == report.dim && stored.nlist() == report.nlist,
          "an index holds what was reported");
  require(report.moved <= report.rows && report.normalized <= report.rows, "no more rows are changed than there are");
  std::vector<idx_t> ids, found;
  const auto collect = [](std::vector<idx_t>& into) {
    return [&into](std::span<const idx_t> some, MatrixView) { into.insert(into.end(), some.begin(), some.end()); };
  };
  stored.visit_rows(collect(ids));
  require(stored.reconstruct(ids, collect(found)) == 0 && found == ids, "each row is found by its id");
  export_faiss(index, exported, run);
  options.metric.reset();
  if (report.metric == Metric::cosine) options.metric = Metric::cosine;
  const ImportReport second = import_faiss(exported, again, options);
  require(second.moved == 0 && second.normalized == 0 && second.rows == report.rows, "what was exported is in order");
  export_faiss(again, exported_again, run);
  require(bytes_of(exported) == bytes_of(exported_again), "an index comes back the same");
  return 0;
}
