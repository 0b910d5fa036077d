#include "rows.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "ivf/datasets/datasets.hpp"

namespace ivf::fuzz {
namespace {

/// Rows that are read of one input at most: a file's size bounds them, except in sparse formats.
constexpr std::size_t kMostRows = 300;
constexpr std::size_t kMostValues = 20000;

template <class Value>
struct Rows {
  std::size_t dim = 0;
  std::vector<Value> values;
  bool complete = true;  ///< Reading went to the end, or to the limit, without an error.

  std::size_t count() const { return values.size() / dim; }
};

std::size_t read_some(datasets::Reader& reader, float* out, std::size_t rows) { return reader.read(out, rows); }
std::size_t read_some(datasets::Reader& reader, idx_t* out, std::size_t rows) { return reader.read_ids(out, rows); }

/// Nothing when the source cannot be opened.
template <class Value>
std::optional<Rows<Value>> read(const std::string& spec, const datasets::ReadOptions& options, std::size_t batch) {
  std::unique_ptr<datasets::Reader> reader;
  if (!accepted([&] { reader = datasets::open_reader(spec, options); })) return std::nullopt;
  Rows<Value> rows;
  rows.dim = reader->dim();
  require(rows.dim >= 1 && rows.dim <= 65536, "a dimension is within its bounds");
  const std::size_t most = std::min(kMostRows, std::max<std::size_t>(1, kMostValues / rows.dim));
  rows.complete = accepted([&] {
    while (rows.count() < most) {
      const std::size_t wanted = std::min(batch, most - rows.count());
      std::vector<Value> values(wanted * rows.dim);
      const std::size_t got = read_some(*reader, values.data(), wanted);
      require(got <= wanted, "no more rows than were asked for");
      rows.values.insert(rows.values.end(), values.begin(),
                         values.begin() + static_cast<std::ptrdiff_t>(got * rows.dim));
      if (got < wanted) {
        require(!reader->rows() || rows.count() == *reader->rows(), "as many rows as were announced");
        require(read_some(*reader, values.data(), wanted) == 0, "the end stays the end");
        return;
      }
    }
  });
  return rows;
}

template <class Value>
bool same(const Rows<Value>& a, const Rows<Value>& b) {
  return a.dim == b.dim && a.complete == b.complete && a.values.size() == b.values.size() &&
         (a.values.empty() || std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(Value)) == 0);
}

/// `part` starts `start` rows later than `whole`.
bool is_part(const Rows<float>& whole, const Rows<float>& part, std::size_t start) {
  const std::size_t shared = start < whole.count() ? std::min(part.count(), whole.count() - start) : 0;
  return whole.dim == part.dim &&
         (shared == 0 || std::memcmp(whole.values.data() + start * whole.dim, part.values.data(),
                                     shared * whole.dim * sizeof(float)) == 0);
}

}  // namespace

void check_reader(const std::string& format, const std::string& suffix, Choices& input) {
  const std::size_t start = input.byte() % 16;
  const std::size_t batch = 1 + input.byte() % 64;
  const MemoryFile file(input.rest());
  const std::string spec = format + ":" + file.path() + suffix;
  const auto whole = read<float>(spec, {}, kMostRows);
  const auto ids = read<idx_t>(spec, {}, batch);
  require(whole.has_value() == ids.has_value(), "opening does not depend on what is read");
  if (whole) {
    const auto again = read<float>(spec, {}, batch);
    require(again && (!whole->complete || same(*whole, *again)), "batches do not change what is read");
  }
  datasets::ReadOptions options;
  options.start = start;
  options.count = batch;
  const auto part = read<float>(spec, options, 7);
  if (part) {
    require(whole.has_value() && part->count() <= batch, "a part is opened only where the whole is");
    if (whole->complete) require(is_part(*whole, *part, start), "a part is what the whole says");
  }
  // Only a file shows by its size that an .ibin is ground truth.
  if (input.rest().size() > MemoryPipe::kCapacity || format == "ibin") return;
  const MemoryPipe pipe(input.rest());
  const auto piped = read<float>(format + ":" + pipe.path() + suffix, {}, kMostRows);
  // A pipe shows its end late: what a file is refused for at once, it is refused for at the end.
  if (whole && whole->complete) require(piped && same(*whole, *piped), "a pipe gives what a file gives");
}

void check_rows(const std::string& format, std::string_view bytes) {
  const MemoryFile file(bytes);
  read<float>(format + ":" + file.path(), {}, kMostRows);
}

}  // namespace ivf::fuzz
