#include "emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define IVF_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IVF_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(IVF_ADDRESS_SANITIZER)
#include <sanitizer/common_interface_defs.h>
#elif defined(__x86_64__)
#define IVF_QUICK_SWITCH 1
#endif

namespace ivf::emulation {
namespace {

#if defined(IVF_ADDRESS_SANITIZER)
constexpr std::size_t stack_bytes = 256 << 10;  // Red zones around every variable.
#else
constexpr std::size_t stack_bytes = 96 << 10;
#endif

// The two sides of the last switch. Blocks run one at a time, whatever the thread: see grid.cpp.
[[maybe_unused]] Fiber* left = nullptr;
Fiber* entered = nullptr;

std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

/// Memory for a stack above a page that may not be touched: a stack that overflows ends the program.
char* new_stack() {
  const std::size_t guard = page_bytes();
  void* memory = mmap(nullptr, guard + stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, guard, PROT_NONE) != 0) throw std::bad_alloc();
  return static_cast<char*>(memory) + guard;
}

}  // namespace

Fiber::~Fiber() {
  if (stack_ == nullptr) return;
  const std::size_t guard = page_bytes();
  munmap(stack_ - guard, guard + stack_bytes);
}

void Fiber::begin(void (*entry)()) {
  if (stack_ == nullptr) {
    // Stacks that all began at the same place of a page would compete for the same lines of the processor's caches.
    static std::size_t stacks = 0;
    stack_ = new_stack();
    stack_size_ = stack_bytes - stacks++ % 64 * 320;
  }
  entry_ = entry;
  entered_ = false;
  sanitizer_state_ = nullptr;
  stack_bottom_ = stack_;
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = stack_size_;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::enter, 0);
}

#if defined(IVF_QUICK_SWITCH)

// swapcontext() asks the kernel for the signal mask, which takes longer than most of what runs between two switches: a
// stack is entered through it, and left and entered again by the compiler's own jumps.

namespace {

// Apart from the function whose place is kept: the compiler's jump must not lead into the function that it is in.
[[noreturn, gnu::noinline]] void jump(void** place) { __builtin_longjmp(place, 1); }

}  // namespace

void Fiber::enter() { entered->entry_(); }

[[gnu::noinline]] void Fiber::switch_over(Fiber& from, Fiber& to) {
  if (__builtin_setjmp(from.place_) != 0) return;
  if (to.entered_) jump(to.place_);
  entered = &to;
  to.entered_ = true;
  setcontext(&to.context_);
}

#else

namespace {

/// Tells the address sanitizer which stack is left and which is entered.
void tell_before([[maybe_unused]] void** state, [[maybe_unused]] const void* bottom,
                 [[maybe_unused]] std::size_t size) {
#if defined(IVF_ADDRESS_SANITIZER)
  __sanitizer_start_switch_fiber(state, bottom, size);
#endif
}
/// Tells it that the stack was entered, and learns about the one that was left.
void tell_after([[maybe_unused]] void* state, [[maybe_unused]] const void** bottom,
                [[maybe_unused]] std::size_t* size) {
#if defined(IVF_ADDRESS_SANITIZER)
  __sanitizer_finish_switch_fiber(state, bottom, size);
#endif
}

}  // namespace

void Fiber::enter() {
  tell_after(entered->sanitizer_state_, &left->stack_bottom_, &left->stack_size_);
  entered->entry_();
}

void Fiber::switch_over(Fiber& from, Fiber& to) {
  left = &from;
  entered = &to;
  tell_before(&from.sanitizer_state_, to.stack_bottom_, to.stack_size_);
  swapcontext(&from.context_, &to.context_);
  tell_after(from.sanitizer_state_, &left->stack_bottom_, &left->stack_size_);
}

#endif

}  // namespace ivf::emulation
