// Micro-benchmarks of the kernels of every level: bytes/s, FLOP/s, and the share of what the level could do at best.
//
//   kernels_bench [d] [rows] [level]
//
// The peak of a level is measured, not looked up: a loop of independent multiply-adds (or tile products) on registers
// alone.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/levels.h"
#include "bench/peak.h"
#include "ivf/philox.hpp"
#include "rows.h"

namespace {

using namespace ivf::detail;

/// Median seconds of one call, from at least 0.2 s of calls in seven rounds.
double median_seconds(const std::function<void()>& body) {
  using clock = std::chrono::steady_clock;
  std::size_t calls = 1;
  for (;;) {
    const auto start = clock::now();
    for (std::size_t i = 0; i < calls; ++i) body();
    if (std::chrono::duration<double>(clock::now() - start).count() > 0.03) break;
    calls *= 2;
  }
  std::vector<double> rounds;
  for (int round = 0; round < 7; ++round) {
    const auto start = clock::now();
    for (std::size_t i = 0; i < calls; ++i) body();
    rounds.push_back(std::chrono::duration<double>(clock::now() - start).count() / static_cast<double>(calls));
  }
  std::nth_element(rounds.begin(), rounds.begin() + 3, rounds.end());
  return rounds[3];
}

std::vector<float> uniform(std::size_t count, std::uint64_t seed) {
  const ivf::Philox random(seed, 0);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(random.u64(i) >> 40) * 0x1p-23f - 1.0f;
  return values;
}

struct Row {
  const char* kernel;
  std::size_t queries;
  double seconds, bytes, flops;
};

void print(const char* level, const Row& row, double peak) {
  std::printf("%-10s %-8s nq=%-3zu %10.2f us %9.2f GB/s %9.1f GFLOP/s", level, row.kernel, row.queries,
              row.seconds * 1e6, row.bytes / row.seconds * 1e-9, row.flops / row.seconds * 1e-9);
  if (peak > 0) std::printf("  %5.1f %% of the level's %.0f", 100 * row.flops / row.seconds / peak, peak * 1e-9);
  std::printf("\n");
}

void bench_level(const cpu::Kernels& kernels, std::size_t d, std::size_t rows) {
  const std::vector<float> base = uniform(rows * d, 1), queries = uniform(cpu::max_tile * d, 2);
  const OwnedPlanes planes = OwnedPlanes::from(ivf::MatrixView(base.data(), rows, d));
  const double peak = ivf::bench::peak_flops(kernels.level);
  const auto& scan = *kernels.scan;
  const double hi_bytes = static_cast<double>(rows * d * 2);

  std::vector<std::vector<char>> prepared(scan.tile, std::vector<char>(scan.prepared_bytes(d) + 64));
  std::vector<const void*> pointers;
  for (std::size_t q = 0; q < scan.tile; ++q) {
    scan.prepare(queries.data() + q * d, d, prepared[q].data());
    pointers.push_back(prepared[q].data());
  }
  std::vector<char> packed(scan.packed_bytes(d) + 64), scratch(cpu::scan_scratch_bytes + 64);
  const std::size_t blocks = (rows + cpu::scan_block_rows - 1) / cpu::scan_block_rows;
  std::vector<char> staged(blocks * cpu::scan_block_rows * scan.staged_bytes(d) + 64);
  const auto aligned = [](std::vector<char>& bytes) {
    return bytes.data() + (64 - reinterpret_cast<std::uintptr_t>(bytes.data()) % 64) % 64;
  };
  std::vector<float> half(cpu::scan_rows_max), dots(cpu::scan_rows_max * scan.tile + 16), norms(32, 1.0f),
      slops(32, 0.0f);
  // Products of uniform numbers in [-1, 1) are nearly normal with variance d/9. One in 200 survives the second
  // threshold, as in the middle of a search.
  const float deviation = std::sqrt(static_cast<float>(d)) / 3.0f;
  const std::vector<float> tight(cpu::max_tile, 1e30f), usual(cpu::max_tile, 2.576f * deviation);
  const std::vector<float> kappa(cpu::max_tile, 0.0f);
  std::vector<std::uint32_t> tags(dots.size());

  print(kernels.level,
        {"stage", 0, median_seconds([&] { scan.stage(planes.hi.data(), rows, d, aligned(staged)); }), hi_bytes, 0}, 0);
  const auto scan_all = [&](std::size_t nq, const std::vector<float>& thresholds) {
    std::size_t found = 0;
    for (std::size_t row = 0; row < rows; row += cpu::scan_rows_max) {
      const cpu::ScanArgs args{aligned(staged) + row * scan.staged_bytes(d),
                               true,
                               std::min(rows - row, cpu::scan_rows_max),
                               d,
                               true,
                               aligned(packed),
                               nq,
                               half.data(),
                               norms.data(),
                               slops.data(),
                               thresholds.data(),
                               kappa.data(),
                               aligned(scratch),
                               dots.data(),
                               tags.data()};
      found += scan.scan(&args);
    }
    return found;
  };
  for (std::size_t nq : {std::size_t{1}, std::size_t{4}, scan.tile / 2, scan.tile}) {
    scan.pack(pointers.data(), nq, d, aligned(packed));
    const double flops = 2.0 * static_cast<double>(rows * d * nq);
    if (scan_all(nq, tight) != 0) std::abort();
    print(kernels.level, {"scan", nq, median_seconds([&] { scan_all(nq, tight); }), hi_bytes, flops}, peak);
    print(kernels.level, {"scan .5%", nq, median_seconds([&] { scan_all(nq, usual); }), hi_bytes, flops}, peak);
  }
  print(kernels.level,
        {"pack", scan.tile, median_seconds([&] { scan.pack(pointers.data(), scan.tile, d, aligned(packed)); }),
         static_cast<double>(scan.tile * scan.prepared_bytes(d)), 0},
        0);

  std::vector<std::uint64_t> chosen;
  const ivf::Philox random(3, 0);
  for (std::size_t i = 0; i < 64; ++i) chosen.push_back(random.u64(i) % rows);
  std::vector<float> values(chosen.size());
  const cpu::RefineArgs refine{queries.data(), planes.hi.data(), planes.lo.data(), d,
                               chosen.data(),  chosen.size(),    values.data()};
  print(kernels.level,
        {"refine", 1, median_seconds([&] { kernels.rows->refine_l2(&refine); }),
         static_cast<double>(chosen.size() * d * 4), 3.0 * static_cast<double>(chosen.size() * d)},
        0);
  std::vector<std::uint16_t> hi(rows * d), lo(rows * d);
  print(kernels.level,
        {"split", 1, median_seconds([&] { kernels.rows->split(base.data(), rows * d, hi.data(), lo.data()); }),
         static_cast<double>(rows * d * 8), 0},
        0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t d = argc > 1 ? static_cast<std::size_t>(std::atol(argv[1])) : 128;
  const std::size_t rows = argc > 2 ? static_cast<std::size_t>(std::atol(argv[2])) : 1024;
  if (d == 0 || rows == 0) {
    std::fprintf(stderr, "usage: kernels_bench [d] [rows] [level]\n");
    return 2;
  }
  std::printf("d=%zu rows=%zu, one thread\n", d, rows);
  for (const auto& kernels : cpu::levels()) {
    if (argc > 3 && std::string(argv[3]) != kernels.level) continue;
    bench_level(kernels, d, rows);
  }
}
