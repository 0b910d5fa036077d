#include "quality.h"

#include <algorithm>
#include <cmath>

#include "ivf/index.hpp"
#include "message.h"

namespace ivf::cli {

void RecallMeter::add(std::span<const idx_t> ids, std::size_t ids_k, std::span<const idx_t> truth, std::size_t truth_k,
                      std::size_t nq) {
  if (nq == 0) return;
  // Counts rather than shares are added up, so that the result does not depend on the batches.
  std::uint64_t wanted = 0;
  for (std::size_t q = 0; q < nq; ++q) {
    const auto row = truth.subspan(q * truth_k, k_);
    wanted += static_cast<std::uint64_t>(std::count_if(row.begin(), row.end(), [](idx_t id) { return id != -1; }));
  }
  const double share = recall_at_k(ids, ids_k, truth, truth_k, nq, k_);
  found_ += static_cast<std::uint64_t>(std::llround(share * static_cast<double>(wanted)));
  wanted_ += wanted;
}

double RecallMeter::value() const noexcept {
  return wanted_ == 0 ? 1 : static_cast<double>(found_) / static_cast<double>(wanted_);
}

TruthSource::TruthSource(const std::string& spec, std::size_t k, std::uint64_t skip) {
  datasets::ReadOptions options;
  options.role = datasets::Role::neighbors;
  options.start = skip;
  reader_ = datasets::open_reader(spec, options);
  if (width() < k) misuse("{}: holds {} neighbours a query, recall@{} needs {}", name(), width(), k, k);
}

void TruthSource::require_rows(std::uint64_t queries, const std::string& source) const {
  if (rows() && *rows() < queries) {
    misuse("{}: holds the neighbours of {}, {} has {}", name(), counted(*rows(), "query", "queries"), source,
           grouped(queries));
  }
}

std::span<const idx_t> TruthSource::next(std::size_t nq) {
  ids_.resize(nq * width());
  for (std::size_t got = 0; got < nq;) {
    const std::size_t n = reader_->read_ids(ids_.data() + got * width(), nq - got);
    if (n == 0) misuse("{}: ends after {}, there are more queries", name(), counted(read_ + got, "row"));
    got += n;
  }
  read_ += nq;
  return ids_;
}

}  // namespace ivf::cli
