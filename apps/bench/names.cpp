#include "bench/names.h"

namespace ivf::bench {

const char* metric_name(Metric metric) noexcept {
  switch (metric) {
    case Metric::l2:
      return "l2";
    case Metric::ip:
      return "ip";
    case Metric::cosine:
      return "cosine";
  }
  return "unknown";
}

const char* mode_name(SearchMode mode) noexcept {
  switch (mode) {
    case SearchMode::automatic:
      return "auto";
    case SearchMode::matrix:
      return "matrix";
    case SearchMode::csr:
      return "csr";
  }
  return "unknown";
}

}  // namespace ivf::bench
