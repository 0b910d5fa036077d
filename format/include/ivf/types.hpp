#pragma once
/// \file
/// Names that every room shares.

#include <cstddef>
#include <cstdint>

namespace ivf {

/// The id of a vector. -1 marks a missing result and is never stored.
using idx_t = std::int64_t;

/// How two vectors are compared. The numbers are part of the file format.
enum class Metric : std::uint32_t {
  l2 = 0,      ///< Squared Euclidean distance, smaller is nearer.
  ip = 1,      ///< Inner product, larger is nearer.
  cosine = 2,  ///< Vectors normalised at ingest, then inner product.
};

/// A row-major matrix of float32 that somebody else owns; row i starts at data + i * stride.
struct MatrixView {
  const float* data = nullptr;
  std::size_t rows = 0;
  std::size_t dim = 0;
  std::size_t stride = 0;  ///< Distance between rows, in floats; at least dim.

  MatrixView() = default;
  MatrixView(const float* values, std::size_t n, std::size_t d) : data(values), rows(n), dim(d), stride(d) {}
  MatrixView(const float* values, std::size_t n, std::size_t d, std::size_t step)
      : data(values), rows(n), dim(d), stride(step) {}
  const float* row(std::size_t i) const noexcept { return data + i * stride; }
  MatrixView slice(std::size_t first, std::size_t count) const noexcept { return {row(first), count, dim, stride}; }
};

}  // namespace ivf
