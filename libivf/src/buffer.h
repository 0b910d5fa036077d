#pragma once
/// \file
/// Memory for large arrays.

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <type_traits>

namespace ivf::detail {

/// The least multiple of `unit` that is at least `n`.
constexpr std::size_t round_up(std::size_t n, std::size_t unit) noexcept { return (n + unit - 1) / unit * unit; }

/// An array on a cache line that is not cleared when it is made: what is large is written once, by many threads, and
/// vectors and tiles load whole aligned lines. Throws std::bad_alloc.
template <class T>
class Buffer {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(std::size_t size)
      : data_(static_cast<T*>(::operator new(size * sizeof(T), alignment(size)))), size_(size) {
#ifdef MADV_HUGEPAGE
    // Huge pages make the first use of large arrays several times cheaper, and spare scans TLB misses. Only a wish.
    if (is_large(size)) madvise(data_, size * sizeof(T), MADV_HUGEPAGE);
#endif
  }
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
  static constexpr std::size_t huge_page = std::size_t{1} << 21;
  static constexpr bool is_large(std::size_t size) noexcept { return size >= 2 * huge_page / sizeof(T); }
  static constexpr std::align_val_t alignment(std::size_t size) noexcept {
    return std::align_val_t{is_large(size) ? huge_page : 64};
  }
  void release() noexcept { ::operator delete(data_, alignment(size_)); }

  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ivf::detail
