#include "hdf5_chunks.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "errors.h"

namespace ivf::datasets {

namespace {

/// The checksum of H5Z_FILTER_FLETCHER32: over big-endian 16-bit words, an odd byte at the end counts as a high one.
std::uint32_t fletcher32(const std::byte* data, std::size_t size) noexcept {
  constexpr std::size_t kNoOverflow = 360;  // so many words can be added before the sums must be folded
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  const auto fold = [](std::uint32_t sum) { return (sum & 0xffff) + (sum >> 16); };
  std::size_t words = size / 2;
  while (words > 0) {
    std::size_t block = std::min(words, kNoOverflow);
    words -= block;
    for (; block > 0; --block, data += 2) {
      low += (std::to_integer<std::uint32_t>(data[0]) << 8) | std::to_integer<std::uint32_t>(data[1]);
      high += low;
    }
    low = fold(low);
    high = fold(high);
  }
  if (size % 2 != 0) {
    low += std::to_integer<std::uint32_t>(*data) << 8;
    high += low;
  }
  low = fold(fold(low));
  high = fold(fold(high));
  return (high << 16) | low;
}

/// Byte j of every element lies in block j of the shuffled bytes; what is left over at the end is as it was.
void unshuffle(const std::byte* in, std::size_t size, std::size_t element, std::byte* out) noexcept {
  const std::size_t count = size / element;
  for (std::size_t byte = 0; byte < element; ++byte) {
    for (std::size_t i = 0; i < count; ++i) out[i * element + byte] = in[byte * count + i];
  }
  std::copy(in + count * element, in + size, out + count * element);
}

/// Expands exactly `size` bytes.
bool inflate_exactly(const std::vector<std::byte>& in, std::byte* out, std::size_t size) noexcept {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out);
  stream.avail_out = static_cast<uInt>(size);
  const int status = inflate(&stream, Z_FINISH);
  const bool whole = status == Z_STREAM_END && stream.avail_out == 0;
  inflateEnd(&stream);
  return whole;
}

}  // namespace

std::vector<Hdf5Chunks::Filter> Hdf5Chunks::filters_of(hid_t create_plist) {
  std::vector<Filter> filters;
  const int count = H5Pget_nfilters(create_plist);
  for (int i = 0; i < count; ++i) {
    unsigned flags = 0;
    unsigned value = 0;
    std::size_t values = 1;
    Filter filter;
    filter.id = H5Pget_filter2(create_plist, static_cast<unsigned>(i), &flags, &values, &value, 0, nullptr, nullptr);
    if (filter.id == H5Z_FILTER_SHUFFLE && values > 0) filter.shuffled_size = std::max(1u, value);
    filters.push_back(filter);
  }
  return filters;
}

bool Hdf5Chunks::can_undo(hid_t create_plist) {
  const auto filters = filters_of(create_plist);
  return std::all_of(filters.begin(), filters.end(), [](const Filter& filter) {
    return filter.id == H5Z_FILTER_DEFLATE || filter.id == H5Z_FILTER_SHUFFLE || filter.id == H5Z_FILTER_FLETCHER32;
  });
}

Hdf5Chunks::Hdf5Chunks(hid_t dataset, std::string name, const ChunkView& view, hid_t memory_type,
                       std::uint64_t file_bytes)
    : dataset_(dataset),
      name_(std::move(name)),
      view_(view),
      memory_type_(memory_type),
      file_bytes_(file_bytes),
      file_type_(H5Dget_type(dataset)) {
  stored_size_ = H5Tget_size(file_type_.get());
  memory_size_ = H5Tget_size(memory_type_);
  const Hdf5Id plist(H5Dget_create_plist(dataset));
  filters_ = filters_of(plist.get());
  unsigned options = 0;
  H5Pget_chunk_opts(plist.get(), &options);
  plain_edges_ = (options & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS) != 0;
  fill_.resize(memory_size_);
  H5D_fill_value_t fill = H5D_FILL_VALUE_ERROR;
  if (H5Pfill_value_defined(plist.get(), &fill) < 0 ||
      (fill == H5D_FILL_VALUE_USER_DEFINED && H5Pget_fill_value(plist.get(), memory_type_, fill_.data()) < 0)) {
    throw corrupt("{}: its fill value cannot be read: {}", name_, hdf5_reason());
  }

  chunk_bytes_ = static_cast<std::size_t>(view_.chunk_rows * view_.chunk_columns) * stored_size_;
}

void Hdf5Chunks::fail(const std::string& what) const {
  throw corrupt("{}: the chunk at row {}, column {} {}", name_, row_, column_, what);
}

