#include "emulation/grid.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <vector>

#include "emulation/fiber.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace ivf::emulation {

char* dynamic_memory = nullptr;

namespace {

constexpr unsigned char poison = 0xcd;
constexpr std::size_t guard_bytes = 256;  // Behind the shared memory of a block, to see whether it was written.

/// Which of several threads or blocks comes next, in one grid.
class Order {
 public:
  Order() {
    const char* seed = std::getenv("IVF_EMULATED_ORDER");
    if (seed != nullptr) random_.seed(static_cast<unsigned>(std::strtoul(seed, nullptr, 10)));
    by_number_ = seed == nullptr || std::strtoul(seed, nullptr, 10) == 0;
  }
  /// One of `count` (not 0) that wait, the first of which has waited longest.
  std::size_t next(std::size_t count) { return by_number_ ? 0 : random_() % count; }
  void arrange(std::vector<unsigned>& numbers) {
    if (!by_number_) std::shuffle(numbers.begin(), numbers.end(), random_);
  }

 private:
  bool by_number_;
  std::minstd_rand random_;
};

/// Threads that wait until as many have come as there are.
struct Barrier {
  unsigned waiting[most_threads];
  unsigned count = 0;
  unsigned passed = 0;  ///< How often all had come.
};

/// Threads that can go on, those that have waited longest in front.
class Ready {
 public:
  bool empty() const { return count_ == 0; }
  void add(unsigned thread) { threads_[(first_ + count_++) % most_threads] = thread; }
  unsigned take(Order& order) {
    unsigned& front = threads_[first_];
    std::swap(front, threads_[(first_ + order.next(count_)) % most_threads]);
    first_ = (first_ + 1) % most_threads;
    --count_;
    return front;
  }

 private:
  unsigned threads_[most_threads];
  std::size_t first_ = 0, count_ = 0;
};

/// The threads of one block. A thread that waits at a barrier is left for one that is ready; when none is, either all
/// have ended or none will ever go on.
class Block {
 public:
  /// Returns whether all threads ended.
  bool run(unsigned threads, const std::function<void()>& thread, Order& order);
  void wait(Barrier& barrier, unsigned size);
  void wait_for_block() { wait(all_, threads_); }
  void wait_for_warp() {
    wait(warp().barrier, std::min(warp_threads, threads_ - current_ / warp_threads * warp_threads));
  }
  const std::uint64_t* exchange_words(std::uint64_t word);

 private:
  struct Warp {
    Barrier barrier;
    std::uint64_t words[2][warp_threads];
  };

  static void thread_main();
  Warp& warp() { return warps_[current_ / warp_threads]; }
  /// Leaves `from` for a thread that is ready, or for the caller of run().
  void give_way(Fiber& from);

