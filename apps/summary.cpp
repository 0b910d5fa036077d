#include "summary.h"

#include "stdout.h"

namespace ivf::cli {

std::string to_line(const Json& object) { return object.dump(-1, ' ', false, Json::error_handler_t::replace); }

void print_json(const Json& object) { print_line(to_line(object)); }

}  // namespace ivf::cli
