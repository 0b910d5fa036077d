#pragma once
/// \file
/// Fibers: functions with stacks of their own, of which one runs at a time until it switches to another.

#include <ucontext.h>

#include <cstddef>

namespace ivf::emulation {

class Fiber {
 public:
  /// The calling thread, on the stack that it has.
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  /// Makes the next switch to this fiber call `entry`, which must not return. Whatever it did before is forgotten.
  void begin(void (*entry)());
  /// Goes on in `to`, until something switches back to `from`, which is the fiber that calls.
  static void switch_over(Fiber& from, Fiber& to);

 private:
  static void enter();

  void (*entry_)() = nullptr;
  bool entered_ = true;
  char* stack_ = nullptr;
  ucontext_t context_{};
  void* place_[5] = {};  ///< Where to jump to, once it has been entered; the compiler's.
  // The address sanitizer's view: the bounds of the stack, and what it keeps while the fiber does not run.
  const void* stack_bottom_ = nullptr;
  std::size_t stack_size_ = 0;
  void* sanitizer_state_ = nullptr;
};

}  // namespace ivf::emulation
