#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>

#include "counters.h"
#include "version.h"

namespace ivf::test_device {
namespace {

struct Block {
  std::size_t bytes = 0;
  c10::DeviceIndex device = 0;
  std::unique_ptr<char[]> data;
};

struct Usage {
  std::uint64_t now = 0, peak = 0;
};

struct Arena {
  std::mutex mutex;
  std::map<std::uintptr_t, Block> blocks;  ///< By device address.
  std::array<Usage, device_count> usage;
};

/// Never destroyed: LibTorch may free tensors when the process ends.
Arena& arena() {
  static Arena* const only = new Arena;
  return *only;
}

thread_local c10::DeviceIndex current = 0;

std::uint64_t limit() {
  const char* text = std::getenv("IVF_TEST_DEVICE_MEMORY");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::numeric_limits<std::uint64_t>::max();
}

std::size_t whole_pages(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

void* allocate_block(std::size_t bytes) {
  Arena& memory = arena();
  const std::lock_guard lock(memory.mutex);
  Usage& usage = memory.usage.at(static_cast<std::size_t>(current));
  const std::uint64_t most = limit();
  TORCH_CHECK(bytes <= most && usage.now <= most - bytes, "test device: out of memory: ", bytes, " bytes asked for, ",
              usage.now, " of ", most, " in use");
  auto data = std::make_unique_for_overwrite<char[]>(bytes);
  // What was never written reads as NaN in every type, and as unlikely numbers in integers.
  std::memset(data.get(), 0xff, bytes);
  void* address = mmap(nullptr, whole_pages(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  TORCH_CHECK(address != MAP_FAILED, "test device: no address space for ", bytes, " bytes");
  memory.blocks[reinterpret_cast<std::uintptr_t>(address)] = Block{bytes, current, std::move(data)};
  usage.now += bytes;
  usage.peak = std::max(usage.peak, usage.now);
  return address;
}

void free_block(void* address) {
  if (address == nullptr) return;
  Arena& memory = arena();
  const std::lock_guard lock(memory.mutex);
  const auto found = memory.blocks.find(reinterpret_cast<std::uintptr_t>(address));
  if (found == memory.blocks.end()) std::abort();  // Freed twice, or never given out.
  munmap(address, whole_pages(found->second.bytes));
  memory.usage.at(static_cast<std::size_t>(found->second.device)).now -= found->second.bytes;
  memory.blocks.erase(found);
}

class DeviceAllocator final : public c10::Allocator {
 public:
#if IVF_TEST_DEVICE_SINCE(2, 3)
  c10::DataPtr allocate(std::size_t bytes) override { return make(bytes); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    if (bytes != 0) std::memcpy(shadow(to), shadow(from), bytes);
  }
#else
  c10::DataPtr allocate(std::size_t bytes) const override { return make(bytes); }
#endif
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }

 private:
  static c10::DataPtr make(std::size_t bytes) {
    void* address = bytes != 0 ? allocate_block(bytes) : nullptr;
    return {address, address, &free_block, c10::Device(c10::DeviceType::PrivateUse1, current)};
  }
};

}  // namespace

c10::DeviceIndex current_device() noexcept { return current; }

void set_current_device(c10::DeviceIndex index) {
  TORCH_CHECK(index >= 0 && index < device_count, "test device: expected a device of 0 to ", device_count - 1,
              ", found ", static_cast<int>(index));
  current = index;
}

c10::Allocator& allocator() {
  static DeviceAllocator* const only = new DeviceAllocator;
  return *only;
}

void* shadow(const void* address) {
  if (address == nullptr) return nullptr;
  Arena& memory = arena();
  const std::lock_guard lock(memory.mutex);
  const auto number = reinterpret_cast<std::uintptr_t>(address);
  auto found = memory.blocks.upper_bound(number);
  TORCH_CHECK(found != memory.blocks.begin(), "test device: not an address of the device");
  --found;
  const std::size_t offset = number - found->first;
  TORCH_CHECK(offset <= found->second.bytes, "test device: not an address of the device");
  return found->second.data.get() + offset;
}

}  // namespace ivf::test_device

std::uint64_t ivf_test_device_bytes() {
  auto& memory = ivf::test_device::arena();
  const std::lock_guard lock(memory.mutex);
  return memory.usage[0].now;
}

std::uint64_t ivf_test_device_peak() {
  auto& memory = ivf::test_device::arena();
  const std::lock_guard lock(memory.mutex);
  const std::uint64_t peak = memory.usage[0].peak;
  memory.usage[0].peak = memory.usage[0].now;
  return peak;
}
