#include "gpu/device_memory.h"

#include "backends/gpu/engine.h"
#include "backends/gpu/kernels.h"

namespace ivf::support {
namespace {

namespace gpu = detail::gpu;

void copy(void* to, const void* from, std::size_t bytes, decltype(IVF_GPU(MemcpyHostToDevice)) kind) {
  gpu::check_status(IVF_GPU(MemcpyAsync)(to, from, bytes, kind, nullptr), "copy of a test");
  gpu::check_status(IVF_GPU(StreamSynchronize)(nullptr), "copy of a test");
}

}  // namespace

bool emulated() {
#if defined(IVF_EMULATED)
  return true;
#else
  return false;
#endif
}

void* allocate_on_device(std::size_t bytes) { return gpu::pool_allocator().allocate(bytes, nullptr); }
void free_on_device(void* memory) noexcept { gpu::pool_allocator().release(memory, nullptr); }
void copy_to_device(void* to, const void* from, std::size_t bytes) {
  copy(to, from, bytes, IVF_GPU(MemcpyHostToDevice));
}
void copy_from_device(void* to, const void* from, std::size_t bytes) {
  copy(to, from, bytes, IVF_GPU(MemcpyDeviceToHost));
}

}  // namespace ivf::support
