#pragma once
/// \file
/// Device memory that belongs to a scope, and one allocation shared by many arrays.

#include <utility>

#include "backends/gpu/engine.h"

namespace ivf::detail::gpu {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(Allocator& allocator, std::size_t bytes, StreamHandle stream)
      : allocator_(&allocator), stream_(stream), data_(bytes == 0 ? nullptr : allocator.allocate(bytes, stream)) {}
  DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() {
    if (data_ != nullptr) allocator_->release(data_, stream_);
  }
  char* data() const noexcept { return static_cast<char*>(data_); }

 private:
  void swap(DeviceMemory& other) noexcept {
    std::swap(allocator_, other.allocator_);
    std::swap(stream_, other.stream_);
    std::swap(data_, other.data_);
  }

  Allocator* allocator_ = nullptr;
  StreamHandle stream_ = nullptr;
  void* data_ = nullptr;
};

/// Hands out consecutive arrays of one allocation; without memory it only counts.
class Arena {
 public:
  explicit Arena(char* memory = nullptr) noexcept : memory_(memory) {}
  template <class T>
  T* take(std::size_t count) noexcept {
    T* result = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += (count * sizeof(T) + 255) / 256 * 256;
    return result;
  }
  std::size_t used() const noexcept { return used_; }

 private:
  char* memory_;
  std::size_t used_ = 0;
};

}  // namespace ivf::detail::gpu
