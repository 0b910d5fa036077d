// Which levels this machine can run: the CPU must have the instructions, and the operating system must save the
// registers.

#include <cstdlib>
#include <mutex>
#include <string>

#include <fmt/format.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/levels.h"
#include "ivf/error.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ivf::detail {
namespace cpu {
namespace {

#if defined(__x86_64__)

struct Features {
  bool avx2 = false, avx512 = false, bf16 = false, amx = false;
  bool fast_bf16 = false;  ///< vdpbf16ps does more work in a cycle than float32 multiply-adds.
};

std::uint64_t enabled_state() noexcept {
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

Features detect() noexcept {
  Features found;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) == 0) return found;
  // "AuthenticAMD", in the order b, d, c. On its cores vdpbf16ps does twice the work of float32 multiply-adds, on
  // Intel's half of it (docs/simd.md).
  found.fast_bf16 = b == 0x68747541 && d == 0x69746e65 && c == 0x444d4163;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return found;
  constexpr unsigned osxsave = 1u << 27, avx = 1u << 28, fma = 1u << 12, f16c = 1u << 29;
  if ((c & osxsave) == 0 || (c & avx) == 0) return found;
  const bool has_fma = (c & fma) != 0 && (c & f16c) != 0;
  const std::uint64_t state = enabled_state();
  constexpr std::uint64_t ymm_state = 0x6, zmm_state = 0xe6, tile_state = 0x60000;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  const auto bit = [](unsigned word, int i) { return ((word >> i) & 1u) != 0; };
  found.avx2 = has_fma && bit(b, 5) && (state & ymm_state) == ymm_state;
  // F, DQ, BW, VL
  found.avx512 = found.avx2 && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31) && (state & zmm_state) == zmm_state;
  const bool amx_bf16 = bit(d, 22) && bit(d, 24);
  unsigned a1 = 0, b1 = 0, c1 = 0, d1 = 0;
  found.bf16 = found.avx512 && __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1) != 0 && bit(a1, 5);
  found.amx = found.bf16 && amx_bf16 && (state & tile_state) == tile_state && amx_permitted();
  return found;
}

#endif

std::vector<Kernels> supported() {
  std::vector<Kernels> levels{{"scalar", &rows_scalar, &scan_scalar, nullptr, 0}};
#if defined(__x86_64__)
  const Features features = detect();
  if (features.avx2) levels.push_back({"avx2", &rows_avx2, &scan_avx2, &few_avx2, 8});
  const Kernels bf16{"avx512bf16", &rows_avx512, &scan_bf16, &few_bf16, 8};
  if (features.bf16 && !features.fast_bf16) levels.push_back(bf16);
  if (features.avx512) levels.push_back({"avx512", &rows_avx512, &scan_avx512, &few_avx512, 8});
  if (features.bf16 && features.fast_bf16) levels.push_back(bf16);
  if (features.amx) levels.push_back({"amx", &rows_avx512, &scan_amx, &few_bf16, 4});
#elif defined(__aarch64__)
  levels.push_back({"neon", &rows_neon, &scan_neon, nullptr, 0});  // Every AArch64 CPU has it.
#endif
  return levels;
}

std::string level_names() {
  std::string names;
  for (const Kernels& kernels : levels()) names += (names.empty() ? "" : ", ") + std::string(kernels.level);
  return names;
}

}  // namespace

const std::vector<Kernels>& levels() {
  static const std::vector<Kernels> found = supported();
  return found;
}

bool amx_permitted() noexcept {
#if defined(__x86_64__) && defined(__linux__)
  // Linux keeps the 8 KiB of tile state off until a process asks for it (arch_prctl ARCH_REQ_XCOMP_PERM, feature 18).
  static const bool granted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return granted;
#else
  return false;
#endif
}

const Kernels& best_kernels() noexcept { return levels().back(); }

}  // namespace cpu

std::vector<std::string_view> cpu_levels() {
  std::vector<std::string_view> names;
  for (const cpu::Kernels& kernels : cpu::levels()) names.emplace_back(kernels.level);
  return names;
}

Backend& cpu_backend_at(std::string_view level) {
  static std::mutex mutex;
  static std::vector<std::unique_ptr<cpu::CpuBackend>> backends;
  const std::lock_guard lock(mutex);
  for (const auto& backend : backends) {
    if (backend->isa() == level) return *backend;
  }
  for (const cpu::Kernels& kernels : cpu::levels()) {
    if (level == kernels.level) return *backends.emplace_back(std::make_unique<cpu::CpuBackend>(kernels));
  }
  throw Error(ErrorKind::misuse,
              fmt::format("IVF_ISA: expected one of the levels that this machine runs ({}), found \"{}\"",
                          cpu::level_names(), level));
}

Backend& cpu_backend() {
  const char* forced = std::getenv("IVF_ISA");
  return cpu_backend_at(forced != nullptr && *forced != '\0' ? forced : cpu::best_kernels().level);
}

}  // namespace ivf::detail
