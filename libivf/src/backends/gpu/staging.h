#pragma once
/// \file
/// Page-locked memory through which everything large goes to a device: the only memory of the host that is copied while
/// both sides do something else.

#include <cstddef>

#include "backends/gpu/vendor.h"

namespace ivf::detail::gpu {

/// Two page-locked buffers that take turns: one is filled while the other is copied.
class Staging {
 public:
  /// Of a buffer. Larger ones copy no faster.
  static constexpr std::size_t most_bytes = std::size_t{8} << 20;

  Staging() = default;
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// Makes buffers of at least this many bytes when next() makes any.
  void expect(std::size_t bytes) noexcept { expected_ = bytes; }
  /// The buffer whose turn it is, with room for `bytes`, after what was copied from it has left.
  char* next(std::size_t bytes);
  /// Says that the copies from the buffer that next() gave are on the stream.
  void copied(Stream stream);
  /// Copies any amount of the host's memory, which may change as soon as this returns.
  void copy(void* to, const void* from, std::size_t bytes, Stream stream);

 private:
  struct Buffer {
    char* memory = nullptr;
    std::size_t bytes = 0;
    Event left{};
    bool waited_for = true;
  };
  Buffer buffers_[2];
  std::size_t expected_ = 0;
  unsigned turn_ = 0;
};

}  // namespace ivf::detail::gpu
