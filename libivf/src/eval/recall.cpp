#include <fmt/format.h>

#include <algorithm>

#include "ivf/index.hpp"

namespace ivf {
namespace {

void check_result(const char* what, std::size_t ids, std::size_t width, std::size_t nq, std::size_t k) {
  if (k == 0 || width < k) {
    throw Error(ErrorKind::misuse, fmt::format("expected at least {} {} a query for recall@{}, found {}",
                                               std::max<std::size_t>(k, 1), what, k, width));
  }
  if (ids / width != nq || ids % width != 0) {
    throw Error(ErrorKind::misuse, fmt::format("expected {} x {} ids of {}, found {} ids", nq, width, what, ids));
  }
}

}  // namespace

double recall_at_k(std::span<const idx_t> ids, std::size_t ids_k, std::span<const idx_t> truth, std::size_t truth_k,
                   std::size_t nq, std::size_t k) {
  check_result("results", ids.size(), ids_k, nq, k);
  check_result("true neighbours", truth.size(), truth_k, nq, k);
  std::uint64_t found = 0, wanted = 0;
  std::vector<idx_t> a, b;
  for (std::size_t q = 0; q < nq; ++q) {
    // Missing results (-1) are nobody's neighbour; an id that several rows carry counts as often as both sides hold it.
    const auto take = [k](std::span<const idx_t> all, std::size_t first, std::vector<idx_t>& sorted) {
      sorted.clear();
      std::copy_if(all.begin() + first, all.begin() + first + k, std::back_inserter(sorted),
                   [](idx_t id) { return id != -1; });
      std::sort(sorted.begin(), sorted.end());
    };
    take(ids, q * ids_k, a);
    take(truth, q * truth_k, b);
    wanted += b.size();
    for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
      if (a[i] == b[j]) {
        ++found, ++i, ++j;
      } else {
        a[i] < b[j] ? ++i : ++j;
      }
    }
  }
  return wanted == 0 ? 1 : static_cast<double>(found) / static_cast<double>(wanted);
}

}  // namespace ivf
