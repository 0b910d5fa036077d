#include "verification.h"

#include <bit>
#include <set>

#include "message.h"

namespace ivf::cli {
namespace {

/// One query's results.
struct Row {
  std::span<const idx_t> ids;
  std::span<const float> distances;

  std::pair<idx_t, std::uint32_t> bits(std::size_t i) const {
    return {ids[i], std::bit_cast<std::uint32_t>(distances[i])};
  }
  std::string text(std::size_t i) const { return fmt::format("id {} at {}", ids[i], distances[i]); }
};

std::string compare_complete(const Row& found, const Row& exact) {
  for (std::size_t i = 0; i < found.ids.size(); ++i) {
    if (found.bits(i) != exact.bits(i)) {
      return fmt::format("rank {}: found {}, the exact search {}", i + 1, found.text(i), exact.text(i));
    }
  }
  return {};
}

std::string compare_partial(const Row& found, const Row& exact, bool larger_is_nearer) {
  std::set<std::pair<idx_t, std::uint32_t>> expected;
  for (std::size_t i = 0; i < exact.ids.size(); ++i) expected.insert(exact.bits(i));
  const std::size_t last = exact.ids.size() - 1;
  for (std::size_t i = 0; i < found.ids.size() && found.ids[i] != -1; ++i) {
    if (expected.count(found.bits(i)) != 0) continue;
    const float value = found.distances[i], limit = exact.distances[last];
    const bool nearer = larger_is_nearer ? value > limit : value < limit;
    if (nearer || (value == limit && found.ids[i] < exact.ids[last])) {
      return fmt::format("found {}, which the exact search does not know though its last is {}", found.text(i),
                         exact.text(last));
    }
  }
  return {};
}

}  // namespace

void Verification::add(std::uint64_t first_query, const SearchResult& found, const SearchResult& exact, bool complete) {
  recall_.add(found.ids, found.k, exact.ids, exact.k, found.nq);
  for (std::size_t q = 0; q < found.nq && complaint_.empty(); ++q) {
    const auto row = [&](const SearchResult& all) {
      return Row{std::span(all.ids).subspan(q * all.k, all.k), std::span(all.distances).subspan(q * all.k, all.k)};
    };
    const std::string difference = complete ? compare_complete(row(found), row(exact))
                                            : compare_partial(row(found), row(exact), larger_is_nearer_);
    if (!difference.empty()) complaint_ = fmt::format("query {}: {}", first_query + q, difference);
  }
}

}  // namespace ivf::cli
