#include "backends/gpu/staging.h"

#include <algorithm>
#include <cstring>

#include "backends/gpu/kernels.h"

namespace ivf::detail::gpu {

Staging::~Staging() {
  for (Buffer& buffer : buffers_) {
    if (buffer.left == Event{}) continue;
    static_cast<void>(IVF_GPU(EventSynchronize)(buffer.left));
    static_cast<void>(IVF_GPU(EventDestroy)(buffer.left));
    if (buffer.memory != nullptr) static_cast<void>(free_page_locked(buffer.memory));
  }
}

char* Staging::next(std::size_t bytes) {
  turn_ ^= 1;
  Buffer& buffer = buffers_[turn_];
  if (!buffer.waited_for) check_status(IVF_GPU(EventSynchronize)(buffer.left), "copy to the device");
  buffer.waited_for = true;
  if (buffer.bytes >= bytes) return buffer.memory;
  if (buffer.left == Event{})
    check_status(IVF_GPU(EventCreateWithFlags)(&buffer.left, IVF_GPU(EventDisableTiming)), "event");
  if (buffer.memory != nullptr) check_status(free_page_locked(buffer.memory), "page-locked memory");
  buffer.memory = nullptr;
  buffer.bytes = 0;
  bytes = std::max(bytes, expected_);
  void* memory = nullptr;
  check_status(allocate_page_locked(&memory, bytes), "page-locked memory");
  buffer.memory = static_cast<char*>(memory);
  buffer.bytes = bytes;
  return buffer.memory;
}

void Staging::copied(Stream stream) {
  Buffer& buffer = buffers_[turn_];
  check_status(IVF_GPU(EventRecord)(buffer.left, stream), "event");
  buffer.waited_for = false;
}

void Staging::copy(void* to, const void* from, std::size_t bytes, Stream stream) {
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t piece = std::min(bytes - done, most_bytes);
    char* buffer = next(piece);
    std::memcpy(buffer, static_cast<const char*>(from) + done, piece);
    check_status(
        IVF_GPU(MemcpyAsync)(static_cast<char*>(to) + done, buffer, piece, IVF_GPU(MemcpyHostToDevice), stream),
        "copy to the device");
    copied(stream);
    done += piece;
  }
}

}  // namespace ivf::detail::gpu
