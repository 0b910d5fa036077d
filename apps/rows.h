#pragma once
/// \file
/// Reading rows in batches: checked, counted and interruptible.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "console.h"
#include "ivf/datasets/datasets.hpp"
#include "options.h"

namespace ivf::cli {

/// A source of vectors, read in batches. Values that cannot be stored or compared are refused with their place.
class RowSource {
 public:
  /// `use` says what the values are for: rows to be stored must also survive rounding to bf16.
  enum class Use { store, query };
  RowSource(const std::string& spec, datasets::Role role, const RowRange& range, Use use);

  std::size_t dim() const { return reader_->dim(); }
  const std::string& name() const { return reader_->name(); }
  datasets::Element element() const { return reader_->element(); }
  /// Rows in all, when that is known before the end; 0 when not.
  std::uint64_t expected() const { return reader_->rows().value_or(0); }
  std::optional<std::uint64_t> known_rows() const { return reader_->rows(); }
  /// Number of rows read so far.
  std::uint64_t rows_read() const { return read_; }

  /// Reads up to `max_rows` rows into `batch` (resized). False at the end.
  bool next(std::vector<float>& batch, std::size_t max_rows);
  std::size_t batch_rows() const { return batch_; }
  MatrixView view(const std::vector<float>& batch) const { return {batch.data(), batch_, dim()}; }

  /// Throws Error(misuse) unless the rows have `dim` dimensions; `other` is what they are meant for.
  void require_dim(std::size_t dim, const std::string& other) const;

 private:
  void check_values(const float* rows, std::size_t count) const;

  std::unique_ptr<datasets::Reader> reader_;
  std::uint64_t start_;
  Use use_;
  std::uint64_t read_ = 0;
  std::size_t batch_ = 0;
};

/// How many rows of `bytes_per_row` fit a share of the memory cap: at least 1, at most `most`.
std::size_t rows_that_fit(std::uint64_t bytes, std::uint64_t bytes_per_row, std::uint64_t most);

/// Enough rows to place the centroids well, without a cost that grows with the data: 256 a list as long as that is at
/// most 262,144 in all, and never less than 40 a list.
std::uint64_t default_sample(std::uint64_t nlist) noexcept;
constexpr std::uint64_t rows_per_list_needed = 40;

/// A training sample: all rows when there are at most `size`, else `size` rows drawn at random in one pass. It depends
/// on the seed and the rows alone, and is the same from a file and from a pipe.
struct Sample {
  std::vector<float> rows;
  std::uint64_t count = 0;    ///< Rows in the sample.
  std::uint64_t offered = 0;  ///< Rows that it was drawn from.
};
Sample draw_sample(RowSource& source, std::uint64_t size, std::uint64_t seed, Console& console);

}  // namespace ivf::cli
