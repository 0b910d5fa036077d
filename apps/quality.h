#pragma once
/// \file
/// Recall over results that arrive in batches, and the truth that they are held against.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ivf/datasets/datasets.hpp"
#include "ivf/types.hpp"

namespace ivf::cli {

/// recall@k over batches, as ivf::recall_at_k defines it over all of them.
class RecallMeter {
 public:
  explicit RecallMeter(std::size_t k) : k_(k) {}
  void add(std::span<const idx_t> ids, std::size_t ids_k, std::span<const idx_t> truth, std::size_t truth_k,
           std::size_t nq);
  std::size_t k() const noexcept { return k_; }
  double value() const noexcept;

 private:
  std::size_t k_;
  std::uint64_t found_ = 0, wanted_ = 0;
};

/// True neighbours from a file, read along with the queries.
class TruthSource {
 public:
  /// `skip` rows are passed over. Throws Error(misuse) when there are fewer than k neighbours a query.
  TruthSource(const std::string& spec, std::size_t k, std::uint64_t skip = 0);
  /// Throws Error(misuse) unless there is a row for each of `queries` queries.
  void require_rows(std::uint64_t queries, const std::string& source) const;
  /// The next `nq` rows. Throws Error(misuse) when the file ends before.
  std::span<const idx_t> next(std::size_t nq);
  std::size_t width() const { return reader_->dim(); }
  const std::string& name() const { return reader_->name(); }
  std::optional<std::uint64_t> rows() const { return reader_->rows(); }

 private:
  std::unique_ptr<datasets::Reader> reader_;
  std::vector<idx_t> ids_;
  std::uint64_t read_ = 0;
};

}  // namespace ivf::cli
