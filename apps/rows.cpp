#include "rows.h"

#include <algorithm>
#include <cmath>

#include "ivf/philox.hpp"
#include "message.h"
#include "signals.h"

namespace ivf::cli {
namespace {

// From here on a float32 rounds to infinity in the bf16 plane (docs/numerics.md).
constexpr float first_unstorable = 0x1.ffp127f;
// Names the sequence of random numbers that samples are drawn with, apart from those of k-means.
constexpr std::uint64_t sample_stream = 0x73616d706c65;  // "sample"
constexpr std::size_t slice_bytes = std::size_t{4} << 20;

/// A number in [0, bound) from 64 random bits, without the bias of a remainder.
std::uint64_t scale_to(std::uint64_t bits, std::uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(bits) * bound) >> 64);
}

}  // namespace

RowSource::RowSource(const std::string& spec, datasets::Role role, const RowRange& range, Use use)
    : start_(range.start), use_(use) {
  datasets::ReadOptions options;
  options.role = role;
  options.start = range.start;
  options.count = range.count;
  reader_ = datasets::open_reader(spec, options);
}

bool RowSource::next(std::vector<float>& batch, std::size_t max_rows) {
  const std::size_t slice = rows_that_fit(slice_bytes, dim() * sizeof(float), max_rows);
  batch.clear();
  // Address space for all of it, memory only for what comes: the source may hold less.
  batch.reserve(max_rows * dim());
  batch_ = 0;
  while (batch_ < max_rows) {
    throw_if_interrupted();
    const std::size_t wanted = std::min(slice, max_rows - batch_);
    batch.resize((batch_ + wanted) * dim());
    const std::size_t count = reader_->read(batch.data() + batch_ * dim(), wanted);
    // The end of a pipe after a signal is not the end of the data.
    throw_if_interrupted();
    check_values(batch.data() + batch_ * dim(), count);
    batch_ += count;
    read_ += count;
    if (count == 0) break;
  }
  batch.resize(batch_ * dim());
  return batch_ > 0;
}

void RowSource::check_values(const float* rows, std::size_t count) const {
  const float limit = use_ == Use::store ? first_unstorable : INFINITY;
  const auto bad = [limit](float x) { return !(std::fabs(x) < limit); };
  const std::size_t values = count * dim();
  // Looked at block by block without an exit inside, so that the compiler can vectorise the common case: none is bad.
  constexpr std::size_t block = 1024;
  for (std::size_t i = 0; i < values; i += block) {
    const std::size_t end = std::min(values, i + block);
    bool any = false;
    for (std::size_t j = i; j < end; ++j) any |= bad(rows[j]);
    if (!any) continue;
    const auto at = static_cast<std::size_t>(std::find_if(rows + i, rows + end, bad) - rows);
    misuse("{}: row {}, column {} is {}; {} (rows and columns count from 0)", name(), start_ + read_ + at / dim(),
           at % dim(), rows[at],
           std::isfinite(rows[at]) ? "values must be below 3.39e38 in size" : "only finite values can be compared");
  }
}

void RowSource::require_dim(std::size_t wanted, const std::string& other) const {
  if (dim() != wanted) misuse("{}: has {} dimensions, {} has {}", name(), dim(), other, wanted);
}

std::size_t rows_that_fit(std::uint64_t bytes, std::uint64_t bytes_per_row, std::uint64_t most) {
  return static_cast<std::size_t>(
      std::clamp<std::uint64_t>(bytes / std::max<std::uint64_t>(1, bytes_per_row), 1, most));
}

std::uint64_t default_sample(std::uint64_t nlist) noexcept {
  constexpr std::uint64_t rows_per_list_wanted = 256;
  constexpr std::uint64_t sample_wanted = 262'144;
  return std::max(rows_per_list_needed * nlist, std::min(rows_per_list_wanted * nlist, sample_wanted));
}

Sample draw_sample(RowSource& source, std::uint64_t size, std::uint64_t seed, Console& console) {
  // Vitter's algorithm R: row i takes the place of a random earlier one with probability size / (i + 1).
  const Philox random(seed, sample_stream);
  const std::size_t dim = source.dim();
  Sample sample;
  // Address space for all of it, as far as that is known to be needed or small.
  const std::uint64_t unknown = CommonOptions::default_memory / (dim * sizeof(float));
  sample.rows.reserve(std::min(source.known_rows().value_or(unknown), size) * dim);
  std::vector<float> batch;
  const std::size_t batch_rows = rows_that_fit(slice_bytes, dim * sizeof(float), 65536);
  while (source.next(batch, batch_rows)) {
    const MatrixView rows = source.view(batch);
    for (std::size_t r = 0; r < rows.rows; ++r, ++sample.offered) {
      if (sample.count < size) {
        sample.rows.insert(sample.rows.end(), rows.row(r), rows.row(r) + dim);
        ++sample.count;
        continue;
      }
      const std::uint64_t place = scale_to(random.u64(sample.offered), sample.offered + 1);
      if (place < size) std::copy_n(rows.row(r), dim, sample.rows.begin() + static_cast<std::ptrdiff_t>(place * dim));
    }
    console.progress("reading", source.rows_read(), source.expected());
  }
  return sample;
}

}  // namespace ivf::cli
