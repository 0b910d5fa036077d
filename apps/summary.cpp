#include "summary.h"

#include "stdout.h"

namespace ivf::cli {

std::string to_line(const Json& object) { return object.dump(-1, ' ', false, Json::error_handler_t::replace); }

void print_json(const Json& object) { print_line(to_line(object)); }

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
