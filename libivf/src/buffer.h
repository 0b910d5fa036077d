#pragma once
/// \file
/// Memory for large arrays.

#include <cstddef>
#include <new>
#include <type_traits>

namespace ivf::detail {

/// An array on a cache line that is not cleared when it is made: what is large is written once, by many threads, and
/// vectors and tiles load whole aligned lines. Throws std::bad_alloc.
template <class T>
class Buffer {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(std::size_t size)
      : data_(static_cast<T*>(::operator new (size * sizeof(T), std::align_val_t{alignment}))), size_(size) {}
  Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      release();
      data_ = other.data_;
      size_ = other.size_;
      other.data_ = nullptr;
      other.size_ = 0;
    }
    return *this;
  }
  ~Buffer() { release(); }
  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  T& operator[](std::size_t i) noexcept { return data_[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

 private:
  static constexpr std::size_t alignment = 64;
  void release() noexcept { ::operator delete (data_, std::align_val_t{alignment}); }

  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ivf::detail
