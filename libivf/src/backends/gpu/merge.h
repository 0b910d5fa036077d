#pragma once
/// \file
/// Results of parts of a corpus become those of the whole, in the total order of (value, id). Plain C++.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/gpu/engine.h"
#include "parallel.h"

namespace ivf::detail::gpu {

/// The total order: better value first, then the smaller id.
inline bool comes_before(bool inner_product, float value_a, std::int64_t id_a, float value_b, std::int64_t id_b) {
  if (value_a != value_b) return inner_product ? value_a > value_b : value_a < value_b;
  return id_a < id_b;
}

/// The best k of each query over all parts that were added.
class MergedResults {
 public:
  MergedResults(std::size_t nq, std::size_t k, bool inner_product)
      : nq_(nq),
        k_(k),
        inner_product_(inner_product),
        values_(nq * k, (inner_product ? -1.0f : 1.0f) * std::numeric_limits<float>::infinity()),
        ids_(nq * k, -1) {}

  /// Results of a part, nq x k each, sorted; missing ones have id -1.
  void add(const float* values, const std::int64_t* ids, unsigned threads) {
    parallel_for(threads, nq_, std::max<std::size_t>(1, 4096 / k_), [&](std::size_t begin, std::size_t end, unsigned) {
      std::vector<float> old_values(k_);
      std::vector<std::int64_t> old_ids(k_);
      for (std::size_t q = begin; q < end; ++q) {
        float* to_values = values_.data() + q * k_;
        std::int64_t* to_ids = ids_.data() + q * k_;
        std::copy_n(to_values, k_, old_values.begin());
        std::copy_n(to_ids, k_, old_ids.begin());
        const float* from_values = values + q * k_;
        const std::int64_t* from_ids = ids + q * k_;
        for (std::size_t i = 0, a = 0, b = 0; i < k_; ++i) {
          // Neither can end before k are found, or both have.
          const bool old = from_ids[b] == -1 ||
                           (old_ids[a] != -1 &&
                            comes_before(inner_product_, old_values[a], old_ids[a], from_values[b], from_ids[b]));
          to_values[i] = old ? old_values[a] : from_values[b];
          to_ids[i] = old ? old_ids[a++] : from_ids[b++];
        }
      }
    });
  }

  const std::vector<float>& values() const noexcept { return values_; }
  const std::vector<std::int64_t>& ids() const noexcept { return ids_; }

 private:
  std::size_t nq_, k_;
  bool inner_product_;
  std::vector<float> values_;
  std::vector<std::int64_t> ids_;
};

inline void sort_hits(std::vector<std::pair<float, idx_t>>& hits, bool inner_product) {
  std::sort(hits.begin(), hits.end(), [inner_product](const auto& a, const auto& b) {
    return comes_before(inner_product, a.first, a.second, b.first, b.second);
  });
}

/// Adds the hits of a part to those of others, and sorts them.
inline void add_hits(RangeHits& all, RangeHits part, bool inner_product, unsigned threads) {
  parallel_for(threads, part.hits.size(), 4, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t q = begin; q < end; ++q) {
      auto& hits = all.hits[q];
      if (hits.empty()) {
        hits = std::move(part.hits[q]);
        continue;
      }
      hits.insert(hits.end(), part.hits[q].begin(), part.hits[q].end());
      sort_hits(hits, inner_product);
    }
  });
}

/// Phases of the same name are added up.
inline void add_phase(Report& report, const Report::Phase& phase) {
  const auto same = std::find_if(report.phases.begin(), report.phases.end(), [&](const Report::Phase& other) {
    return std::string_view(other.name) == phase.name;
  });
  if (same == report.phases.end()) {
    report.phases.push_back(phase);
  } else {
    same->ms += phase.ms;
  }
}

/// Adds what the search of a part did.
inline void add_report(Report& all, const Report& part) {
  all.mode = part.mode;
  all.rows_scanned += part.rows_scanned;
  all.bytes_read += part.bytes_read;
  all.rows_refined += part.rows_refined;
  all.candidates += part.candidates;
  all.queries_overflowed += part.queries_overflowed;
  for (const Report::Phase& phase : part.phases) add_phase(all, phase);
}

}  // namespace ivf::detail::gpu