void Hdf5Chunks::undo_filters(std::uint32_t skipped) {
  constexpr std::size_t kChecksum = sizeof(std::uint32_t);
  for (std::size_t i = filters_.size(); i-- > 0;) {
    if ((skipped >> i & 1) != 0) continue;
    const H5Z_filter_t id = filters_[i].id;
    if (id == H5Z_FILTER_FLETCHER32) {
      if (stored_.size() < kChecksum) fail("is too short for its checksum");
      const std::size_t size = stored_.size() - kChecksum;
      std::uint32_t expected = 0;
      std::memcpy(&expected, stored_.data() + size, kChecksum);
      if (const std::uint32_t found = fletcher32(stored_.data(), size); found != expected) {
        fail(fmt::format("has checksum {:#010x}, expected {:#010x}", found, expected));
      }
      stored_.resize(size);
    } else if (id == H5Z_FILTER_SHUFFLE) {
      scratch_.resize(stored_.size());
      unshuffle(stored_.data(), stored_.size(), filters_[i].shuffled_size, scratch_.data());
      stored_.swap(scratch_);
    } else {
      // Checksums that were added before the compression are in what expands.
      const auto inner = std::count_if(filters_.begin(), filters_.begin() + static_cast<std::ptrdiff_t>(i),
                                       [](const Filter& filter) { return filter.id == H5Z_FILTER_FLETCHER32; });
      scratch_.resize(chunk_bytes_ + kChecksum * static_cast<std::size_t>(inner));
      if (!inflate_exactly(stored_, scratch_.data(), scratch_.size())) {
        fail(fmt::format("does not expand to {} bytes", scratch_.size()));
      }
      stored_.swap(scratch_);
    }
  }
  if (stored_.size() != chunk_bytes_) fail(fmt::format("has {} bytes, expected {}", stored_.size(), chunk_bytes_));
}

bool Hdf5Chunks::load(std::uint64_t row, std::uint64_t column) {
  // Deflate shrinks to no less than 1/1032. What claims to expand further is refused before memory is taken for it.
  constexpr std::uint64_t kMaxExpansion = 1032;
  row_ = row;
  column_ = column;
  const std::array<hsize_t, 2> offset{view_.axes == ChunkView::Axes::columns ? column : row, column};
  hsize_t size = 0;
  if (H5Dget_chunk_storage_size(dataset_, offset.data(), &size) < 0) fail("cannot be found: " + hdf5_reason());
  if (size == 0) return false;
  if (size > file_bytes_) fail(fmt::format("claims {} bytes, the file has {}", size, file_bytes_));
  if (size < chunk_bytes_ / kMaxExpansion) {
    fail(fmt::format("has {} bytes, which cannot expand to {}", size, chunk_bytes_));
  }
  stored_.resize(static_cast<std::size_t>(size));
  std::uint32_t skipped = 0;
  if (H5Dread_chunk(dataset_, H5P_DEFAULT, offset.data(), &skipped, stored_.data()) < 0) {
    fail("cannot be read: " + hdf5_reason());
  }
  const bool partial = row + view_.chunk_rows > view_.rows || column + view_.chunk_columns > view_.columns;
  if (plain_edges_ && partial) skipped = ~std::uint32_t{0};
  undo_filters(skipped);
  const std::size_t elements = chunk_bytes_ / stored_size_;
  expanded_.resize(elements * std::max(stored_size_, memory_size_));
  std::memcpy(expanded_.data(), stored_.data(), stored_.size());
  if (H5Tconvert(file_type_.get(), memory_type_, elements, expanded_.data(), nullptr, H5P_DEFAULT) < 0) {
    fail("cannot be converted: " + hdf5_reason());
  }
  return true;
}

void Hdf5Chunks::read(std::uint64_t first, std::uint64_t count, std::byte* out) {
  const std::uint64_t end = first + count;
  for (std::uint64_t row = first / view_.chunk_rows * view_.chunk_rows; row < end; row += view_.chunk_rows) {
    const std::uint64_t from = std::max(row, first);
    const std::uint64_t to = std::min(row + view_.chunk_rows, end);
    for (std::uint64_t column = 0; column < view_.columns; column += view_.chunk_columns) {
      const bool stored = load(row, column);
      const std::uint64_t width = std::min(view_.chunk_columns, view_.columns - column);
      for (std::uint64_t r = from; r < to; ++r) {
        std::byte* place = out + ((r - first) * view_.columns + column) * memory_size_;
        if (stored) {
          std::memcpy(place, expanded_.data() + (r - row) * view_.chunk_columns * memory_size_, width * memory_size_);
        } else {
          for (std::uint64_t i = 0; i < width; ++i) std::memcpy(place + i * memory_size_, fill_.data(), memory_size_);
        }
      }
    }
  }
}

}  // namespace ivf::datasets
