// Data sets of HDF5 files, read in slabs.

#include "hdf5_source.h"

#include <algorithm>
#include <array>
#include <vector>

#include "errors.h"
#include "row_shape.h"
#include "stored_reader.h"

namespace ivf::datasets {

namespace {

/// Memory for one slab.
constexpr std::uint64_t kSlabBytes = std::uint64_t{4} << 20;
/// A band of chunks, as many as lie side by side, is held whole. Beyond this the data set is refused
/// rather than memory filled.
constexpr std::uint64_t kMaxBand = std::uint64_t{1} << 30;

Hdf5Type plan_integer(std::size_t size, bool is_signed) {
  if (size == 1 && is_signed) return {H5T_NATIVE_INT8, Element::i8, Element::i8};
  if (size == 1) return {H5T_NATIVE_UINT8, Element::u8, Element::u8};
  if (size < 4 || (size == 4 && is_signed)) return {H5T_NATIVE_INT32, Element::i32, Element::i32};
  if (size < 8 || is_signed) return {H5T_NATIVE_INT64, Element::i64, Element::i64};
  return {H5T_NATIVE_UINT64, Element::i64, Element::i64, true};
}

Hdf5Type plan_type(hid_t dataset, const std::string& name) {
  constexpr std::size_t kMaxInteger = 8;
  constexpr std::size_t kMaxFloat = 16;
  const Hdf5Id type(H5Dget_type(dataset));
  const std::size_t size = type ? H5Tget_size(type.get()) : 0;
  const H5T_class_t kind = type ? H5Tget_class(type.get()) : H5T_NO_CLASS;
  if (kind == H5T_INTEGER && size <= kMaxInteger) return plan_integer(size, H5Tget_sign(type.get()) == H5T_SGN_2);
  if (kind == H5T_FLOAT && size <= kMaxFloat) {
    if (size == 2) return {H5T_NATIVE_FLOAT, Element::f32, Element::f16};
    if (size <= 4) return {H5T_NATIVE_FLOAT, Element::f32, Element::f32};
    return {H5T_NATIVE_DOUBLE, Element::f64, Element::f64};
  }
  throw misuse("{}: holds no plain numbers (integers of at most 64 bits or floating point); choose another data set",
               name);
}

std::vector<std::uint64_t> axes_of(hid_t dataset, const std::string& name) {
  const Hdf5Id space(H5Dget_space(dataset));
  const int rank = space ? H5Sget_simple_extent_ndims(space.get()) : -1;
  if (rank < 0) throw corrupt("{}: its shape cannot be read: {}", name, hdf5_reason());
  std::vector<hsize_t> axes(static_cast<std::size_t>(rank));
  if (rank > 0) H5Sget_simple_extent_dims(space.get(), axes.data(), nullptr);
  return {axes.begin(), axes.end()};
}

}  // namespace

Hdf5Source::Hdf5Source(const std::string& path, const std::string& dataset) : name_(path + ":" + dataset) {
  const Hdf5Guard guard;
  file_ = hdf5_open_file(path);
  dataset_ = hdf5_open_dataset(file_.get(), path, dataset);
  type_ = plan_type(dataset_.get(), name_);
  const auto axes = axes_of(dataset_.get(), name_);
  const RowShape shape = row_shape(axes, type_.reported, name_);
  rank_ = axes.size();
  one_row_ = rank_ == 1 && shape.dim > 1;
  shape_.rows = shape.rows;
  shape_.dim = shape.dim;
  shape_.element = type_.element;
  shape_.reported = type_.reported;
  shape_.row_bytes = shape.dim * element_size(type_.element);
  checked_product(shape.rows, shape_.row_bytes, name_);
  plan_slabs();
}

Hdf5Source::~Hdf5Source() {
  const Hdf5Guard guard;
  chunks_.reset();
  dataset_.reset();
  file_.reset();
}

std::uint64_t Hdf5Source::file_bytes() const {
  hsize_t bytes = 0;
  H5Fget_filesize(file_.get(), &bytes);
  return bytes;
}

int Hdf5Source::descriptor() const {
  const Hdf5Guard guard;
  void* handle = nullptr;
  // The library's default driver has a file descriptor for a handle.
  return H5Fget_vfd_handle(file_.get(), H5P_DEFAULT, &handle) < 0 || handle == nullptr ? -1
                                                                                       : *static_cast<int*>(handle);
}

void Hdf5Source::plan_slabs() {
  shape_.slab_rows = std::max<std::uint64_t>(1, kSlabBytes / shape_.row_bytes);
  shape_.working_bytes = 2 * kSlabBytes;
  const Hdf5Id plist(H5Dget_create_plist(dataset_.get()));
  if (H5Pget_layout(plist.get()) == H5D_CHUNKED && H5Pget_nfilters(plist.get()) != 0) {
    const ChunkView view = chunk_view(plist.get());
    // A chunk as it is stored, as it is expanded, and a step between.
    shape_.working_bytes += 4 * check_chunks(plist.get(), view);
    chunks_ = std::make_unique<Hdf5Chunks>(dataset_.get(), name_, view, type_.memory, file_bytes());
    shape_.slab_rows = std::max<std::uint64_t>(1, shape_.slab_rows / view.chunk_rows) * view.chunk_rows;
  }
  shape_.slab_rows = std::min(shape_.slab_rows, std::max<std::uint64_t>(1, shape_.rows));
}

ChunkView Hdf5Source::chunk_view(hid_t plist) const {
  std::array<hsize_t, 2> chunk{1, 1};
  const int rank = static_cast<int>(rank_);
  if (H5Pget_chunk(plist, rank, chunk.data()) != rank || chunk[0] == 0 || chunk[1] == 0) {
    throw corrupt("{}: its chunks cannot be read: {}", name_, hdf5_reason());
  }
  ChunkView view;
  view.rows = shape_.rows;
  view.columns = shape_.dim;
  if (rank_ == 2) {
    view.chunk_rows = chunk[0];
    view.chunk_columns = chunk[1];
  } else {
    view.axes = one_row_ ? ChunkView::Axes::columns : ChunkView::Axes::rows;
    (one_row_ ? view.chunk_columns : view.chunk_rows) = chunk[0];
  }
  return view;
}

/// The bytes of a band.
std::uint64_t Hdf5Source::check_chunks(hid_t plist, const ChunkView& view) const {
  if (!Hdf5Chunks::can_undo(plist)) {
    throw corrupt(
        "{}: is compressed with something else than gzip; no plugins are loaded; store it with gzip "
        "(h5repack -f GZIP=4)",
        name_);
  }
  const Hdf5Id type(H5Dget_type(dataset_.get()));
  const std::uint64_t value = std::max(H5Tget_size(type.get()), element_size(type_.element));
  const std::uint64_t across = (view.columns + view.chunk_columns - 1) / view.chunk_columns;
  const std::uint64_t width = checked_product(across, view.chunk_columns, name_);
  const std::uint64_t band = checked_product(checked_product(view.chunk_rows, width, name_), value, name_);
  if (band > kMaxBand) {
    throw misuse(
        "{}: its chunks take {} bytes of memory, more than {}; store it in smaller ones (h5repack "
        "-l CHUNK=1024x{})",
        name_, band, kMaxBand, shape_.dim);
  }
  return band;
}

void Hdf5Source::load(std::uint64_t row, std::uint64_t count, std::byte* out) {
  const Hdf5Guard guard;
  if (chunks_) {
    chunks_->read(row, count, out);
  } else {
    read_slab(row, count, out);
  }
  if (type_.wide_unsigned) check_unsigned(row, count, out);
}

void Hdf5Source::read_slab(std::uint64_t row, std::uint64_t rows, std::byte* out) const {
  const std::array<hsize_t, 2> start{one_row_ ? 0 : row, 0};
  const std::array<hsize_t, 2> count{one_row_ ? shape_.dim : rows, shape_.dim};
  const Hdf5Id file_space(H5Dget_space(dataset_.get()));
  const Hdf5Id memory_space(H5Screate_simple(static_cast<int>(rank_), count.data(), nullptr));
  if (H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) < 0 ||
      H5Dread(dataset_.get(), type_.memory, memory_space.get(), file_space.get(), H5P_DEFAULT, out) < 0) {
    throw corrupt("{}: rows {} to {} cannot be read: {}", name_, row, row + rows - 1, hdf5_reason());
  }
}

/// uint64 values above 2^63 - 1 would turn negative as ids.
void Hdf5Source::check_unsigned(std::uint64_t row, std::uint64_t count, const std::byte* slab) const {
  const auto* values = reinterpret_cast<const std::int64_t*>(slab);
  const auto* end = values + count * shape_.dim;
  const auto* found = std::find_if(values, end, [](std::int64_t value) { return value < 0; });
  if (found == end) return;
  const auto index = static_cast<std::size_t>(found - values);
  throw misuse("{}: row {}, column {}: expected at most 2^63 - 1, found {}", name_, row + index / shape_.dim,
               index % shape_.dim, static_cast<std::uint64_t>(*found));
}

}  // namespace ivf::datasets
