#include "stored_reader.h"

#include <algorithm>
#include <limits>

#include "errors.h"

namespace ivf::datasets {

void StoredReader::set_shape(const Shape& shape, const ReadOptions& options) {
  shape_ = shape;
  if (shape.rows && options.start > *shape.rows) {
    throw misuse("{}: cannot start at row {}: there are {} rows", name_, options.start, *shape.rows);
  }
  constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t left = shape.rows ? *shape.rows - options.start : unlimited - options.start;
  if (options.count) left = std::min(left, *options.count);
  if (shape.rows) shape_.rows = left;
  first_row_ = next_row_ = options.start;
  last_row_ = options.start + left;
}

template <class Convert, class Value>
std::size_t StoredReader::read_with(Convert convert, Value* out, std::size_t max_rows) {
  std::size_t done = 0;
  while (done < max_rows && next_row_ < last_row_) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(max_rows - done, last_row_ - next_row_));
    const Block block = next_block(wanted);
    if (block.rows == 0) break;
    const std::size_t row_bytes = shape_.dim * element_size(shape_.element);
    const std::size_t runs = block.stride == row_bytes ? 1 : block.rows;  // rows without gaps are converted in one go
    const std::size_t run_values = block.rows / runs * shape_.dim;
    for (std::size_t run = 0; run < runs; ++run) {
      const std::size_t converted = convert(shape_.element, shape_.swapped, block.first + run * block.stride,
                                            run_values, out + done * shape_.dim + run * run_values);
      if (converted < run_values) {
        const std::uint64_t index = run * run_values + converted;
        throw misuse(
            "{}: row {}, column {}: this {} has no exact float32 counterpart; scale the data or store them as float32",
            name_, next_row_ + index / shape_.dim, index % shape_.dim, element_name(shape_.reported));
      }
    }
    done += block.rows;
    next_row_ += block.rows;
  }
  return done;
}

std::size_t StoredReader::read(float* out, std::size_t max_rows) { return read_with(to_float, out, max_rows); }

std::size_t StoredReader::read_ids(idx_t* out, std::size_t max_rows) {
  if (!is_integer(shape_.element)) {
    throw misuse("{}: ids must be integers, these are {}", name_, element_name(shape_.reported));
  }
  return read_with(to_ids, out, max_rows);
}

std::size_t checked_dim(std::int64_t dim, const std::string& name, const std::string& what) {
  if (dim < 1 || dim > static_cast<std::int64_t>(kMaxDim)) {
    throw corrupt("{}: {}: expected a dimension of 1 to {}, found {}", name, what, kMaxDim, dim);
  }
  return static_cast<std::size_t>(dim);
}

std::uint64_t checked_product(std::uint64_t a, std::uint64_t b, const std::string& name) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product) || product > std::numeric_limits<std::int64_t>::max()) {
    throw corrupt("{}: its header claims {} times {}, more than any file holds", name, a, b);
  }
  return product;
}

}  // namespace ivf::datasets
