#pragma once
/// \file
/// A set of ids with a place for each: a hash table of fixed size.

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "ivf/types.hpp"

namespace ivf::detail {

/// Open addressing, at most half full.
class IdTable {
 public:
  static constexpr std::uint64_t no_place = ~std::uint64_t{0};

  explicit IdTable(std::span<const idx_t> ids) : slots_(std::bit_ceil(2 * ids.size() + 1)) {
    for (const idx_t id : ids) {
      Slot& slot = slots_[find(id)];
      distinct_ += slot.id == empty;
      slot.id = id;
    }
  }

  /// How many different ids there are.
  std::uint64_t distinct() const noexcept { return distinct_; }

  /// Gives an id of the set its place, unless it has one. Returns whether it did.
  bool place(idx_t id, std::uint64_t at) noexcept {
    Slot& slot = slots_[find(id)];
    if (slot.id == empty || slot.place != no_place) return false;
    slot.place = at;
    return true;
  }

  std::uint64_t place_of(idx_t id) const noexcept { return slots_[find(id)].place; }

 private:
  static constexpr idx_t empty = -1;  // No row has this id.
  struct Slot {
    idx_t id = empty;
    std::uint64_t place = no_place;
  };

  /// The slot of an id, or the empty one where it would go.
  std::size_t find(idx_t id) const noexcept {
    // Ids often count up: multiplied by 2^64 over the golden ratio they spread over the upper bits.
    const std::uint64_t hash = static_cast<std::uint64_t>(id) * 0x9E3779B97F4A7C15u;
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = static_cast<std::size_t>(hash ^ (hash >> 32)) & mask;
    while (slots_[at].id != id && slots_[at].id != empty) at = (at + 1) & mask;
    return at;
  }

  std::vector<Slot> slots_;
  std::uint64_t distinct_ = 0;
};

}  // namespace ivf::detail
