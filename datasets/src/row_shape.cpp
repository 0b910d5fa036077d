#include "row_shape.h"

#include <limits>

#include "errors.h"
#include "stored_reader.h"

namespace ivf::datasets {

RowShape row_shape(const std::vector<std::uint64_t>& axes, Element element, const std::string& name) {
  if (axes.empty() || axes.size() > 2) {
    throw misuse("{}: has {} axes; expected two, rows and columns (reshape it with array.reshape(rows, -1))", name,
                 axes.size());
  }
  const bool list_of_ids = axes.size() == 1 && (element == Element::i32 || element == Element::i64);
  const std::uint64_t dim = list_of_ids ? 1 : axes.back();
  const std::uint64_t rows = list_of_ids || axes.size() == 2 ? axes.front() : 1;
  const auto limited = static_cast<std::int64_t>(
      dim > std::uint64_t{std::numeric_limits<std::int64_t>::max()} ? std::numeric_limits<std::int64_t>::max() : dim);
  return {rows, checked_dim(limited, name, "shape")};
}

}  // namespace ivf::datasets