  std::vector<std::unique_ptr<Fiber>> fibers_;  ///< Kept from block to block.
  Fiber caller_;
  Order* order_ = nullptr;
  const std::function<void()>* thread_ = nullptr;
  unsigned threads_ = 0, ended_ = 0, current_ = 0;
  Ready ready_;
  Barrier all_;
  Warp warps_[most_threads / warp_threads];
};

// The block that runs, if any: kernels know of no other way to it.
Block* running = nullptr;

bool Block::run(unsigned threads, const std::function<void()>& thread, Order& order) {
  order_ = &order;
  thread_ = &thread;
  threads_ = threads;
  ended_ = 0;
  while (fibers_.size() < threads) {
    fibers_.push_back(std::make_unique<Fiber>());
    fibers_.back()->begin(&Block::thread_main);
  }
  for (unsigned i = 0; i < threads; ++i) ready_.add(i);
  give_way(caller_);
  if (ended_ == threads) return true;
  // Those that wait are given up where they are.
  fibers_.clear();
  all_.count = 0;
  for (Warp& w : warps_) w.barrier.count = 0;
  return false;
}

void Block::give_way(Fiber& from) {
  if (ready_.empty()) {
    Fiber::switch_over(from, caller_);
    return;
  }
  current_ = ready_.take(*order_);
  threadIdx = dim3(current_);
  Fiber& to = *fibers_[current_];
  if (&to != &from) Fiber::switch_over(from, to);
}

void Block::thread_main() {
  // A fiber serves thread after thread: each round is one of another block.
  for (;;) {
    (*running->thread_)();
    ++running->ended_;
    running->give_way(*running->fibers_[running->current_]);
  }
}

void Block::wait(Barrier& barrier, unsigned size) {
  const unsigned self = current_;
  if (barrier.count + 1 < size) {
    barrier.waiting[barrier.count++] = self;
    give_way(*fibers_[self]);
    return;
  }
  for (unsigned i = 0; i < barrier.count; ++i) ready_.add(barrier.waiting[i]);
  barrier.count = 0;
  ++barrier.passed;
}

const std::uint64_t* Block::exchange_words(std::uint64_t word) {
  Warp& w = warp();
  // The words of one exchange are read while those of the next are written, at most: two sets do.
  std::uint64_t* words = w.words[w.barrier.passed % 2];
  words[current_ % warp_threads] = word;
  wait_for_warp();
  return words;
}

/// What all grids share, one at a time.
struct Machine {
  std::mutex mutex;
  Block block;
  std::map<const void*, std::size_t> allowed;  ///< Shared memory, for kernels that may have more than usual.
  std::unique_ptr<char, decltype(&std::free)> memory{nullptr, &std::free};
};

Machine& machine() {
  static Machine one;
  return one;
}

bool can_launch(const Machine& m, const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes) {
  const auto allowed = m.allowed.find(kernel);
  return grid.x != 0 && grid.y != 0 && grid.y < 65536 && grid.z == 1 && block.x != 0 && block.x <= most_threads &&
         block.y == 1 && block.z == 1 &&
         shared_bytes <= (allowed == m.allowed.end() ? usual_shared_bytes : allowed->second);
}

}  // namespace

emulatedError_t allow_shared_bytes(const void* kernel, int bytes) {
  if (bytes < 0 || static_cast<std::size_t>(bytes) > most_shared_bytes) return note(emulatedErrorInvalidValue);
  const std::lock_guard lock(machine().mutex);
  machine().allowed[kernel] = std::max(usual_shared_bytes, static_cast<std::size_t>(bytes));
  return emulatedSuccess;
}

void run(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread) {
  Machine& m = machine();
  const std::lock_guard lock(m.mutex);
  if (!can_launch(m, kernel, grid, block, shared_bytes)) {
    note(emulatedErrorLaunchConfiguration);
    return;
  }
  if (m.memory == nullptr)
    m.memory.reset(static_cast<char*>(std::aligned_alloc(dynamic_alignment, most_shared_bytes + dynamic_alignment)));
  dynamic_memory = m.memory.get();
  gridDim = grid;
  blockDim = block;
  Order order;
  running = &m.block;
  std::vector<unsigned> blocks(std::size_t{grid.x} * grid.y);
  std::iota(blocks.begin(), blocks.end(), 0u);
  order.arrange(blocks);
  for (const unsigned number : blocks) {
    blockIdx = dim3(number % grid.x, number / grid.x);
    std::memset(dynamic_memory, poison, shared_bytes + guard_bytes);
    if (!m.block.run(block.x, thread, order)) {
      note(emulatedErrorBarrier);
      break;
    }
    const char* guard = dynamic_memory + shared_bytes;
    if (std::any_of(guard, guard + guard_bytes, [](char c) { return static_cast<unsigned char>(c) != poison; }))
      note(emulatedErrorSharedMemory);
  }
  running = nullptr;
}

void wait_for_block() { running->wait_for_block(); }
void wait_for_warp() { running->wait_for_warp(); }
const std::uint64_t* exchange_words(std::uint64_t word) { return running->exchange_words(word); }

}  // namespace ivf::emulation
