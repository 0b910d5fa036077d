#pragma once
/// \file
/// Sets of a corpus's rows in the form that segments and filters have.

#include <span>
#include <vector>

#include "gpu/gpu_fixture.h"
#include "ivf/format/row_bits.hpp"

namespace ivf::support {

class RowSets {
 public:
  /// The rows of a corpus that `marked` says, by position, of its `n` rows in `segments` segments.
  RowSets(const ListedRows& rows, std::size_t n, std::size_t segments, const std::vector<bool>& marked) {
    for (std::size_t s = 0; s < segments; ++s) {
      const std::size_t first = n * s / segments, last = n * (s + 1) / segments;
      std::vector<std::uint64_t> set(format::row_words(last - first));
      std::size_t row = 0;
      for (std::size_t l = 0; l < rows.nlist(); ++l) {
        const auto list = static_cast<std::int32_t>(l);
        for (const std::size_t i : rows.candidates(&list, 1, 0)) {
          if (i < first || i >= last) continue;
          if (marked[i]) format::insert_row(set, row);
          ++row;
        }
      }
      sets_.push_back(std::move(set));
    }
  }

  std::vector<std::span<const std::uint64_t>> views() const { return {sets_.begin(), sets_.end()}; }

 private:
  std::vector<std::vector<std::uint64_t>> sets_;
};

}  // namespace ivf::support
