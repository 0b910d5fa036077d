#pragma once
/// \file
/// Memory of the current device, real or emulated, as tests need it.

#include <cstddef>
#include <vector>

namespace ivf::support {

/// Whether devices are emulated (tests/gpu/emulation): everything takes a thousand times as long.
bool emulated();

void* allocate_on_device(std::size_t bytes);
void free_on_device(void* memory) noexcept;
void copy_to_device(void* to, const void* from, std::size_t bytes);
void copy_from_device(void* to, const void* from, std::size_t bytes);

/// Host data on the device for the length of a scope.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values)
      : count_(values.size()), data_(allocate_on_device(count_ * sizeof(T))) {
    copy_to_device(data_, values.data(), count_ * sizeof(T));
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { free_on_device(data_); }
  T* get() const { return static_cast<T*>(data_); }
  std::vector<T> values() const {
    std::vector<T> result(count_);
    copy_from_device(result.data(), data_, count_ * sizeof(T));
    return result;
  }

 private:
  std::size_t count_;
  void* data_;
};

}  // namespace ivf::support
