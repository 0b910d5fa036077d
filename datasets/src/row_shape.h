#pragma once
/// \file
/// Which arrays can be seen as rows of vectors.

#include <cstdint>
#include <string>
#include <vector>

#include "ivf/datasets/datasets.hpp"

namespace ivf::datasets {

struct RowShape {
  std::uint64_t rows = 0;
  std::size_t dim = 0;
};

/// Two axes are rows and columns. One axis is a single vector, except for int32 and int64: a list of ids, one a row.
/// Anything else is refused with Error(misuse); a dimension out of range with Error(corrupt).
RowShape row_shape(const std::vector<std::uint64_t>& axes, Element element, const std::string& name);

}  // namespace ivf::datasets
