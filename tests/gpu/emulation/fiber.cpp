// The C library's checked longjmp takes a jump to another stack for an error.
#undef _FORTIFY_SOURCE
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
#endif

namespace ivf::emulation {
namespace {

#if defined(IVF_ADDRESS_SANITIZER)
constexpr std::size_t stack_bytes = 256 << 10;  // Red zones around every variable.
#else
constexpr std::size_t stack_bytes = 64 << 10;
#endif

// The two sides of the last switch. Blocks run one at a time, whatever the thread: see grid.cpp.
Fiber *left = nullptr, *entered = nullptr;

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
  if (stack_ == nullptr) stack_ = new_stack();
  entry_ = entry;
  entered_ = false;
  sanitizer_state_ = nullptr;
  stack_bottom_ = stack_;
  stack_size_ = stack_bytes;
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = stack_bytes;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::enter, 0);
}

#if defined(IVF_ADDRESS_SANITIZER)

// Told of every switch, the sanitizer knows which stack it is on. It takes jumps for the end of the frames between.

void Fiber::enter() {
  __sanitizer_finish_switch_fiber(entered->sanitizer_state_, &left->stack_bottom_, &left->stack_size_);
  entered->entry_();
}

void Fiber::switch_over(Fiber& from, Fiber& to) {
  left = &from;
  entered = &to;
  to.entered_ = true;
  __sanitizer_start_switch_fiber(&from.sanitizer_state_, to.stack_bottom_, to.stack_size_);
  swapcontext(&from.context_, &to.context_);
  __sanitizer_finish_switch_fiber(from.sanitizer_state_, &left->stack_bottom_, &left->stack_size_);
}

#else

void Fiber::enter() { entered->entry_(); }

// swapcontext() asks the kernel for the signal mask at each switch, which costs more than most of what runs between
// two of them: it is used to enter a stack, and jumps from then on.
void Fiber::switch_over(Fiber& from, Fiber& to) {
  if (_setjmp(from.place_) != 0) return;
  if (to.entered_) _longjmp(to.place_, 1);
  left = &from;
  entered = &to;
  to.entered_ = true;
  setcontext(&to.context_);
}

#endif

}  // namespace ivf::emulation
