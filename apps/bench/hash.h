#pragma once
/// \file
/// A 128-bit hash (XXH3) of numbers, to tell whether two runs had the same index and the same results.

#include <memory>
#include <span>
#include <string>

namespace ivf::bench {

class Hash {
 public:
  Hash();
  Hash(const Hash&) = delete;
  Hash& operator=(const Hash&) = delete;
  ~Hash();

  template <class T>
  void add(std::span<const T> values) {
    add_bytes(values.data(), values.size_bytes());
  }
  std::string hex() const;

 private:
  void add_bytes(const void* data, std::size_t size);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ivf::bench
