#pragma once
/// \file
/// Small indexes that tests/golden/faiss holds as faiss wrote them, and what comes out of an index file.

#include <string>
#include <vector>

#include "ivf/interchange.hpp"

namespace ivf::support {

/// All that an index file holds, in list order.
struct Contents {
  bool flat = false;
  Metric metric = Metric::l2;
  std::size_t d = 0;
  std::vector<std::uint64_t> offsets;
  std::vector<float> centroids, rows;
  std::vector<idx_t> ids;

  std::size_t n() const { return ids.size(); }
  std::size_t nlist() const { return offsets.size() - 1; }
};

Contents contents_of(const std::string& index, const RunOptions& options = {});
/// "" when they agree to the last bit; otherwise what differs.
std::string difference(const Contents& a, const Contents& b);

struct FaissSample {
  std::string name;  ///< Of the file, without its extension.
  std::string type;  ///< In faiss.
  bool direct_map = false;
  Contents contents;

  std::string path() const;
};

/// IndexIVFFlat with all lists filled and with few, IndexFlat, IndexIDMap, IndexIDMap2; L2 and inner product. Values
/// are few and exact, so that every arithmetic chooses the same lists.
std::vector<FaissSample> faiss_samples();

}  // namespace ivf::support
