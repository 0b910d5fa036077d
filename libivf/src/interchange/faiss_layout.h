#pragma once
/// \file
/// Where things are in a file of faiss. docs/faiss.md says what maps to what.

#include <cstdint>
#include <string>
#include <vector>

#include "interchange/faiss_file.h"
#include "ivf/types.hpp"

namespace ivf::detail {

/// faiss's MetricType.
constexpr std::int32_t faiss_inner_product = 0;
constexpr std::int32_t faiss_l2 = 1;

/// What was found, with every size reconciled with the others and with the file's length.
struct FaissLayout {
  std::string type;  ///< The class that faiss reads it as.
  bool flat = false;
  Metric metric = Metric::l2;
  Metric quantizer_metric = Metric::l2;  ///< By which lists were chosen.
  std::size_t dim = 0;
  std::uint64_t rows = 0;
  std::uint64_t centroids = 0;  ///< Offset of nlist x dim float32.
  std::uint64_t lists = 0;      ///< Offset of the first list: its vectors, then its ids, then the next list.
  std::vector<std::uint64_t> list_sizes{};  ///< One of a flat index, which has its ids elsewhere, if it has any.
  bool has_ids = false;
  std::uint64_t id_map = 0;  ///< Offset of the ids of a flat index.
};

/// Reads all but vectors and ids. Throws Error(corrupt) for damage and Error(misuse) for indexes that ivf has not.
FaissLayout read_faiss_layout(const SizedFile& file);

}  // namespace ivf::detail
