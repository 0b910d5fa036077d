#include "emulation/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>

namespace ivf::emulation {
namespace {

constexpr int fresh = 0xcd, released = 0xdd;
constexpr std::size_t alignment = 256;
constexpr std::size_t most_kept = 32 << 20;  // Bytes given back, and not yet to the host.

struct Allocation {
  std::unique_ptr<char, decltype(&std::free)> memory;
  std::size_t bytes;
  int device;

  bool written() const {
    return std::any_of(memory.get(), memory.get() + bytes,
                       [](char c) { return static_cast<unsigned char>(c) != released; });
  }
};

struct Memory {
  std::mutex mutex;
  std::map<const char*, Allocation> in_use;  ///< By the first byte.
  std::map<int, std::size_t> bytes_in_use;
  std::deque<Allocation> kept;
  std::size_t bytes_kept = 0;

  /// The block with the last first byte up to `at`, or null.
  const Allocation* allocation_before(const char* at) const {
    auto next = in_use.upper_bound(at);
    return next == in_use.begin() ? nullptr : &std::prev(next)->second;
  }
};

// Never destroyed: objects that end with the program give memory back.
Memory& memory() {
  static Memory& one = *new Memory;
  return one;
}

}  // namespace

std::size_t memory_of_device() {
  const char* bytes = std::getenv("IVF_EMULATED_MEMORY");
  return bytes == nullptr ? std::size_t{4} << 30 : std::strtoull(bytes, nullptr, 10);
}

std::size_t memory_in_use(int device) {
  const std::lock_guard lock(memory().mutex);
  return memory().bytes_in_use[device];
}

void* allocate(std::size_t bytes, int device) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const std::size_t all = memory_of_device(), used = m.bytes_in_use[device];
  if (used > all || bytes > all - used) return nullptr;
  char* data = static_cast<char*>(std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment));
  if (data == nullptr) return nullptr;
  std::memset(data, fresh, bytes);
  m.in_use.emplace(data, Allocation{{data, &std::free}, bytes, device});
  m.bytes_in_use[device] += bytes;
  return data;
}

emulatedError_t release(void* released_memory) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const auto found = m.in_use.find(static_cast<const char*>(released_memory));
  if (found == m.in_use.end()) return note(emulatedErrorInvalidValue);
  Allocation block = std::move(found->second);
  m.in_use.erase(found);
  m.bytes_in_use[block.device] -= block.bytes;
  std::memset(block.memory.get(), released, block.bytes);
  m.bytes_kept += block.bytes;
  m.kept.push_back(std::move(block));
  emulatedError_t status = emulatedSuccess;
  while (m.bytes_kept > most_kept) {
    if (m.kept.front().written()) status = note(emulatedErrorFreedMemory);
    m.bytes_kept -= m.kept.front().bytes;
    m.kept.pop_front();
  }
  return status;
}

emulatedError_t check_released() {
  const std::lock_guard lock(memory().mutex);
  const auto& kept = memory().kept;
  return std::any_of(kept.begin(), kept.end(), [](const Allocation& b) { return b.written(); })
             ? note(emulatedErrorFreedMemory)
             : emulatedSuccess;
}

bool is_device_memory(const void* data, std::size_t bytes) {
  const std::lock_guard lock(memory().mutex);
  const char* first = static_cast<const char*>(data);
  const Allocation* block = memory().allocation_before(first);
  return block != nullptr && first + bytes <= block->memory.get() + block->bytes;
}

bool touches_device_memory(const void* data, std::size_t bytes) {
  const std::lock_guard lock(memory().mutex);
  const char* first = static_cast<const char*>(data);
  const Allocation* block = bytes == 0 ? nullptr : memory().allocation_before(first + bytes - 1);
  return block != nullptr && block->memory.get() + block->bytes > first;
}

}  // namespace ivf::emulation
