#pragma once
/// \file
/// What a section is made of before it is stored.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace ivf::format {

/// The raw bytes of a section: in memory as a whole, or made piece by piece when they are written.
class RawBytes {
 public:
  /// Writes bytes first .. first + out.size() - 1 of the section to `out`. It is called on several threads at once, for
  /// pieces in any order and more than once. Pieces begin and end at multiples of 8 bytes, or with the section.
  using Make = std::function<void(std::uint64_t first, std::span<std::byte> out)>;

  RawBytes(std::span<const std::byte> held) : held_(held), size_(held.size()) {}
  RawBytes(std::uint64_t size, Make make) : make_(std::move(make)), size_(size) {}

  bool empty() const noexcept { return size_ == 0; }
  std::uint64_t size() const noexcept { return size_; }

  /// Valid as long as `room`, which is where the bytes go that are not in memory yet.
  std::span<const std::byte> piece(std::uint64_t first, std::uint64_t count, std::vector<std::byte>& room) const {
    if (!make_) return held_.subspan(first, count);
    room.resize(count);
    make_(first, room);
    return room;
  }

 private:
  std::span<const std::byte> held_;
  Make make_;
  std::uint64_t size_;
};

}  // namespace ivf::format
