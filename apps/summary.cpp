#include "summary.h"

#include "stdout.h"

namespace ivf::cli {

// A file name that is no UTF-8 must not keep a summary from being printed.
void print_json(const Json& object) { print_line(object.dump(-1, ' ', false, Json::error_handler_t::replace)); }

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

}  // namespace ivf::cli
